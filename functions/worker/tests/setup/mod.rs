//! The built `worker` and everything around it.
#![allow(dead_code, reason = "each test file uses its share")]

use std::collections::BTreeMap;

use harness::{Function, Queue, QueueSettings, Receiver, Sqs, sqs_event};

pub const KEY: &str = "SPY-WRITE-KEY";
pub const TOKEN: &str = "SPY-AUTH-TOKEN";

pub struct Setup {
    pub sqs: Sqs,
    pub queue: Queue,
    pub dead: Queue,
    pub segment: Receiver,
    pub vero: Receiver,
    pub worker: Function,
}

pub async fn setup() -> Setup {
    setup_with(&[]).await
}

/// A worker with both destinations on; `more` adds variables, and an empty one takes away.
pub async fn setup_with(more: &[(&str, &str)]) -> Setup {
    let sqs = Sqs::start().await.unwrap();
    let (segment, vero) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    let dead = sqs.queue("dead", QueueSettings::default());
    let queue = sqs.queue("main", QueueSettings::default());
    sqs.parameter("/relay/vero", TOKEN);
    let (queue_url, dead_url) = (queue.url(), dead.url());
    let (url, segment_url, vero_url) = (sqs.url().to_owned(), segment.url(), vero.url());
    let mut environment = vec![
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("QUEUE_URL", &queue_url),
        ("DEAD_LETTER_QUEUE_URL", &dead_url),
        ("SEGMENT_WRITE_KEY", KEY),
        ("SEGMENT_ENDPOINT", segment_url),
        ("VERO_AUTH_TOKEN_PARAMETER", "/relay/vero"),
        ("VERO_ENDPOINT", vero_url),
    ];
    environment.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    environment.extend(more);
    let worker = Function::start(env!("CARGO_BIN_EXE_worker"), &environment).await.unwrap();
    Setup { sqs, queue, dead, segment, vero, worker }
}

impl Setup {
    /// What the last batch's line counts: its metrics, and what is none.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut batches = self.worker.log_entries().into_iter().filter(|line| line["message"] == "batch");
        let line = batches.next_back().unwrap();
        let others = line["counts"].as_str().map(|counts| serde_json::from_str(counts).unwrap());
        let mut counts: BTreeMap<String, u64> = others.unwrap_or_default();
        let fields = line.as_object().unwrap().iter();
        counts.extend(fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))));
        counts
    }

    /// Invokes the worker with messages `m0`, `m1`, …; the answer is the list of ids that must come back.
    pub async fn invoke(&self, bodies: &[String]) -> Vec<String> {
        let ids: Vec<String> = (0..bodies.len()).map(|index| format!("m{index}")).collect();
        let records: Vec<(&str, &str)> =
            ids.iter().zip(bodies).map(|(id, body)| (id.as_str(), body.as_str())).collect();
        let answer = self.worker.invoke(&sqs_event(&records)).await.unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap();
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
    }
}
