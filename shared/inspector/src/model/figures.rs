//! What a stack has done in a span of time: counts and times, from its metrics, or from its log where there are none.

use std::collections::BTreeMap;

use relay_core::destinations::parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The figures of a span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Where they are from: `metrics` or `log`.
    pub from: String,
    /// New webhooks.
    pub received: u64,
    /// Requests of unknown callers.
    pub unauthorized: u64,
    /// Events that SQS did not take.
    pub unqueued: u64,
    /// Rows that the delivery log lacks.
    pub unrecorded: u64,
    /// Events that were cut off.
    pub truncated: u64,
    /// Answers of 5xx that `ingest` gave.
    pub ingest_5xx: u64,
    /// Requests to `ingest` that Lambda refused for want of executions.
    pub ingest_throttles: u64,
    /// Invocations of the worker that failed.
    pub worker_errors: u64,
    /// Invocations of the worker that Lambda refused for want of executions.
    pub worker_throttles: u64,
    /// Invocations of `replay` that failed.
    pub replay_errors: u64,
    /// Age of the oldest message in the queue, in seconds.
    pub queue_age_s: u64,
    /// Age of the oldest event that is owed, in seconds.
    pub oldest_owed_s: u64,
    /// Age of the oldest event that Firehose has not written, in seconds.
    pub archive_age_s: u64,
    /// By part of a destination.
    pub parts: BTreeMap<String, PartFigures>,
}

/// The figures of a part of a destination.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartFigures {
    /// Events that it accepted.
    pub accepted: u64,
    /// Tries after which an event was still owed.
    pub owed: u64,
    /// Events that were not meant for it.
    pub skipped: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that it may have got twice.
    pub maybe_doubled: u64,
    /// Requests that it refused for the key.
    pub unauthorized: u64,
    /// From receipt to acceptance, in milliseconds; the half that is quicker.
    pub p50_ms: Option<u64>,
    /// The same for 99 of 100.
    pub p99_ms: Option<u64>,
    /// Why events were owed, skipped or dead, if the log was read: `owed.timeout`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
}

/// A count of a part, and the end of its metric's name.
pub type PartMetric = (&'static str, fn(&mut PartFigures) -> &mut u64);

/// The counts of a part.
pub const PART_METRICS: [PartMetric; 6] = [
    ("Accepted", |part| &mut part.accepted),
    ("Owed", |part| &mut part.owed),
    ("Skipped", |part| &mut part.skipped),
    ("Dead", |part| &mut part.dead),
    ("MaybeDoubled", |part| &mut part.maybe_doubled),
    ("Unauthorized", |part| &mut part.unauthorized),
];

/// A count of the functions' own, and its metric's name.
pub type OwnMetric = (&'static str, fn(&mut Figures) -> &mut u64);

/// The counts that are of no part.
pub const OWN_METRICS: [OwnMetric; 5] = [
    ("Received", |figures| &mut figures.received),
    ("Unauthorized", |figures| &mut figures.unauthorized),
    ("Unqueued", |figures| &mut figures.unqueued),
    ("Unrecorded", |figures| &mut figures.unrecorded),
    ("Truncated", |figures| &mut figures.truncated),
];

impl Figures {
    /// From the functions' log lines, by embedded metrics: for a stand-in of AWS that makes no metrics of them.
    pub fn of_log<'l>(lines: impl Iterator<Item = &'l Value>) -> Self {
        let mut figures = Figures { from: "log".to_owned(), ..Figures::default() };
        let mut latencies: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for line in lines {
            for (name, count) in OWN_METRICS {
                *count(&mut figures) += line[name].as_u64().unwrap_or(0);
            }
            figures.oldest_owed_s = figures.oldest_owed_s.max(line["OldestOwed"].as_u64().unwrap_or(0));
            for part in parts() {
                let prefix = prefix(part.name);
                let own = figures.parts.entry(part.name.to_owned()).or_default();
                for (name, count) in PART_METRICS {
                    *count(own) += line[format!("{prefix}{name}")].as_u64().unwrap_or(0);
                }
                let times = &line[format!("{prefix}Latency")];
                let times = times.as_array().map_or(std::slice::from_ref(times), Vec::as_slice);
                latencies.entry(part.name).or_default().extend(times.iter().filter_map(Value::as_u64));
            }
            for (key, count) in line["reasons"].as_object().into_iter().flatten() {
                let Some((part, reason)) = key.split_once('.') else { continue };
                let own = figures.parts.entry(part.to_owned()).or_default();
                *own.reasons.entry(reason.to_owned()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        for (part, mut times) in latencies {
            times.sort_unstable();
            let own = figures.parts.entry(part.to_owned()).or_default();
            (own.p50_ms, own.p99_ms) = (quantile(&times, 50), quantile(&times, 99));
        }
        figures
    }

    /// Whether the functions have counted nothing at all.
    pub fn is_empty(&self) -> bool {
        let mut own = self.clone();
        let is_counted = OWN_METRICS.iter().any(|(_, count)| *count(&mut own) > 0);
        !is_counted && self.parts.values().all(|part| *part == PartFigures::default())
    }

    /// These counts of the functions, and AWS's own of the others.
    pub fn with_those_of_aws(mut self, others: &Figures) -> Self {
        self.ingest_5xx = others.ingest_5xx;
        self.ingest_throttles = others.ingest_throttles;
        self.worker_errors = others.worker_errors;
        self.worker_throttles = others.worker_throttles;
        self.replay_errors = others.replay_errors;
        self.queue_age_s = others.queue_age_s;
        self.archive_age_s = others.archive_age_s;
        self
    }
}

/// The beginning of a part's metrics: its name in CloudWatch's usual spelling, as the worker has it.
pub fn prefix(part: &str) -> String {
    let capitalised = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    part.split('_').map(capitalised).collect()
}

fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent).div_ceil(100)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_log_is_added_up() {
        let lines = [
            json!({"message": "batch", "Received": 2, "SegmentAccepted": 2, "SegmentLatency": [10, 30],
                "VeroTrackOwed": 1, "OldestOwed": 40, "reasons": {"vero_track.owed.timeout": 1}}),
            json!({"message": "batch", "Received": 1, "SegmentAccepted": 1, "SegmentLatency": 20, "OldestOwed": 7}),
            json!({"message": "refused", "Unauthorized": 1}),
        ];
        let figures = Figures::of_log(lines.iter());
        assert_eq!((figures.received, figures.unauthorized, figures.oldest_owed_s), (3, 1, 40));
        let segment = &figures.parts["segment"];
        assert_eq!((segment.accepted, segment.p50_ms, segment.p99_ms), (3, Some(20), Some(30)));
        let vero = &figures.parts["vero_track"];
        assert_eq!((vero.owed, vero.reasons["owed.timeout"], vero.p50_ms), (1, 1, None));
        assert!(!figures.is_empty() && Figures::of_log([].into_iter()).is_empty());
    }
}
