//! An account of every event: one line an invocation, from which CloudWatch makes metrics, and one a failure.

use std::collections::BTreeMap;

use relay_core::delivery::{DeliveryError, DeliveryOutcome, MAX_ATTEMPTS, tries_before};
use relay_core::destinations::{part, parts};
use relay_core::envelope::{Envelope, Source};
use relay_core::timestamp::Timestamp;
use relay_platform::metrics::{Metrics, Unit};
use relay_platform::world;
use serde_json::Value;
use tokio::time::Instant;

use crate::destination::context::Calls;
use crate::event::{Event, UNKNOWN};

/// All metrics of the worker, by their names in CloudWatch.
pub fn metrics() -> impl Iterator<Item = String> {
    let of_batch =
        ["Messages", "Received", "Returned", "Poison", "Unrecorded", "OldestOwed"].map(str::to_owned);
    let of_each = METRICS.map(|(_, metric, _)| metric).into_iter().chain(["Latency"]);
    let of_destinations = parts()
        .flat_map(move |part| of_each.clone().map(move |metric| format!("{}{metric}", prefix(part.name))));
    of_batch.into_iter().chain(of_destinations)
}

/// What is counted at a destination, for each of its parts.
#[derive(Debug, Default)]
struct Counts {
    accepted: usize,
    owed: usize,
    skipped: usize,
    dead: usize,
    maybe_doubled: usize,
    calls: usize,
    unauthorized: usize,
    not_started: usize,
    paused: usize,
    /// From receipt to acceptance, in milliseconds.
    latencies: Vec<u64>,
}

/// A count by its name in the line, and by the end of its metric's name.
type Metric = (&'static str, &'static str, fn(&Counts) -> usize);

const METRICS: [Metric; 7] = [
    ("accepted", "Accepted", |counts| counts.accepted),
    ("owed", "Owed", |counts| counts.owed),
    ("skipped", "Skipped", |counts| counts.skipped),
    ("dead", "Dead", |counts| counts.dead),
    ("maybe_doubled", "MaybeDoubled", |counts| counts.maybe_doubled),
    ("calls", "Calls", |counts| counts.calls),
    ("unauthorized", "Unauthorized", |counts| counts.unauthorized),
];

/// Counts what became of a batch.
#[derive(Debug)]
pub struct BatchMetrics {
    started: Instant,
    messages: usize,
    received: usize,
    poison: usize,
    unsent: usize,
    unrecorded: usize,
    /// By part, or [`UNKNOWN`].
    counts: BTreeMap<&'static str, Counts>,
    reasons: BTreeMap<String, usize>,
    oldest_owed: Option<Timestamp>,
}

impl BatchMetrics {
    pub fn new(messages: usize) -> Self {
        BatchMetrics {
            started: Instant::now(),
            messages,
            received: 0,
            poison: 0,
            unsent: 0,
            unrecorded: 0,
            counts: BTreeMap::new(),
            reasons: BTreeMap::new(),
            oldest_owed: None,
        }
    }

    /// Counts what became of an event at a destination, and logs what the operator must know.
    pub fn count(&mut self, event: &Event<'_>, destination: &str, outcome: &DeliveryOutcome) {
        let id = &event.envelope.id;
        let (destination, part) = (shown(destination), known(destination));
        let received_at = event.envelope.received_at;
        let attempt = tries_before(event.envelope.attempt) + 1;
        if outcome.is_owed() {
            self.oldest_owed = Some(self.oldest_owed.map_or(received_at, |oldest| oldest.min(received_at)));
        }
        let counts = self.counts.entry(part).or_default();
        counts.maybe_doubled += usize::from(outcome.is_maybe_doubled());
        let (count, named) = match outcome {
            DeliveryOutcome::Accepted { at, .. } => {
                counts.latencies.push(Timestamp::from_system(*at).milliseconds_since(received_at));
                (&mut counts.accepted, None)
            }
            DeliveryOutcome::NotStarted => (&mut counts.not_started, None),
            DeliveryOutcome::Paused => (&mut counts.paused, None),
            DeliveryOutcome::Skipped(reason) => {
                tracing::debug!(%id, destination, reason, "skipped");
                (&mut counts.skipped, Some(("skipped", reason)))
            }
            DeliveryOutcome::Retry(DeliveryError { reason, status, held_back, .. })
            | DeliveryOutcome::Misconfigured(DeliveryError { reason, status, held_back, .. }) => {
                if attempt == MAX_ATTEMPTS {
                    tracing::error!(%id, destination, attempt, reason, status, held_back, "to the dead-letter queue after its last try");
                    (&mut counts.dead, Some(("dead", reason)))
                } else {
                    tracing::warn!(%id, destination, attempt, reason, status, held_back, "still owed");
                    (&mut counts.owed, Some(("owed", reason)))
                }
            }
            DeliveryOutcome::Rejected(DeliveryError { reason, status, .. }) => {
                tracing::error!(%id, destination, attempt, reason, status, "to the dead-letter queue");
                (&mut counts.dead, Some(("dead", reason)))
            }
        };
        *count += 1;
        if let Some((outcome, reason)) = named {
            *self.reasons.entry(format!("{destination}.{outcome}.{reason}")).or_default() += 1;
        }
    }

