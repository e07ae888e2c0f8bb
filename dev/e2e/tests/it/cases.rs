//! What others reported or tested at their own relays (`cases.json` names where), through the built functions.

use std::path::Path;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{EventSource, Function, Queue, QueueSettings, Receiver, Sqs, UrlAnswer, url_event};
use local::digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const TOKEN: &str = "a-token-for-these-cases-0123456789-abcdefghijk";
const WRITE_KEY: &str = "SPY-WRITE-KEY";

/// A request, and all that must come of it. Of each message, call and letter only what is named is looked at; a null is
/// for what must not be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    /// The path.
    post: String,
    #[serde(default)]
    headers: Map<String, Value>,
    /// The Function URL hands the body over in base64.
    #[serde(default)]
    base64: bool,
    body: Value,
    status: u16,
    /// Segment's messages.
    #[serde(default)]
    segment: Vec<Value>,
    /// Vero's calls, of each its method and path, and its body.
    vero: Vec<Value>,
    /// The worker's dead letters.
    #[serde(default)]
    dead: Vec<Value>,
}

struct Relay {
    queue: Queue,
    dead: Queue,
    segment: Receiver,
    vero: Receiver,
    ingest: Function,
    worker: Function,
    _sqs: Sqs,
}

impl Relay {
    async fn start([ingest, worker]: [&Path; 2]) -> Result<Self> {
        let sqs = Sqs::start().await?;
        let (segment, vero) = (Receiver::start().await?, Receiver::start().await?);
        let (queue, dead) =
            (sqs.queue("main", QueueSettings::default()), sqs.queue("dead", QueueSettings::default()));
        let (queue_url, dead_url) = (queue.url(), dead.url());
        let common = [
            ("AWS_ENDPOINT_URL", sqs.url()),
            ("QUEUE_URL", &queue_url),
            ("DEAD_LETTER_QUEUE_URL", &dead_url),
        ];
        let (token, write_key) = (digest(TOKEN), digest(WRITE_KEY));
        let tokens = [("WEBHOOK_TOKEN_SHA256", token.as_str()), ("WRITE_KEY_SHA256", &write_key)];
        let destinations = [
            ("SEGMENT_WRITE_KEY", "key"),
            ("SEGMENT_ENDPOINT", segment.url()),
            ("VERO_AUTH_TOKEN", "token"),
            ("VERO_ENDPOINT", vero.url()),
        ];
        let ingest = Function::start(ingest, &[&common[..], &tokens].concat()).await?;
        let worker = Function::start(worker, &[&common[..], &destinations].concat()).await?;
        Ok(Relay { queue, dead, segment, vero, ingest, worker, _sqs: sqs })
    }

    /// Posts a case, drains the queue, and holds what came of it against what must.
    async fn play(&self, case: &Case) -> Result<()> {
        let key = format!("Basic {}", STANDARD.encode(format!("{WRITE_KEY}:")));
        let mut headers = vec![("authorization", key.as_str())];
        headers
            .extend(case.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
        let body = case.body.to_string();
        let path = case.post.replace("TOKEN", TOKEN);
        let event = url_event("POST", &path, "", &headers, body.as_bytes(), case.base64);
        let answer = UrlAnswer::of(&self.ingest.invoke(&event).await?);
        ensure!(answer.status == case.status, "answered {}: {}", answer.status, answer.json());
        ensure!(self.queue.messages().len() == 1, "{} messages are queued", self.queue.messages().len());
        let drained = EventSource::default().drain(&self.worker, &self.queue).await;
        ensure!(drained.empty, "something is still queued");

        agree("Segment's messages", self.segment.segment_messages(), &case.segment)?;
        let calls = self.vero.accepted().into_iter();
        let calls = calls.map(|call| json!([format!("{} {}", call.method, call.path), call.json])).collect();
        agree("Vero's calls", calls, &case.vero)?;
        let letters = self.dead.messages().iter().map(|letter| letter.json()).collect();
        agree("dead letters", letters, &case.dead)
    }
}

fn agree(what: &str, actual: Vec<Value>, expected: &[Value]) -> Result<()> {
    let (actual, expected) = (Value::from(actual), Value::from(expected));
    ensure!(holds(&actual, &expected), "{what}: {actual:#}\nexpected: {expected:#}");
    Ok(())
}

/// Whether a value has all that the other names.
fn holds(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, expected)| holds(actual.get(key).unwrap_or(&Value::Null), expected))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual.iter().zip(expected).all(|(actual, expected)| holds(actual, expected))
        }
        _ => actual == expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_comes_to_what_its_users_expect() -> Result<()> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json"))?;
    // All three, as for the deployed template: of two alone Cargo would build another form.
    let [ingest, worker, _] = harness::build(["ingest", "worker", "replay"], "dev").await?;
    let mut failures = Vec::new();
    for case in &cases {
        let relay = Relay::start([&ingest, &worker]).await?;
        if let Err(failure) = relay.play(case).await {
            failures.push(format!("{}: {failure:#}", case.name));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}
