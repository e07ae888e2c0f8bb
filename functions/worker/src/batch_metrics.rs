//! An account of every event: one line an invocation, from which CloudWatch makes metrics, and one a failure.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use relay_core::delivery::{DeliveryError, DeliveryOutcome, MAX_ATTEMPTS, tries_before};
use relay_core::destinations::parts;
use relay_core::envelope::{Envelope, Source};
use relay_core::timestamp::Timestamp;
use relay_platform::metrics::{Metrics, Unit};
use serde_json::Value;

use crate::destination::context::Calls;
use crate::event::Event;

/// What is counted of each destination, and the end of its metric's name. Events that were not tried, paused ones and
/// those for which there was no time, are in the line only.
const METRICS: [(&str, &str); 7] = [
    ("accepted", "Accepted"),
    ("owed", "Owed"),
    ("skipped", "Skipped"),
    ("dead", "Dead"),
    ("maybe_doubled", "MaybeDoubled"),
    ("calls", "Calls"),
    ("unauthorized", "Unauthorized"),
];

const POISON: &str = "poison";
const RECEIVED: &str = "received";

/// Rows of the delivery log that are not known to be written.
pub const UNRECORDED: &str = "unrecorded";

/// All metrics of the worker, by their names in CloudWatch.
pub fn metrics() -> impl Iterator<Item = String> {
    let of_batch =
        ["Messages", "Received", "Returned", "Poison", "Unrecorded", "OldestOwed"].map(str::to_owned);
    let of_each = METRICS.map(|(_, metric)| metric).into_iter().chain(["Latency"]);
    let of_destinations = parts().map(|part| part.name).flat_map(move |destination| {
        of_each.clone().map(move |metric| format!("{}{metric}", prefix(destination)))
    });
    of_batch.into_iter().chain(of_destinations)
}

/// Counts what became of a batch.
#[derive(Debug)]
pub struct BatchMetrics {
    started: Instant,
    messages: usize,
    counts: BTreeMap<String, usize>,
    reasons: BTreeMap<String, usize>,
    /// From receipt to acceptance, in milliseconds, by destination.
    latencies: BTreeMap<String, Vec<u64>>,
    oldest_owed: Option<Timestamp>,
}

impl BatchMetrics {
    /// Of a batch of so many messages.
    pub fn new(messages: usize) -> Self {
        BatchMetrics {
            started: Instant::now(),
            messages,
            counts: BTreeMap::new(),
            reasons: BTreeMap::new(),
            latencies: BTreeMap::new(),
            oldest_owed: None,
        }
    }

    /// Counts what became of an event at a destination, and logs what the operator must know.
    pub fn count(&mut self, event: &Event<'_>, destination: &str, outcome: &DeliveryOutcome) {
        let id = &event.envelope.id;
        // An envelope may name anything.
        let destination =
            parts().map(|part| part.name).find(|name| *name == destination).unwrap_or("unknown");
        let received_at = event.envelope.received_at;
        let attempt = tries_before(event.envelope.attempt) + 1;
        if matches!(
            outcome,
            DeliveryOutcome::Retry(_) | DeliveryOutcome::Paused | DeliveryOutcome::NotStarted
        ) {
            self.oldest_owed = Some(self.oldest_owed.map_or(received_at, |oldest| oldest.min(received_at)));
        }
        if outcome.is_maybe_doubled() {
            self.count_doubling(destination);
        }
        let (outcome, reason) = match outcome {
            DeliveryOutcome::Accepted { at, .. } => {
                let latency = Timestamp::from_system(*at).milliseconds_since(received_at);
                self.latencies.entry(destination.to_owned()).or_default().push(latency);
                ("accepted", None)
            }
            DeliveryOutcome::Skipped(reason) => {
                tracing::debug!(%id, destination, reason, "skipped");
                ("skipped", Some(*reason))
            }
            DeliveryOutcome::NotStarted => ("not_started", None),
            DeliveryOutcome::Paused => ("paused", None),
            DeliveryOutcome::Retry(DeliveryError { reason, status, .. }) => {
                if attempt == MAX_ATTEMPTS {
                    tracing::error!(%id, destination, attempt, reason, status, "to the dead-letter queue after its last try");
                    ("dead", Some(*reason))
                } else {
                    tracing::warn!(%id, destination, attempt, reason, status, "still owed");
                    ("owed", Some(*reason))
                }
            }
            DeliveryOutcome::Rejected(cause) => {
                let (reason, status) = (cause.reason, cause.status);
                tracing::error!(%id, destination, attempt, reason, status, "to the dead-letter queue");
                ("dead", Some(reason))
            }
        };
        if let Some(reason) = reason {
            *self.reasons.entry(format!("{destination}.{outcome}.{reason}")).or_default() += 1;
        }
        self.add(format!("{destination}.{outcome}"), 1);
    }

