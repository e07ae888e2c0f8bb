//! The samples under `events/`, and what must arrive of each.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use inspector::model::mapping::requests;
use inspector::model::state::Stack as State;
use relay_core::blueprint::Blueprint;
use relay_core::envelope::Envelope;
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::journal::{Delivery, Destination};
use crate::project::Project;
use crate::stack::{ENDPOINT, Stack};

/// The types that go to Vero Track too: what happened to a message. What happened to a profile would come
/// back as a webhook, and what Vero invents tomorrow is not sent there unasked.
const MESSAGE_TYPES: [&str; 10] = [
    "sent",
    "delivered",
    "opened",
    "clicked",
    "failed",
    "bounced",
    "converted",
    "unsubscribed",
    "resubscribed",
    "complained",
];

/// How long the last sample may take to arrive, and how long to watch for what should not.
const DEADLINE_AFTER: Duration = Duration::from_secs(30);
const AFTERMATH: Duration = Duration::from_secs(1);

/// A webhook as Vero sends it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    /// Its body, as it is in the file.
    pub body: String,
    webhook: Value,
}

impl Sample {
    pub fn all(project: &Project) -> Result<Vec<Sample>> {
        let samples = files(project, "vero-")?.into_iter().map(|(name, body)| {
            let webhook = serde_json::from_str(&body).with_context(|| format!("{name} is not JSON"))?;
            Ok(Sample { name, body, webhook })
        });
        samples.collect()
    }

    pub fn webhook_type(&self) -> &str {
        self.webhook["type"].as_str().unwrap_or_default()
    }

    /// How many messages a destination must receive of it by somebody's rules, which only the functions' own code knows.
    fn mapped(&self, id: &str, rules: &Blueprint, destination: Destination) -> usize {
        let envelope = json!({
            "version": 1, "id": id, "source": "vero", "received_at": Timestamp::from_system(SystemTime::now()).iso(),
            "payload": self.webhook,
        })
        .to_string();
        let Ok(envelope) = Envelope::parse(&envelope) else { return 0 };
        let part = format!("{destination}/");
        let parameters = [("WebhookEndpoints".to_owned(), ENDPOINT.to_owned())].into();
        let requests = requests(&envelope, &State { parameters, ..State::default() }, rules);
        requests.iter().filter(|(name, _)| name.starts_with(&part)).count()
    }

    /// How many messages a destination must receive of it. Written from docs/events.md, not from the code
    /// that it checks.
    pub fn expected(&self, destination: Destination) -> usize {
        let user = &self.webhook["user"];
        let changes = self.webhook["changes"].as_object();
        match destination {
            Destination::Endpoint => 1,
            // Changed tags are an event; other changes beside them are traits, in a message of their own.
            Destination::Segment => {
                let tags_and_more =
                    changes.is_some_and(|changes| changes.contains_key("_tags") && changes.len() > 1);
                1 + usize::from(tags_and_more)
            }
            Destination::VeroTrack => {
                let known_user = !user["id"].is_null() || !user["email"].is_null();
                // Our names for messages by email, which all samples of it are.
                let from_our_event = self.webhook["campaign"]["trigger-event"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("Email "));
                let wanted = MESSAGE_TYPES.contains(&self.webhook_type());
                usize::from(wanted && known_user && !from_our_event)
            }
        }
    }
}

/// The files of `events/` that begin so, by their names, with their contents.
pub(crate) fn files(project: &Project, prefix: &str) -> Result<Vec<(String, String)>> {
    let folder = project.root.join("events");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(".json") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((name, text));
        }
    }
    ensure!(!files.is_empty(), "no {prefix}*.json in {}", folder.display());
    files.sort();
    Ok(files)
}

/// A sample on its way: the webhook's id, or why it was not taken.
#[derive(Debug)]
pub struct Posted {
    sample: Sample,
    id: Result<String>,
}

/// Posts the samples one after the other.
pub async fn post(stack: &Stack, samples: Vec<Sample>) -> Vec<Posted> {
    let mut posted = Vec::with_capacity(samples.len());
    for sample in samples {
        let id = stack.post(&sample.body).await;
        posted.push(Posted { sample, id });
    }
    posted
}

/// Long enough ago that the log has all its lines, and the archive all its objects.
pub const TWO_HOURS: Duration = Duration::from_secs(2 * 3_600);

