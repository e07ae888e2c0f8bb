//! The production template, deployed on this machine: one webhook of each type from the Function URL to every
//! destination.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use local::{Delivery, Destination, Project, Settings, Stack, samples::Sample};

use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

/// Each type's sample, its name at Segment and, if it goes there, at Vero Track.
const TYPES: [(&str, &str, Option<&str>); 12] = [
    ("vero-sent.json", "Email Sent", Some("Email Sent")),
    ("vero-delivered.json", "Email Delivered", Some("Email Delivered")),
    ("vero-opened.json", "Email Opened", Some("Email Opened")),
    ("vero-clicked.json", "Email Link Clicked", Some("Email Link Clicked")),
    ("vero-failed.json", "Email Failed", Some("Email Failed")),
    ("vero-bounced.json", "Email Bounced", Some("Email Bounced")),
    ("vero-converted.json", "Email Converted", Some("Email Converted")),
    ("vero-unsubscribed.json", "Email Unsubscribed", Some("Email Unsubscribed")),
    ("vero-resubscribed.json", "Email Resubscribed", Some("Email Resubscribed")),
    ("vero-complained.json", "Email Marked as Spam", Some("Email Marked as Spam")),
    ("vero-user-created.json", "identify", None),
    ("vero-user-updated.json", "User Tags Updated", None),
];

#[tokio::test]
async fn a_webhook_of_each_type_reaches_its_destinations() -> anyhow::Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings { endpoint: true, ..Settings::default() }).await?;
    let samples = Sample::all(&Project::find().await?)?;
    let mut posted = Vec::new();
    for (file, segment, vero) in TYPES {
        let sample = samples.iter().find(|sample| sample.name == file).unwrap_or_else(|| panic!("no {file}"));
        posted.push((stack.post(&sample.body).await?, file, segment, vero));
    }

    for (id, file, segment, vero) in posted {
        let deliveries = stack.deliveries(&id, 2 + usize::from(vero.is_some()), DEADLINE_AFTER).await;
        assert_eq!(names(&deliveries, Destination::Segment), [segment], "{file} at Segment");
        assert_eq!(names(&deliveries, Destination::VeroTrack), Vec::from_iter(vero), "{file} at Vero Track");
        assert_eq!(names(&deliveries, Destination::Endpoint).len(), 1, "{file} at the endpoint");
        for delivery in deliveries {
            assert_eq!(delivery.status, 200, "{file}: {delivery:?}");
            check(&id, &delivery);
        }
    }
    assert_eq!(stack.dead_letters().await?, 0);

    let refused = stack.post("not JSON").await.unwrap_err().to_string();
    assert!(refused.contains("400"), "{refused}");
    assert_eq!(stack.dead_letters().await?, 1, "what is no JSON is kept");
    let log = stack.logs.news(true).await?;
    for metric in ["SegmentAccepted", "VeroTrackAccepted", "ArchiveAccepted", "WebhookAccepted", "Refused"] {
        assert!(log.iter().any(|line| line.contains(metric)), "nobody counts {metric}: {log:?}");
    }
    Ok(())
}

/// MiniStack takes a tenth of a second a request; the webhooks arrive in the end, each at both.
#[tokio::test]
async fn a_burst_of_webhooks_arrives() -> anyhow::Result<()> {
    const WEBHOOKS: usize = 500;
    const AT_ONCE: usize = 8;
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let webhook = |number: usize| format!(r#"{{"type":"sent","user":{{"id":{number}}}}}"#);
    let posts = stream::iter((0..WEBHOOKS).map(|number| {
        let (stack, webhook) = (&stack, webhook(number));
        async move { stack.post(&webhook).await }
    }));
    let ids: Vec<String> = posts.buffer_unordered(AT_ONCE).try_collect().await?;
    for id in ids {
        let mut destinations: Vec<&str> = Vec::new();
        for delivery in stack.deliveries(&id, 2, DEADLINE_AFTER).await {
            destinations.push(if delivery.destination == Destination::Segment { "segment" } else { "vero" });
        }
        destinations.sort_unstable();
        assert_eq!(destinations, ["segment", "vero"], "{id}");
    }
    assert_eq!(stack.dead_letters().await?, 0);
    Ok(())
}

fn names(deliveries: &[Delivery], destination: Destination) -> Vec<&str> {
    let here = deliveries.iter().filter(|delivery| delivery.destination == destination);
    here.map(|delivery| delivery.event.as_str()).collect()
}

/// What every message carries, whatever its type.
fn check(id: &str, Delivery { destination, message, .. }: &Delivery) {
    match destination {
        Destination::Segment => {
            assert_eq!(message["messageId"], format!("vr-{id}"));
            assert_eq!(message["userId"], "123");
            assert_eq!(message["context"]["traits"]["email"], "steve@example.com");
            assert_eq!(message["integrations"]["Vero"], false);
        }
        Destination::VeroTrack => {
            assert_eq!(message["data"]["webhook_id"], id);
            assert_eq!(message["identity"]["id"], "123");
            assert_eq!(message["identity"]["email"], "steve@example.com");
            assert_eq!(message["extras"]["source"], "vero-relay");
        }
        Destination::Endpoint => {
            assert_eq!(message["id"], id);
            assert_eq!(message["payload"]["user"]["email"], "steve@example.com");
        }
    }
}