    /// Counts the requests that were made under one of a destination's names.
    pub fn count_calls(&mut self, destination: &str, calls: Calls) {
        self.add(format!("{destination}.calls"), calls.made);
        self.add(format!("{destination}.unauthorized"), calls.unauthorized);
    }

    /// Counts a webhook on its first way: what is owed, redriven or replayed was received before.
    pub fn count_received(&mut self, envelope: &Envelope<'_>) {
        let is_first = envelope.destinations.is_none() && envelope.attempt == 0;
        self.add(RECEIVED, usize::from(is_first && envelope.source == Source::Vero));
    }

    /// Counts a message that goes to the dead-letter queue without having been an event.
    pub fn count_poison(&mut self) {
        self.add(POISON, 1);
    }

    /// Counts an event that a destination may get, or have got, a second time.
    pub fn count_doubling(&mut self, destination: &str) {
        self.add(format!("{destination}.maybe_doubled"), 1);
    }

    /// Counts something that has no destination.
    pub fn add(&mut self, what: impl Into<String>, count: usize) {
        if count > 0 {
            *self.counts.entry(what.into()).or_default() += count;
        }
    }

    /// Writes the invocation's line.
    pub fn log(mut self, returned: usize, metrics: &Metrics) {
        let of = |what: &str| self.counts.get(what).copied().unwrap_or_default();
        let mut line = metrics
            .line()
            .count("Messages", self.messages)
            .count("Received", of(RECEIVED))
            .count("Returned", returned)
            .count("Poison", of(POISON))
            .count("Unrecorded", of(UNRECORDED))
            .field("duration_ms", self.started.elapsed().as_millis() as u64);
        // Of a batch of one the log costs more than the work, so that nothing is said twice.
        let others: BTreeMap<_, _> = self.counts.iter().filter(|(what, _)| !is_metric(what)).collect();
        if !others.is_empty() {
            line = line.field("counts", serde_json::to_string(&others).unwrap_or_default());
        }
        if let Some(oldest) = self.oldest_owed {
            // A copy's age in the queue starts anew, so the queue's own metric does not tell this.
            let seconds = Timestamp::from_system(SystemTime::now()).seconds_since(oldest);
            line = line.measured("OldestOwed", Unit::Seconds, seconds).field("oldest_owed_s", seconds);
        }
        if !self.reasons.is_empty() {
            line = line.field("reasons", self.reasons.into_iter().collect::<Value>());
        }
        for destination in parts().map(|part| part.name) {
            let prefix = prefix(destination);
            for (what, metric) in METRICS {
                line = line.count(format!("{prefix}{metric}"), of(&format!("{destination}.{what}")));
            }
            let latencies = self.latencies.remove(destination).unwrap_or_default();
            line = line.all_measured(format!("{prefix}Latency"), Unit::Milliseconds, latencies);
        }
        line.info("batch");
    }
}

/// Whether a count is in the line as a metric.
fn is_metric(what: &str) -> bool {
    [POISON, RECEIVED, UNRECORDED].contains(&what)
        || what.rsplit_once('.').is_some_and(|(destination, what)| {
            parts().any(|part| part.name == destination) && METRICS.iter().any(|(metric, _)| *metric == what)
        })
}

/// The beginning of a destination's metrics: its name in CloudWatch's usual spelling.
fn prefix(destination: &str) -> String {
    let capitalised = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    destination.split('_').map(capitalised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_after_destinations() {
        let prefixes: Vec<String> = parts().map(|part| prefix(part.name)).collect();
        assert_eq!(prefixes, ["Segment", "VeroTrack", "VeroTags", "Archive"]);
    }
}
