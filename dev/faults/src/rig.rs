//! A world of its own for one proof: queues as the template makes them, both destinations and a worker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::{EventSource, Function, Invocation, Queue, QueueSettings, Receiver, Sqs};
use serde_json::{Value, json};

use crate::programs::Programs;

/// The queue's visibility timeout in the template.
pub const VISIBILITY: Duration = Duration::from_secs(150);

/// The archive's delivery stream.
const ARCHIVE: &str = "archive";

/// A destination by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Segment's HTTP Tracking API.
    Segment,
    /// Vero's Track API.
    Vero,
}

impl Destination {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Segment, Self::Vero];

    /// Its name in envelopes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Vero => "vero_track",
        }
    }

    /// The one that is to notice nothing of its errors.
    pub fn neighbour(self) -> Self {
        match self {
            Self::Segment => Self::Vero,
            Self::Vero => Self::Segment,
        }
    }
}

/// Queues, destinations and a worker.
pub struct Rig {
    /// The queues' server.
    pub sqs: Sqs,
    /// What the worker drains.
    pub queue: Queue,
    /// The dead letters.
    pub dead: Queue,
    /// Plays Segment.
    pub segment: Receiver,
    /// Plays Vero.
    pub vero: Receiver,
    /// The function under proof.
    pub worker: Function,
    environment: Vec<(&'static str, String)>,
}

impl Rig {
    /// With both destinations on.
    pub async fn start(programs: &Programs) -> Result<Self> {
        Self::with(programs, &Destination::ALL).await
    }

    /// With these destinations on.
    pub async fn with(programs: &Programs, on: &[Destination]) -> Result<Self> {
        Self::build(programs, on, "").await
    }

    /// With both destinations on, and the archive, which is well.
    pub async fn with_archive(programs: &Programs) -> Result<Self> {
        Self::build(programs, &Destination::ALL, ARCHIVE).await
    }

    /// How often each event is in the archive.
    pub fn archived(&self) -> Result<BTreeMap<String, usize>> {
        let mut rows = BTreeMap::new();
        for row in self.sqs.records(ARCHIVE) {
            let row: Value = serde_json::from_str(&row)?;
            *rows.entry(row["id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        Ok(rows)
    }

    async fn build(programs: &Programs, on: &[Destination], archive: &str) -> Result<Self> {
        let sqs = Sqs::start().await?;
        let (segment, vero) = (Receiver::start().await?, Receiver::start().await?);
        let dead = sqs.queue("dead", QueueSettings::default());
        let settings = QueueSettings {
            visibility: VISIBILITY,
            dead_letter: Some(dead.name().to_owned()),
            ..QueueSettings::default()
        };
        let queue = sqs.queue("main", settings);
        let key = |destination| if on.contains(&destination) { "key" } else { "" };
        let environment = vec![
            ("AWS_ENDPOINT_URL", sqs.url().to_owned()),
            ("QUEUE_URL", queue.url()),
            ("DEAD_LETTER_QUEUE_URL", dead.url()),
            ("SEGMENT_WRITE_KEY", key(Destination::Segment).to_owned()),
            ("SEGMENT_ENDPOINT", segment.url().to_owned()),
            ("VERO_AUTH_TOKEN", key(Destination::Vero).to_owned()),
            ("VERO_ENDPOINT", vero.url().to_owned()),
            ("ARCHIVE_STREAM", archive.to_owned()),
        ];
        sqs.stream(ARCHIVE);
        let worker = start(programs, &environment).await?;
        Ok(Self { sqs, queue, dead, segment, vero, worker, environment })
    }

    /// A second process beside the worker.
    pub async fn another_worker(&self, programs: &Programs) -> Result<Function> {
        start(programs, &self.environment).await
    }

    /// Who plays this destination.
    pub fn receiver(&self, destination: Destination) -> &Receiver {
        match destination {
            Destination::Segment => &self.segment,
            Destination::Vero => &self.vero,
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

async fn start(programs: &Programs, environment: &[(&'static str, String)]) -> Result<Function> {
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::start(&programs.worker, &environment).await
}

/// A webhook that both destinations want.
pub fn webhook(number: usize) -> Value {
    const TYPES: [&str; 5] = ["sent", "delivered", "opened", "clicked", "bounced"];
    json!({
        "type": TYPES[number % TYPES.len()],
        "message_id": format!("{number}@veromail.com"),
        "user": {"id": number, "email": format!("user-{number}@example.com")},
        "campaign": {"id": 987, "name": "Order confirmation", "channel": "email"},
    })
}
