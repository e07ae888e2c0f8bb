//! What is told while it goes on: a line in the log every ten seconds, and at the end.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

/// Tells how far a job has come.
#[derive(Debug)]
pub struct ProgressLog {
    next: Instant,
}

impl ProgressLog {
    /// The first line comes after ten seconds.
    pub fn new() -> Self {
        ProgressLog { next: Instant::now() + EVERY }
    }

    /// Writes a line if it is time.
    pub fn tick(&mut self, job: &'static str, counts: &impl Serialize) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            log(job, "under way", counts);
        }
    }
}

/// Writes a line with counts, which become fields of it.
pub fn log(job: &'static str, message: &str, counts: &impl Serialize) {
    // Counts always are JSON.
    let json = serde_json::to_string(counts).unwrap_or_default();
    tracing::info!(job, json, "{message}");
}
