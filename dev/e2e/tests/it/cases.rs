//! What others reported or tested at their own relays (`cases.json` names where), through the built functions.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::{EventSource, Function, Testbed, UrlAnswer, WEBHOOK_TOKEN, WRITE_KEY, basic, url_event};
use serde::Deserialize;
use serde_json::{Map, Value, json};

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
    testbed: Testbed,
    ingest: Function,
    worker: Function,
}

impl Relay {
    async fn start([ingest, worker]: [&Path; 2]) -> Result<Self> {
        let testbed = Testbed::start().await?;
        let ingest = testbed.ingest(ingest, &[]).await?;
        let worker = testbed.worker(worker, &[]).await?;
        Ok(Relay { testbed, ingest, worker })
    }

    /// Posts a case, drains the queue, and holds what came of it against what must.
    async fn play(&self, case: &Case) -> Result<()> {
        let Testbed { queue, dead, segment, vero, .. } = &self.testbed;
        let key = basic(WRITE_KEY);
        let mut headers = vec![("authorization", key.as_str())];
        headers
            .extend(case.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
        let body = case.body.to_string();
        let path = case.post.replace("TOKEN", WEBHOOK_TOKEN);
        let event = url_event("POST", &path, "", &headers, body.as_bytes(), case.base64);
        let answer = UrlAnswer::of(&self.ingest.invoke(&event).await?);
        ensure!(answer.status == case.status, "answered {}: {}", answer.status, answer.json());
        ensure!(queue.messages().len() == 1, "{} messages are queued", queue.messages().len());
        let drained = EventSource::default().drain(&self.worker, queue).await;
        ensure!(drained.empty, "something is still queued");

        agree("Segment's messages", segment.segment_messages(), &case.segment)?;
        let calls = vero.accepted().into_iter();
        let calls = calls.map(|call| json!([format!("{} {}", call.method, call.path), call.json])).collect();
        agree("Vero's calls", calls, &case.vero)?;
        agree("dead letters", dead.bodies(), &case.dead)
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