/// Writes a webhook of some time ago into ingest's log, as ingest does when SQS does not take it, and gives its id.
pub async fn log_unqueued(stack: &Stack, age: Duration) -> Result<String> {
    let at = SystemTime::now() - age;
    let milliseconds = at.duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let time = format!("{milliseconds:012x}");
    let id = format!("{}-{}-7000-8000-000000000001", &time[..8], &time[8..]);
    let envelope = json!({
        "version": 1,
        "id": id,
        "source": "vero",
        "received_at": Timestamp::from_system(at).iso(),
        "payload": {"type": "opened", "user": {"id": 1}},
    });
    let line = json!({
        "level": "ERROR", "message": "unqueued_webhook", "id": id, "part": 1, "parts": 1,
        "envelope": envelope.to_string(),
    });
    let mut stream = json!({"logGroupName": "/aws/lambda/vero-relay-ingest", "logStreamName": id});
    stack.json("logs", "Logs_20140328.CreateLogStream", stream.clone()).await?;
    stream["logEvents"] = json!([{"timestamp": milliseconds, "message": line.to_string()}]);
    stack.json("logs", "Logs_20140328.PutLogEvents", stream).await?;
    Ok(id)
}

/// Waits for the samples to arrive, and says what is missing and what should not be there.
pub async fn check(stack: &Stack, posted: &[Posted]) -> Result<Vec<String>> {
    let deadline = Instant::now() + DEADLINE_AFTER;
    while !missing(stack, posted).is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(AFTERMATH).await;
    let mut missing = missing(stack, posted);
    let dead = stack.dead_letters().await?;
    if dead > 0 {
        missing.push(format!("{dead} messages are in the dead-letter queue, where none should be"));
    }
    Ok(missing)
}

/// What is missing now, and what should not be there.
pub fn missing(stack: &Stack, posted: &[Posted]) -> Vec<String> {
    posted.iter().flat_map(|one| complaints(stack, one)).collect()
}

fn complaints(stack: &Stack, posted: &Posted) -> Vec<String> {
    let name = &posted.sample.name;
    let id = match &posted.id {
        Ok(id) => id,
        Err(error) => return vec![format!("{name}: {error:#}")],
    };
    let deliveries = stack.journal.of(id);
    let of = |destination: Destination| {
        let here = deliveries.iter().filter(|delivery| delivery.destination == destination);
        let (taken, refused): (Vec<_>, Vec<_>) = here.partition(|delivery| delivery.status == 200);
        let expected = match &stack.rules {
            Some(rules) => posted.sample.mapped(id, rules, destination),
            None => posted.sample.expected(destination),
        };
        let taken = taken.len();
        if taken == expected && refused.is_empty() {
            return None;
        }
        let refused = if refused.is_empty() { String::new() } else { format!(", {} refused", refused.len()) };
        Some(format!("{name}: {destination} received {taken} of {expected}{refused} (webhook {id})"))
    };
    let mut complaints: Vec<String> = stack.watched.iter().copied().filter_map(of).collect();
    // The addresses of a sample, which rules may have hidden from Segment.
    let addresses = ["/user/email", "/campaign/sent_to"].map(|path| posted.sample.webhook.pointer(path));
    let addresses = addresses.into_iter().flatten().filter_map(Value::as_str).map(str::to_lowercase);
    let addresses: Vec<String> = addresses.filter(|_| stack.hides_addresses()).collect();
    let shows_one = |delivery: &&Delivery| {
        let message = delivery.message.to_string().to_lowercase();
        addresses.iter().any(|address| message.contains(address))
    };
    let to_segment = deliveries.iter().filter(|delivery| delivery.destination == Destination::Segment);
    let shown = to_segment.filter(shows_one);
    complaints.extend(shown.map(|_| format!("{name}: segment received its address (webhook {id})")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_type_has_a_sample() {
        let samples = Sample::all(&Project::find().await.unwrap()).unwrap();
        for webhook_type in MESSAGE_TYPES.iter().chain(&["user_created", "user_updated"]) {
            let name = format!("vero-{}.json", webhook_type.replace('_', "-"));
            let sample =
                samples.iter().find(|sample| sample.name == name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(sample.webhook_type(), *webhook_type, "{name}");
        }
    }

    #[test]
    fn what_is_expected_where() {
        let expected = |body: &str| {
            let webhook = serde_json::from_str(body).unwrap();
            let sample = Sample { name: String::new(), body: body.to_owned(), webhook };
            [Destination::Segment, Destination::VeroTrack].map(|destination| sample.expected(destination))
        };
        assert_eq!(expected(r#"{"type":"sent","user":{"id":1}}"#), [1, 1]);
        assert_eq!(expected(r#"{"type":"sent"}"#), [1, 0]);
        assert_eq!(expected(r#"{"type":"link_previewed","user":{"id":1}}"#), [1, 0]);
        assert_eq!(expected(r#"{"type":"user_created","user":{"id":1}}"#), [1, 0]);
        assert_eq!(
            expected(r#"{"type":"user_updated","user":{"id":1},"changes":{"_tags":{},"a":1}}"#),
            [2, 0]
        );
        let own = r#"{"type":"opened","user":{"id":1},"campaign":{"trigger-event":"Email Opened"}}"#;
        assert_eq!(expected(own), [1, 0]);
    }
}
