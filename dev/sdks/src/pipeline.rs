//! Both functions' binaries on the harness: queues as the template makes them, and Vero alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use faults::programs::Programs;
use faults::rig::{Destination, Rig};
use harness::EventSource;

use crate::expect::Call;
use crate::recorder::Upstream;

/// The page of the recorded browsers.
const ORIGIN: &str = "https://www.example.com";

/// Ingest, a queue, a worker and Vero.
pub struct Pipeline {
    pub upstream: Upstream,
    rig: Rig,
}

impl Pipeline {
    pub async fn start(programs: &Programs) -> Result<Pipeline> {
        let rig = Rig::alone(programs, Destination::Vero).await?;
        let ingest = rig.ingest(&programs.ingest, &[("CORS_ORIGINS", ORIGIN)]).await?;
        Ok(Pipeline { upstream: Upstream::Ingest(Arc::new(ingest)), rig })
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
