//! A testbed and a worker for one proof.

use std::collections::BTreeMap;
use std::ops::Deref;

use anyhow::Result;
use harness::{ARCHIVE_STREAM, EventSource, Function, Invocation, Receiver, Testbed};
use serde_json::{Value, json};

use crate::programs::Programs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Segment,
    Vero,
    /// A webhook endpoint.
    Endpoint,
}

/// The endpoint's name in its settings.
const ENDPOINT: &str = "own";
/// It gets so many events a request.
pub const EVENTS_A_REQUEST: usize = 3;

impl Destination {
    pub const ALL: [Self; 3] = [Self::Segment, Self::Vero, Self::Endpoint];

    /// Its name in envelopes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Vero => "vero_track",
            Self::Endpoint => "webhook:own",
        }
    }

    /// The variable that switches it on.
    fn switch(self) -> &'static str {
        match self {
            Self::Segment => "SEGMENT_WRITE_KEY",
            Self::Vero => "VERO_AUTH_TOKEN",
            Self::Endpoint => "WEBHOOK_ENDPOINTS",
        }
    }

    /// Those that are to notice nothing of its errors.
    pub fn neighbours(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |other| *other != self)
    }
}

/// A testbed and a worker.
pub struct Rig {
    testbed: Testbed,
    /// The function under proof.
    pub worker: Function,
    variables: Vec<(&'static str, String)>,
}

impl Deref for Rig {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

impl Rig {
    /// With these destinations on.
    pub async fn start(programs: &Programs) -> Result<Self> {
        Self::with(programs, Vec::new()).await
    }

    /// With one destination on.
    pub async fn alone(programs: &Programs, on: Destination) -> Result<Self> {
        Self::with(programs, on.neighbours().map(|other| (other.switch(), String::new())).collect()).await
    }

    /// With these destinations on, and the archive, which is well.
    pub async fn with_archive(programs: &Programs) -> Result<Self> {
        Self::with(programs, vec![("ARCHIVE_STREAM", ARCHIVE_STREAM.to_owned())]).await
    }

    async fn with(programs: &Programs, more: Vec<(&'static str, String)>) -> Result<Self> {
        let testbed = Testbed::start().await?;
        let settings =
            Testbed::endpoint_settings(&testbed.endpoint, &json!({"max_events": EVENTS_A_REQUEST}));
        let mut variables = vec![
            ("WEBHOOK_ENDPOINTS", ENDPOINT.to_owned()),
            ("WEBHOOK_ENDPOINT_SETTINGS", json!({ENDPOINT: settings}).to_string()),
        ];
        variables.extend(more);
        let worker = testbed.worker(&programs.worker, &as_texts(&variables)).await?;
        Ok(Self { testbed, worker, variables })
    }

    /// A second process beside the worker.
    pub async fn another_worker(&self, programs: &Programs) -> Result<Function> {
        self.testbed.worker(&programs.worker, &as_texts(&self.variables)).await
    }

    /// How often each event is in the archive.
    pub fn archived(&self) -> Result<BTreeMap<String, usize>> {
        let mut rows = BTreeMap::new();
        for row in self.sqs.records(ARCHIVE_STREAM) {
            let row: Value = serde_json::from_str(&row)?;
            *rows.entry(row["id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        Ok(rows)
    }

    /// Who plays this destination.
    pub fn receiver(&self, destination: Destination) -> &Receiver {
        match destination {
            Destination::Segment => &self.segment,
            Destination::Vero => &self.vero,
            Destination::Endpoint => &self.endpoint,
        }
    }

    /// Puts so many events into the queue, as ingest would, and returns their ids.
    pub fn enqueue(&self, count: usize) -> Result<Vec<String>> {
        let ids: Vec<String> = (0..count).map(|number| format!("event-{number:05}")).collect();
        for (number, id) in ids.iter().enumerate() {
            let envelope = json!({
                "version": 1,
                "id": id,
                "source": "vero",
                "received_at": "2026-11-21T05:04:03.123Z",
                "payload": webhook(number),
            });
            self.queue.send(envelope.to_string())?;
        }
        Ok(ids)
    }

    /// Hands the worker one batch of what is visible; none when nothing is.
    pub async fn step(&self, batch_size: usize) -> Option<Invocation> {
        let source = EventSource { batch_size, max_invocations: 1, ..EventSource::default() };
        source.drain(&self.worker, &self.queue).await.invocations.pop()
    }

    /// Puts the clock forward until all of the queue is visible; says whether there is anything.
    pub fn make_all_due(&self) -> bool {
        let messages = self.queue.messages();
        self.sqs.advance(messages.iter().map(|message| message.hidden_for).max().unwrap_or_default());
        !messages.is_empty()
    }

    /// Drains the queue through time, each pass by a fresh process: the breaker's pauses are in real time, the
    /// minutes between two tries are not. Says whether the queue is empty.
    pub async fn drain(&self, batch_size: usize) -> Result<bool> {
        for _ in 0..20 {
            self.worker.restart().await?;
            while self.step(batch_size).await.is_some() {}
            if !self.make_all_due() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn as_texts<'v>(variables: &'v [(&'static str, String)]) -> Vec<(&'v str, &'v str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A webhook that all destinations want.
pub fn webhook(number: usize) -> Value {
    const TYPES: [&str; 5] = ["sent", "delivered", "opened", "clicked", "bounced"];
    json!({
        "type": TYPES[number % TYPES.len()],
        "message_id": format!("{number}@veromail.com"),
        "user": {"id": number, "email": format!("user-{number}@example.com")},
        "campaign": {"id": 987, "name": "Order confirmation", "channel": "email"},
    })
}
