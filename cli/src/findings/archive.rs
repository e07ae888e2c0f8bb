//! Of the archive.

use std::time::Duration;

use super::Severity::{Fault, Warning};
use super::{Check, Verdicts, when};
use crate::model::state::StackState;
use crate::model::time::for_people;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "firehose_fails",
        severity: Fault,
        why: "Firehose keeps events for a day. What it cannot write until then is in no archive.",
        look: streams,
    },
    Check {
        code: "archive_is_late",
        severity: Warning,
        why: "After two hours Firehose writes rows under errors/ instead, where no query and no replay finds them.",
        look: late,
    },
    Check {
        code: "misplaced_rows",
        severity: Warning,
        why: "No query and no replay finds what Firehose wrote under errors/.",
        look: misplaced,
    },
    Check {
        code: "delivery_log_lacks_rows",
        severity: Warning,
        why: "The query reconciliation lists these events as undelivered.",
        look: unrecorded,
    },
    Check {
        code: "replay_fails",
        severity: Warning,
        why: "A replay, a forget or the hourly run did not come to its end.",
        look: replay,
    },
    Check {
        code: "archive_is_off",
        severity: Warning,
        why: "Without an archive nobody requeues the webhooks of the log by itself, and nothing can be replayed.",
        look: off,
    },
];

fn streams(state: &StackState) -> Verdicts {
    let streams = state.archive.iter().flat_map(|archive| &archive.streams);
    let failing = streams.filter_map(|(name, stream)| {
        let is = stream.yes()?;
        (is != "ACTIVE").then(|| (format!("the delivery stream {name} is {is}"), "relay repair".to_owned()))
    });
    failing.collect()
}

fn late(state: &StackState) -> Verdicts {
    let age = state.last_hour.yes().map_or(0, |hour| hour.archive_age_s);
    when(age > 3_600, || {
        let age = for_people(Duration::from_secs(age));
        (
            format!("an event of the last hour waited for Firehose for {age}"),
            "docs/runbook.md#archivebehind".to_owned(),
        )
    })
}

fn misplaced(state: &StackState) -> Verdicts {
    let count =
        state.archive.as_ref().and_then(|archive| archive.misplaced_objects.yes().copied()).unwrap_or(0);
    when(count > 0, || {
        (
            format!("{count} objects are under errors/ of the archive's bucket"),
            "relay misplaced list".to_owned(),
        )
    })
}

fn unrecorded(state: &StackState) -> Verdicts {
    let count = state.last_day.yes().map_or(0, |day| day.unrecorded);
    when(count > 0, || {
        (format!("the delivery log lacks {count} rows of the last day"), "relay tail --since 1d".to_owned())
    })
}

fn replay(state: &StackState) -> Verdicts {
    let count = state.last_day.yes().map_or(0, |day| day.replay_errors);
    when(count > 0, || {
        (
            format!("replay failed {count} times in the last day"),
            "relay tail --function replay --since 1d --no-follow".to_owned(),
        )
    })
}

fn off(state: &StackState) -> Verdicts {
    let is_wanted = state.unqueued.yes().copied().unwrap_or(0) > 0;
    when(!state.stack.has_archive() && is_wanted, || {
        (
            "the archive is off, and webhooks are in the log alone".to_owned(),
            "relay set Archive=true (for events from then on; relay requeue mends those of now)".to_owned(),
        )
    })
}
