//! The built `worker` over connections that were kept and have ended meanwhile: what Lambda's freeze leaves of them.

use std::time::Duration;

use harness::{ARCHIVE_STREAM, Behaviour, When};
use serde_json::Value;

use crate::setup::{Setup, owed, sent, setup_with};

async fn setup() -> Setup {
    setup_with(&[("ARCHIVE_STREAM", ARCHIVE_STREAM)]).await
}

impl Setup {
    /// Delivers so many events side by side: as many connections to Vero are kept.
    async fn keep_connections(&self, count: usize) {
        self.vero.behave(Behaviour::Slow(Duration::from_millis(200)), When::always());
        let events: Vec<Value> = (0..count).map(|number| sent(&format!("before{number}"))).collect();
        self.deliver(&events).await;
        assert_eq!((self.vero.connections(), self.segment.connections()), (count, 1));
        self.vero.recover();
        self.vero.clear();
        self.segment.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_that_have_ended_are_no_outage() {
    for kept in [1, 3, 16] {
        let setup = setup().await;
        setup.keep_connections(kept).await;
        // What comes back later needs SQS's connections, too.
        setup
            .vero
            .behave(Behaviour::status(422), When::always().body(|body| body["data"]["webhook_id"] == "bad"));
        setup.vero.go_stale().await;
        setup.segment.go_stale().await;
        setup.sqs.go_stale();
        let mut events: Vec<Value> = (0..30).map(|number| sent(&format!("e{number:02}"))).collect();
        events.push(owed("bad", &["vero_track"]));
        setup.deliver(&events).await;
        assert!(setup.queue.messages().is_empty(), "{kept}: nothing waits");
        assert_eq!(setup.dead.messages().len(), 1, "{kept}");
        assert_eq!(
            (setup.vero.vero_calls().len(), setup.segment.segment_messages().len()),
            (30, 30),
            "{kept}"
        );
        // The destinations have seen nothing of what met an ended connection.
        assert_eq!((setup.vero.count(), setup.segment.count()), (31, 1), "{kept}");
        let counts = setup.counts();
        assert_eq!((counts["VeroTrackAccepted"], counts["SegmentAccepted"]), (30, 30));
        let doubled: Vec<&String> = counts.keys().filter(|name| name.ends_with("MaybeDoubled")).collect();
        // Firehose knows nothing again, and of a broken connection nobody knows what went over it.
        assert_eq!(doubled, ["ArchiveMaybeDoubled"], "{kept}");
        assert_eq!(counts["ArchiveAccepted"], 30);
    }
}

/// A connection that ended before the request, as above, and one that ended after the destination had taken the request
/// look alike to us. In the second case
/// the destination recognises what is sent again at once by its ids and data.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_a_kept_connection_broke_is_repeated_to_the_letter() {
    let setup = setup().await;
    setup.keep_connections(1).await;
    setup.vero.behave(Behaviour::LostAnswer, When::first(1));
    setup.segment.behave(Behaviour::LostAnswer, When::first(1));
    setup.deliver(&[sent("e1")]).await;
    let [first, second] = &setup.vero.vero_calls()[..] else { panic!("two calls") };
    assert_eq!(first, second);
    let [first, second] = &setup.segment.segment_messages()[..] else { panic!("two messages") };
    assert_eq!(first, second);
    assert!(setup.queue.messages().is_empty());
    let counts = setup.counts();
    assert!(!counts.contains_key("VeroTrackMaybeDoubled") && !counts.contains_key("SegmentMaybeDoubled"));
    assert_eq!((counts["VeroTrackCalls"], counts["SegmentCalls"]), (1, 1), "no second try");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_taken_and_comes_later_is_counted() {
    let setup = setup().await;
    setup.keep_connections(1).await;
    setup.vero.behave(Behaviour::status(429), When::always());
    setup.vero.behave(Behaviour::LostAnswer, When::first(1));
    setup.deliver(&[owed("e1", &["vero_track"])]).await;
    assert_eq!(setup.queue.messages().len(), 1);
    let counts = setup.counts();
    assert_eq!((counts["VeroTrackOwed"], counts["VeroTrackMaybeDoubled"]), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_breaks_new_connections_too_is_down() {
    let setup = setup().await;
    setup.keep_connections(16).await;
    setup.vero.behave(Behaviour::Reset, When::always());
    let events: Vec<Value> = (0..16).map(|number| owed(&format!("e{number}"), &["vero_track"])).collect();
    setup.deliver(&events).await;
    assert_eq!(setup.queue.messages().len(), 16);
    setup.vero.clear();
    setup.deliver(&[owed("f1", &["vero_track"])]).await;
    assert_eq!(setup.vero.count(), 0, "the breaker is open");
}
