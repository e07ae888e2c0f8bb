//! How the built `worker` settles messages: what it returns, what it sends again, and what one message may cause.

use std::time::Duration;

use harness::{Behaviour, CANARY, Deadline, EventSource, Fault, MessageState, When};
use serde_json::{Value, json};

use crate::setup::{Setup, envelope, event, owed, returned, sent, setup, setup_with};

/// An SQS event whose messages have been received so often.
fn received(bodies: &[Value], receives: u32) -> Value {
    let mut event = event(bodies);
    for record in event["Records"].as_array_mut().unwrap() {
        record["attributes"]["ApproximateReceiveCount"] = receives.to_string().into();
    }
    event
}

/// SQS says no, and so has not taken the first message of a call.
fn refused() -> Fault {
    Fault::EntryFailure { entries: vec![0], sender_fault: true }
}

impl Setup {
    /// The destinations at which the last batch counts an event that may be doubled.
    fn maybe_doubled(&self) -> Vec<String> {
        let mut counts = self.counts();
        counts.retain(|name, _| name.ends_with("MaybeDoubled"));
        assert!(counts.values().all(|count| *count == 1), "an event is counted once: {counts:?}");
        counts.into_keys().map(|name| name.trim_end_matches("MaybeDoubled").to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_many_events_uses_up_no_receives() {
    let setup = setup().await;
    for place in 0..100 {
        let id = format!("e{place:02}");
        let payload = json!({"type": "track", "event": id, "userId": "u", "messageId": id});
        let mut event = envelope(&id, "segment", payload);
        event["place"] = place.into();
        setup.queue.send(event.to_string()).unwrap();
    }
    // Calls are begun in an invocation's first second, a user's one after the other.
    setup.vero.behave(Behaviour::Slow(Duration::from_millis(190)), When::always());
    let source = EventSource {
        batch_size: 100,
        deadline: Deadline::In(Duration::from_secs(4)),
        max_invocations: 200,
        limit: Duration::from_secs(180),
        ..EventSource::through_time()
    };
    let drained = source.drain(&setup.worker, &setup.queue).await;
    assert!(drained.empty);
    assert_eq!(setup.dead.messages().len(), 0, "healthy events are no dead letters");
    let calls = setup.vero.vero_calls();
    let ids: Vec<&str> = calls.iter().map(|(_, call)| call["event_name"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..100).map(|place| format!("e{place:02}")).collect();
    assert_eq!(ids, expected, "each once");
    assert!(
        drained.invocations.len() > 11,
        "{} invocations: no message was received often",
        drained.invocations.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_started_goes_back_as_a_copy_before_receives_run_out() {
    for receives in [1, 2, 3, 9, 10] {
        let setup = setup().await;
        setup.vero.behave(Behaviour::Slow(Duration::from_millis(400)), When::always());
        let event = |number: usize| {
            let mut event = owed(&format!("e{number:02}"), &["vero_track"]);
            event["attempt"] = 5.into();
            event
        };
        let events: Vec<Value> = (0..80).map(event).collect();
        let answer =
            setup.worker.invoke_with(&received(&events, receives), Duration::from_secs(3)).await.unwrap();
        let returned = returned(&answer).len();
        let copies = setup.queue.messages();
        assert_eq!(setup.vero.vero_calls().len() + returned + copies.len(), 80);
        if receives < 3 {
            assert!(returned > 0 && copies.is_empty(), "received {receives} times: {returned} return");
            continue;
        }
        assert!(returned == 0 && !copies.is_empty(), "received {receives} times: {returned} return");
        for copy in copies {
            let body = copy.json();
            assert_eq!((&body["destinations"], &body["attempt"]), (&json!(["vero_track"]), &json!(5)));
            assert_eq!((copy.state, copy.delay), (MessageState::Visible, Duration::ZERO));
        }
        assert_eq!(setup.sqs.called("ChangeMessageVisibilityBatch"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_do_not_wait_for_the_dead_letters_of_others() {
    let setup = setup().await;
    setup.sqs.fail(Fault::Hang, When::always().queue("dead"));
    setup.segment.behave(Behaviour::status(422), When::always());
    setup.vero.behave(Behaviour::status(503), When::always());
    let events = [owed("e1", &["segment"]), owed("e2", &["vero_track"]), json!("poison")];
    // Settling ends before SQS is given up.
    let answer = setup.worker.invoke_with(&received(&events, 1), Duration::from_secs(3)).await.unwrap();
    let mut returned = returned(&answer);
    returned.sort();
    assert_eq!(returned, ["m0", "m2"]);
    let [copy] = &setup.queue.messages()[..] else { panic!("one copy") };
    assert_eq!(copy.json()["id"], "e2");
}

/// Which queue fails and how, what Segment and Vero answer, and where the event may double. A 401 is owed and surely
/// not taken.
#[tokio::test(flavor = "multi_thread")]
async fn known_doublings_are_counted() {
    let refused = refused();
    for (fault, queue, segment, vero, doubled) in [
        // Segment has it, and the copy for Vero is not there.
        (refused.clone(), "main", 200, 401, vec!["Segment"]),
        // It may be there.
        (Fault::LostAnswer, "main", 200, 401, vec!["Segment", "VeroTrack"]),
        // Segment's dead letter is there, and the copy for Vero is not.
        (refused.clone(), "main", 422, 401, vec!["Segment"]),
        // Vero has it, and Segment's dead letter is not there.
        (refused.clone(), "dead", 422, 200, vec!["VeroTrack"]),
        (Fault::LostAnswer, "dead", 422, 200, vec!["Segment", "VeroTrack"]),
        // Nothing of it is anywhere.
        (refused, "main", 401, 401, vec![]),
    ] {
        let setup = setup().await;
        setup.sqs.fail(fault.clone(), When::always().operation("SendMessageBatch").queue(queue));
        setup.segment.behave(Behaviour::status(segment), When::always());
        setup.vero.behave(Behaviour::status(vero), When::always());
        assert_eq!(setup.invoke(&[sent("e1")]).await, ["m0"]);
        assert_eq!(setup.maybe_doubled(), doubled, "{fault:?} of {queue}, Segment {segment}, Vero {vero}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_of_two_is_a_known_doubling() {
    // What is paused waits longer than what is tried again: two copies, of which one is not sent.
    let setup = setup_with(&[("PAUSED_DESTINATIONS", "segment")]).await;
    let fault = Fault::EntryFailure { entries: vec![1], sender_fault: true };
    setup.sqs.fail(fault, When::always().operation("SendMessageBatch"));
    setup.vero.behave(Behaviour::status(401), When::always());
    assert_eq!(setup.invoke(&[sent("e1")]).await, ["m0"]);
    let [copy] = &setup.queue.messages()[..] else { panic!("one copy") };
    assert_eq!(copy.json()["destinations"], json!(["vero_track"]));
    assert_eq!(setup.maybe_doubled(), ["VeroTrack"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_counted_once_however_it_may_double() {
    let setup = setup().await;
    setup.sqs.fail(refused(), When::always().operation("SendMessageBatch"));
    setup.segment.behave(Behaviour::LostAnswer, When::first(1));
    setup.vero.behave(Behaviour::status(401), When::always());
    assert_eq!(setup.invoke(&[sent("e1")]).await, ["m0"]);
    assert_eq!(setup.maybe_doubled(), ["Segment"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_destinations_share_one_dead_letter() {
    let setup = setup().await;
    let unknown: Vec<String> = (0..1_000).map(|number| format!("{CANARY}-{number}@example.com")).collect();
    let mut names = unknown.clone();
    names.extend(["archive", "segment", "archive", &unknown[7]].map(str::to_owned));
    let mut event = sent("e1");
    event["payload"]["padding"] = "x".repeat(200_000).into();
    event["destinations"] = json!(names);
    setup.deliver(&[&event]).await;
    assert_eq!(setup.segment.segment_messages().len(), 1, "what is known is delivered");
    let mut letters: Vec<Value> = setup.dead.bodies();
    letters.sort_by_key(|letter| letter["destinations"].as_array().unwrap().len());
    let [off, rest] = &letters[..] else { panic!("{} dead letters", letters.len()) };
    assert_eq!((&off["destinations"], &off["reason"]), (&json!(["archive"]), &json!("destination_off")));
    assert_eq!((&rest["destinations"], &rest["reason"]), (&json!(unknown), &json!("destination_off")));
    assert_eq!(rest["payload"], event["payload"]);
    assert!(setup.queue.messages().is_empty());
    let log = setup.worker.logs();
    assert!(log.len() < 10 && !log.concat().contains(CANARY), "{} lines", log.len());
    let counts = setup.counts();
    assert_eq!((counts["ArchiveDead"], counts["unknown.dead"]), (1, 1));

    // Redriven, it is one letter again.
    let before = setup.dead.messages().len();
    setup.deliver(&[rest]).await;
    assert_eq!(setup.dead.messages().len(), before + 1);
    assert_eq!(setup.segment.segment_messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_unstarted_messages_make_few_calls_at_once() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::Slow(Duration::from_millis(400)), When::always());
    let slow = Fault::Slow(Duration::from_millis(20));
    setup.sqs.fail(slow, When::always().operation("ChangeMessageVisibilityBatch"));
    let events: Vec<Value> = (0..3_000).map(|number| owed(&format!("e{number}"), &["vero_track"])).collect();
    let answer = setup.worker.invoke_with(&received(&events, 1), Duration::from_secs(6)).await.unwrap();
    let returned = returned(&answer).len();
    assert_eq!(setup.vero.vero_calls().len() + returned, 3_000);
    let calls = setup.sqs.called("ChangeMessageVisibilityBatch");
    assert_eq!(calls, returned.div_ceil(10), "each message is shown again");
    assert!(setup.sqs.connections() <= 20, "{} connections for {calls} calls", setup.sqs.connections());
}
