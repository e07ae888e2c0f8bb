//! Of the queues, and of what waits in them.

use super::Severity::{Fault, Warning};
use super::{Check, Verdicts, when};
use crate::model::state::{Queue, StackState};
use crate::model::time::for_people;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "dead_letters",
        severity: Fault,
        why: "These events have not arrived. SQS deletes them after 14 days.",
        look: letters,
    },
    Check {
        code: "queue_is_late",
        severity: Fault,
        why: "The worker does not keep up, or does not run.",
        look: age,
    },
    Check {
        code: "owed_for_long",
        severity: Warning,
        why: "A destination has not taken an event for over an hour. After about 22 hours it is a dead letter.",
        look: owed,
    },
    Check {
        code: "visibility_too_short",
        severity: Fault,
        why: "A message comes back while the worker still has it, and its event is sent twice.",
        look: visibility,
    },
    Check {
        code: "redrive_policy_changed",
        severity: Fault,
        why: "Without the policy a poison message goes round for ever; with few receives healthy messages become dead letters.",
        look: policy,
    },
    Check {
        code: "retention_changed",
        severity: Fault,
        why: "SQS deletes what waits for longer. The template keeps events for 7 days and dead letters for 14.",
        look: retention,
    },
];

fn queue<'s>(state: &'s StackState, name: &str) -> Option<&'s Queue> {
    state.queues.get(name).and_then(|queue| queue.yes())
}

fn letters(state: &StackState) -> Verdicts {
    let total = queue(state, "DeadLetterQueue").map_or(0, Queue::messages);
    when(total > 0, || {
        let rows = state.letters.yes().map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<String> =
            rows.iter().map(|row| format!("{} {} to {}", row.count, row.reason, row.destination)).collect();
        let detail = if rows.is_empty() { String::new() } else { format!(": {}", rows.join(", ")) };
        (format!("{total} dead letters{detail}"), "relay letters list".to_owned())
    })
}

fn age(state: &StackState) -> Verdicts {
    let age = state.last_hour.yes().map_or(0, |hour| hour.queue_age_s);
    when(age > 1_200, || {
        let wanted: u64 = state.stack.parameter("WorkerMaximumConcurrency").parse().unwrap_or(10);
        (
            format!(
                "a message of the last hour waited in the queue for {}",
                for_people(Duration::from_secs(age))
            ),
            format!(
                "relay set WorkerMaximumConcurrency={} (if relay tail shows no errors of the worker)",
                2 * wanted
            ),
        )
    })
}

fn owed(state: &StackState) -> Verdicts {
    let age = state.last_hour.yes().map_or(0, |hour| hour.oldest_owed_s);
    when(age > 3_600, || {
        (
            format!(
                "an event was owed in the last hour that was received {} before",
                for_people(Duration::from_secs(age))
            ),
            "relay tail --since 30m --no-follow".to_owned(),
        )
    })
}

fn visibility(state: &StackState) -> Verdicts {
    let timeout =
        state.functions.get("worker").and_then(|worker| worker.yes()).map(|worker| worker.timeout_s);
    let (Some(queue), Some(timeout)) = (queue(state, "Queue"), timeout) else { return Vec::new() };
    when(queue.visibility_s < 6 * timeout, || {
        (
            format!(
                "the queue hides a message for {} s, less than six times the worker's timeout of {timeout} s",
                queue.visibility_s
            ),
            "relay repair".to_owned(),
        )
    })
}

fn policy(state: &StackState) -> Verdicts {
    let Some(queue) = queue(state, "Queue") else { return Vec::new() };
    when(queue.max_receives.is_none_or(|receives| receives < 10), || {
        let what = match queue.max_receives {
            Some(receives) => format!("the queue moves messages after {receives} receives, not after 10"),
            None => "the queue has no dead-letter queue".to_owned(),
        };
        (what, "relay repair".to_owned())
    })
}

fn retention(state: &StackState) -> Verdicts {
    let wanted = [("Queue", 604_800), ("DeadLetterQueue", 1_209_600)];
    let changed = wanted.into_iter().filter_map(|(name, wanted)| {
        let retention = queue(state, name)?.retention_s;
        (retention < wanted).then(|| {
            let kept = for_people(Duration::from_secs(retention));
            (format!("{name} keeps messages for {kept} only"), "relay repair".to_owned())
        })
    });
    changed.collect()
}
