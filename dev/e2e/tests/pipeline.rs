//! The production template, deployed on this machine: one webhook of each type from the Function URL to both
//! destinations.

use std::time::Duration;

use local::{Delivery, Destination, Project, Settings, Stack, samples::Sample};

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

/// A cold start, a busy machine and MiniStack's polling together.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_webhook_of_each_type_reaches_its_destinations() -> anyhow::Result<()> {
    let stack = Stack::start(&Settings::default()).await?;
    let samples = Sample::all(&Project::find().await?)?;
    let mut posted = Vec::new();
    for (file, segment, vero) in TYPES {
        let sample = samples.iter().find(|sample| sample.name == file).unwrap_or_else(|| panic!("no {file}"));
        posted.push((stack.post(&sample.body).await?, file, segment, vero));
    }

    for (id, file, segment, vero) in posted {
        let deliveries = stack.deliveries(&id, 1 + usize::from(vero.is_some()), PATIENCE).await;
        assert_eq!(names(&deliveries, Destination::Segment), [segment], "{file} at Segment");
        assert_eq!(names(&deliveries, Destination::VeroTrack), Vec::from_iter(vero), "{file} at Vero Track");
        for delivery in deliveries {
            assert_eq!(delivery.status, 200, "{file}: {delivery:?}");
            check(&id, &delivery);
        }
    }
    assert_eq!(stack.dead_letters().await?, 0);

    let refused = stack.post("not JSON").await.unwrap_err().to_string();
    assert!(refused.contains("400"), "{refused}");
    assert_eq!(stack.dead_letters().await?, 1, "what is no JSON is kept");
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
            assert_eq!(message["context"]["traits"]["email"], "steve@getvero.com");
            assert_eq!(message["integrations"]["Vero"], false);
        }
        Destination::VeroTrack => {
            assert_eq!(message["data"]["webhook_id"], id);
            assert_eq!(message["identity"]["id"], "123");
            assert_eq!(message["identity"]["email"], "steve@getvero.com");
            assert_eq!(message["extras"]["source"], "vero-relay");
        }
    }
}
