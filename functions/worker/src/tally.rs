//! An account of every event: one line an invocation, and one a failure.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use relay_core::delivery::{MAX_ATTEMPTS, Outcome, Trouble, tries_before};
use relay_core::timestamp::Timestamp;

use crate::event::Event;

/// Counts what became of a batch.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    messages: usize,
    counts: BTreeMap<String, usize>,
    oldest_owed: Option<Timestamp>,
}

impl Tally {
    /// Of a batch of so many messages.
    pub fn new(messages: usize) -> Self {
        Tally { started: Instant::now(), messages, counts: BTreeMap::new(), oldest_owed: None }
    }

    /// Counts what became of an event at a destination, and logs what the operator must know.
    pub fn count(&mut self, event: &Event<'_>, destination: &str, outcome: &Outcome) {
        let id = &event.envelope.id;
        let attempt = tries_before(event.envelope.attempt) + 1;
        if matches!(outcome, Outcome::Owed(_) | Outcome::Paused | Outcome::NotStarted) {
            let received_at = event.envelope.received_at;
            self.oldest_owed = Some(self.oldest_owed.map_or(received_at, |oldest| oldest.min(received_at)));
        }
        let outcome = match outcome {
            Outcome::Accepted { maybe_doubled } => {
                self.count_doubling(destination, *maybe_doubled);
                "accepted"
            }
            Outcome::Skipped(reason) => {
                tracing::debug!(%id, destination, reason, "skipped");
                "skipped"
            }
            Outcome::NotStarted => "not_started",
            Outcome::Paused => "paused",
            Outcome::Owed(Trouble { reason, status, maybe_taken, .. }) => {
                self.count_doubling(destination, *maybe_taken);
                if attempt == MAX_ATTEMPTS {
                    tracing::error!(%id, destination, attempt, reason, status, "to the dead-letter queue after its last try");
                    "dead"
                } else {
                    tracing::warn!(%id, destination, attempt, reason, status, "still owed");
                    "owed"
                }
            }
            Outcome::Dead(cause) => {
                let (reason, status) = (cause.reason, cause.status);
                tracing::error!(%id, destination, attempt, reason, status, "to the dead-letter queue");
                "dead"
            }
        };
        self.add(format!("{destination}.{outcome}"));
    }

    /// Counts an event that a destination may get, or have got, a second time.
    fn count_doubling(&mut self, destination: &str, is_possible: bool) {
        if is_possible {
            self.add(format!("{destination}.maybe_doubled"));
        }
    }

    /// Counts something that has no destination.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// Writes the invocation's line.
    pub fn log(&self, returned: usize) {
        let counts = serde_json::to_string(&self.counts).unwrap_or_default();
        let duration_ms = self.started.elapsed().as_millis() as u64;
        // A copy's age in the queue starts anew, so the queue's own metric does not tell this.
        let now = Timestamp::from_system(SystemTime::now());
        let oldest_owed_s = self.oldest_owed.map(|oldest| now.seconds_since(oldest));
        tracing::info!(messages = self.messages, returned, duration_ms, oldest_owed_s, counts, "batch");
    }
}
