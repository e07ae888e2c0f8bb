//! The built `worker` in a testbed, and messages for it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::SystemTime;

use harness::{Function, Testbed, VERO_AUTH_TOKEN, sqs_event};
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

/// The parameter with Vero's token.
pub const VERO_PARAMETER: &str = "/relay/vero";

pub struct Setup {
    testbed: Testbed,
    pub worker: Function,
}

impl Deref for Setup {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

pub async fn setup() -> Setup {
    setup_with(&[]).await
}

/// A worker with both destinations on, Vero's token from SSM; `more` adds variables, and an empty one takes away.
pub async fn setup_with(more: &[(&str, &str)]) -> Setup {
    setup_in(Testbed::start().await.unwrap(), more).await
}

/// The same in a testbed that was changed before.
pub async fn setup_in(testbed: Testbed, more: &[(&str, &str)]) -> Setup {
    testbed.sqs.parameter(VERO_PARAMETER, VERO_AUTH_TOKEN);
    let by_parameter = [("VERO_AUTH_TOKEN", ""), ("VERO_AUTH_TOKEN_PARAMETER", VERO_PARAMETER)];
    let variables = [&by_parameter, more].concat();
    let worker = testbed.worker(env!("CARGO_BIN_EXE_worker"), &variables).await.unwrap();
    Setup { testbed, worker }
}

impl Setup {
    /// Invokes the worker with messages `m0`, `m1`, …; the answer is the list of ids that must come back.
    pub async fn invoke(&self, bodies: &[impl ToString]) -> Vec<String> {
        returned(&self.worker.invoke(&event(bodies)).await.unwrap())
    }

    /// Invokes the worker with messages none of which comes back.
    pub async fn deliver(&self, bodies: &[impl ToString]) {
        assert_eq!(self.invoke(bodies).await, [""; 0]);
    }

    /// What the last batch's line counts: its metrics, and what is none.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let line = self.batches().pop().unwrap();
        let others = line["counts"].as_str().map(|counts| serde_json::from_str(counts).unwrap());
        let mut counts: BTreeMap<String, u64> = others.unwrap_or_default();
        let fields = line.as_object().unwrap().iter();
        counts.extend(fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))));
        counts
    }

    /// The log lines about batches.
    pub fn batches(&self) -> Vec<Value> {
        self.worker.log_entries().into_iter().filter(|line| line["message"] == "batch").collect()
    }
}

/// An event with messages `m0`, `m1`, ….
pub fn event(bodies: &[impl ToString]) -> Value {
    let ids: Vec<String> = (0..bodies.len()).map(|index| format!("m{index}")).collect();
    let bodies: Vec<String> = bodies.iter().map(ToString::to_string).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().zip(&bodies).map(|(id, body)| (id.as_str(), body.as_str())).collect();
    sqs_event(&records)
}

/// The ids of the messages that a response returns.
pub fn returned(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

/// As ingest writes it now.
pub fn envelope(id: &str, source: &str, payload: Value) -> Value {
    json!({"version": 1, "id": id, "source": source, "received_at": now(), "payload": payload})
}

pub fn now() -> String {
    Timestamp::from_system(SystemTime::now()).iso()
}

/// A webhook for both destinations.
pub fn sent(id: &str) -> Value {
    envelope(id, "vero", json!({"type": "sent", "user": {"id": 123, "email": "steve@example.com"}}))
}

/// The same, still owed to these destinations.
pub fn owed(id: &str, destinations: &[&str]) -> Value {
    let mut owed = sent(id);
    owed["destinations"] = json!(destinations);
    owed
}