    /// Counts the requests that were made for a part of a destination.
    pub fn count_calls(&mut self, part: &'static str, calls: Calls) {
        let counts = self.counts.entry(known(part)).or_default();
        counts.calls += calls.made;
        counts.unauthorized += calls.unauthorized;
    }

    /// Counts a webhook on its first way: what is owed, redriven or replayed was received before.
    pub fn count_received(&mut self, envelope: &Envelope<'_>) {
        let is_first = envelope.destinations.is_none() && envelope.attempt == 0;
        self.received += usize::from(is_first && envelope.source == Source::Vero);
    }

    /// Counts a message that goes to the dead-letter queue without having been an event.
    pub fn count_poison(&mut self) {
        self.poison += 1;
    }

    /// Counts an event that a destination may get, or have got, a second time.
    pub fn count_doubling(&mut self, destination: &str) {
        self.counts.entry(known(destination)).or_default().maybe_doubled += 1;
    }

    /// Counts a copy or a dead letter that SQS is not known to have taken.
    pub fn count_unsent(&mut self) {
        self.unsent += 1;
    }

    /// Counts rows of the delivery log that are not known to be written.
    pub fn count_unrecorded(&mut self, rows: usize) {
        self.unrecorded += rows;
    }

    /// Writes the invocation's line.
    pub fn log(mut self, returned: usize, metrics: &Metrics) {
        let mut line = metrics
            .line()
            .count("Messages", self.messages)
            .count("Received", self.received)
            .count("Returned", returned)
            .count("Poison", self.poison)
            .count("Unrecorded", self.unrecorded)
            .field("duration_ms", self.started.elapsed().as_millis() as u64);
        let others = self.others();
        if !others.is_empty() {
            line = line.field("counts", serde_json::to_string(&others).unwrap_or_default());
        }
        if let Some(oldest) = self.oldest_owed {
            // A copy's age in the queue starts anew, so the queue's own metric does not tell this.
            let seconds = Timestamp::from_system(world::now()).seconds_since(oldest);
            line = line.measured("OldestOwed", Unit::Seconds, seconds).field("oldest_owed_s", seconds);
        }
        if !self.reasons.is_empty() {
            line = line.field("reasons", self.reasons.into_iter().collect::<Value>());
        }
        for part in parts() {
            let Some(counts) = self.counts.remove(part.name) else { continue };
            let prefix = prefix(part.name);
            for (_, metric, count) in METRICS {
                line = line.count(format!("{prefix}{metric}"), count(&counts));
            }
            line = line.all_measured(format!("{prefix}Latency"), Unit::Milliseconds, counts.latencies);
        }
        line.info("batch");
    }

    /// What is no metric. A batch of one costs more to log than to work off, so that nothing is said twice.
    fn others(&self) -> BTreeMap<String, usize> {
        let mut others = BTreeMap::from([("unsent".to_owned(), self.unsent)]);
        for (part, counts) in &self.counts {
            others.insert(format!("{part}.not_started"), counts.not_started);
            others.insert(format!("{part}.paused"), counts.paused);
            if *part == UNKNOWN {
                others.extend(METRICS.map(|(name, _, count)| (format!("{part}.{name}"), count(counts))));
            }
        }
        others.retain(|_, count| *count > 0);
        others
    }
}

/// How a destination is called in the log: an endpoint by its own name.
fn shown(destination: &str) -> &str {
    if part(destination).is_some() { destination } else { UNKNOWN }
}

/// The part that is counted. An envelope may name anything, and metrics cost by their number: those of endpoints are one.
fn known(destination: &str) -> &'static str {
    part(destination).map_or(UNKNOWN, |part| part.name)
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
        assert_eq!(prefixes, ["Segment", "VeroTrack", "VeroTags", "Archive", "Webhook"]);
    }
}
