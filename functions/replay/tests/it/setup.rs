//! The built `replay` in a testbed, and an archive.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Deref;

use harness::{Deadline, Function, FunctionError, Testbed};
use serde_json::{Value, json};

pub struct Setup {
    testbed: Testbed,
    pub replay: Function,
}

impl Deref for Setup {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

pub async fn setup() -> Setup {
    let testbed = Testbed::start().await.unwrap();
    let variables = [("METRICS_NAMESPACE", "replay-test")];
    let replay = testbed.replay(env!("CARGO_BIN_EXE_replay"), &variables).await.unwrap();
    Setup { testbed, replay }
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub fn row(id: &str, day: &str, user_id: &str) -> String {
    let payload = r#"{"type":"opened", "n":1.00,"user":{"id":12}}"#;
    let row = json!({
        "id": id, "_sequence": 1, "received_at": format!("{day}T05:04:03.123Z"), "source": "vero", "type": "opened",
        "user_id": user_id, "email": "steve@example.com", "place": 0, "through_segment": false, "payload": payload,
    });
    format!("{row}\n")
}

impl Setup {
    /// Seven objects of five rows on each of two days, every other one compressed.
    pub fn archive(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for (day, object) in
            ["2026-11-20", "2026-11-21"].into_iter().flat_map(|day| (0..7).map(move |n| (day, n)))
        {
            let mut text = String::new();
            for number in 0..5 {
                let id = format!("{day}-{object}-{number}");
                text.push_str(&row(&id, day, &number.to_string()));
                ids.insert(id);
            }
            let key = format!("data/day={day}/source=vero/stream-{object}");
            self.s3.put(&key, if object % 2 == 0 { gzip(&text) } else { text.into_bytes() });
        }
        ids
    }

    pub fn sent(&self) -> Vec<Value> {
        self.queue.bodies()
    }

    /// The error that it reports; empty when it reports none.
    pub async fn fails(&self, event: &Value) -> String {
        match self.replay.invoke(event).await {
            Err(FunctionError::Reported(report)) => report["errorMessage"].as_str().unwrap().to_owned(),
            _ => String::new(),
        }
    }

    /// Hands the one message of its own queue back to it, as the event source mapping does.
    pub async fn go_on(&self, taken: usize, deadline: Deadline) -> Value {
        let message = &self.replay_queue.messages()[taken];
        let event = json!({"Records": [{"messageId": message.id, "body": message.body}]});
        self.replay.invoke_with(&event, deadline).await.unwrap()
    }
}

pub fn ids(envelopes: &[Value]) -> BTreeSet<String> {
    envelopes.iter().map(|envelope| envelope["id"].as_str().unwrap().to_owned()).collect()
}

pub fn request() -> Value {
    json!({"from": "2026-11-20", "to": "2026-11-22", "destinations": ["segment"], "max_per_second": 10_000})
}
