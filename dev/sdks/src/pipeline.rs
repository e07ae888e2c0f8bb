//! Both functions' binaries on the harness: queues as the template makes them, and Vero alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use faults::programs::Programs;
use faults::rig::{Destination, Rig};
use harness::{EventSource, Function};
use local::digest;

use crate::expect::Call;
use crate::front::Behind;

/// What opens `/v1`.
pub const WRITE_KEY: &str = "write-key-of-the-harness";
/// What opens `/v1` for track, page and screen.
pub const BROWSER_KEY: &str = "browser-key-of-the-harness";
/// What opens `/segment`.
pub const SEGMENT_TOKEN: &str = "segment-token-of-the-harness";
/// The page of the recorded browsers.
const ORIGIN: &str = "https://www.example.com";

/// Ingest, a queue, a worker and Vero.
pub struct Pipeline {
    /// Ingest.
    pub behind: Behind,
    rig: Rig,
}

impl Pipeline {
    /// Starts both functions.
    pub async fn start(programs: &Programs) -> Result<Pipeline> {
        let rig = Rig::with(programs, &[Destination::Vero]).await?;
        let (queue_url, dead_url) = (rig.queue.url(), rig.dead.url());
        let environment = [
            ("AWS_ENDPOINT_URL", rig.sqs.url()),
            ("QUEUE_URL", &queue_url),
            ("DEAD_LETTER_QUEUE_URL", &dead_url),
            ("WEBHOOK_TOKEN_SHA256", &digest("webhook-token-of-the-harness")),
            ("SEGMENT_TOKEN_SHA256", &digest(SEGMENT_TOKEN)),
            ("WRITE_KEY_SHA256", &digest(WRITE_KEY)),
            ("BROWSER_KEY_SHA256", &digest(BROWSER_KEY)),
            ("CORS_ORIGINS", ORIGIN),
        ];
        let ingest = Function::start(&programs.ingest, &environment).await?;
        Ok(Pipeline { behind: Behind::Ingest(Arc::new(ingest)), rig })
    }

    /// Hands the queue's messages to the worker, for ever.
    pub async fn pump<T>(&self) -> T {
        let source = EventSource { batch_size: 100, ..EventSource::default() };
        loop {
            source.drain(&self.rig.worker, &self.rig.queue).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What Vero took.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.rig.vero.accepted().into_iter();
        calls.map(|one| Call { method: one.method, path: one.path, body: one.json }).collect()
    }

    /// How many events were given up.
    pub fn dead_letters(&self) -> usize {
        self.rig.dead.messages().len()
    }
}
