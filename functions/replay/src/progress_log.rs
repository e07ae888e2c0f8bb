//! A log line about a task every ten seconds, and at its end.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct ProgressLog {
    next: Instant,
}

impl ProgressLog {
    pub fn new() -> Self {
        ProgressLog { next: Instant::now() + EVERY }
    }

    /// Writes a line if ten seconds have passed since the last.
    pub fn tick(&mut self, job: &'static str, counts: &impl Serialize) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            log(job, "under way", counts);
        }
    }
}

/// Writes a line that has the counts as fields.
pub fn log(job: &'static str, message: &str, counts: &impl Serialize) {
    // Counts always are JSON.
    let json = serde_json::to_string(counts).unwrap_or_default();
    tracing::info!(job, json, "{message}");
}
