//! Of the worker, its functions' settings, and the destinations.

use relay_core::destinations::{self, Access};

use super::Severity::{Fault, Warning};
use super::{Check, Verdicts, when};
use crate::model::state::{Function, StackState};
use crate::model::switches::{endpoint_parameter, is_off};
use crate::model::time::for_people;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "event_source_disabled",
        severity: Fault,
        why: "Nothing feeds the worker. The queue keeps events for seven days and then deletes them.",
        look: disabled,
    },
    Check {
        code: "event_source_reports_no_failures",
        severity: Fault,
        why: "Without ReportBatchItemFailures a message that failed is deleted with its batch.",
        look: failures,
    },
    Check {
        code: "worker_may_not_run",
        severity: Fault,
        why: "A reserved concurrency makes Lambda receive and refuse messages, until healthy ones are dead letters.",
        look: reserved,
    },
    Check {
        code: "worker_fails",
        severity: Fault,
        why: "After ten receives the messages of a worker that dies are dead letters.",
        look: errors,
    },
    Check {
        code: "worker_throttled",
        severity: Fault,
        why: "The account had no executions left. After ten refusals a message is a dead letter.",
        look: throttled,
    },
    Check {
        code: "worker_stopped_as_loop",
        severity: Fault,
        why: "What is owed goes back to the worker's own queue. Lambda takes that for a runaway loop, and stops it after some 16 rounds.",
        look: recursion,
    },
    Check {
        code: "function_unusable",
        severity: Fault,
        why: "Lambda cannot run the function, or its last update did not go through.",
        look: unusable,
    },
    Check {
        code: "runtime_is_old",
        severity: Warning,
        why: "AWS stops supporting old runtimes, and then refuses updates of the function.",
        look: runtime,
    },
    Check {
        code: "processors_differ",
        severity: Fault,
        why: "The functions are built for one processor. On another they do not start.",
        look: architecture,
    },
    Check {
        code: "endpoint_is_wrong",
        severity: Fault,
        why: "At this address there is no such API.",
        look: endpoints,
    },
    Check {
        code: "key_refused",
        severity: Fault,
        why: "The destination answers 401 or 403. Its events wait for up to 22 hours, and are dead letters then.",
        look: refused,
    },
    Check {
        code: "destination_paused",
        severity: Warning,
        why: "Its events wait as long as the pause lasts; a resubscribe that waits for over 15 minutes becomes a dead letter.",
        look: paused,
    },
    Check {
        code: "log_is_silent",
        severity: Warning,
        why: "At the level error the log does not tell of events that are owed, so that relay event cannot, either.",
        look: log_level,
    },
];

fn worker(state: &StackState) -> Option<&Function> {
    state.functions.get("worker").and_then(|function| function.yes())
}

fn usable(state: &StackState) -> impl Iterator<Item = (&String, &Function)> {
    state.functions.iter().filter_map(|(name, function)| Some((name, function.yes()?)))
}

const AGAIN: &str = "relay repair";

fn disabled(state: &StackState) -> Verdicts {
    let Some(source) = state.event_source.yes() else { return Vec::new() };
    let is_on = ["Enabled", "Enabling", "Creating", "Updating"].contains(&source.state.as_str());
    when(!is_on, || {
        let id = state.stack.resources.get("WorkerQueue").map_or("", String::as_str);
        (
            format!("the event source mapping of the worker is {}", source.state),
            format!("relay repair (it enables the mapping {id})"),
        )
    })
}

fn failures(state: &StackState) -> Verdicts {
    let reports = state.event_source.yes().map(|source| source.reports_failures);
    when(reports == Some(false), || {
        ("the event source mapping does not report single failures".to_owned(), AGAIN.to_owned())
    })
}

fn reserved(state: &StackState) -> Verdicts {
    let reserved = usable(state).filter(|(name, _)| *name != "ingest");
    let reserved = reserved.filter_map(|(name, function)| Some((name, function.reserved?)));
    reserved
        .map(|(name, count)| {
            (format!("{name} has a reserved concurrency of {count}"), "relay repair".to_owned())
        })
        .collect()
}

fn errors(state: &StackState) -> Verdicts {
    let count = state.last_hour.yes().map_or(0, |hour| hour.worker_errors);
    when(count > 0, || {
        (format!("the worker failed {count} times in the last hour"), "relay tail --since 1h".to_owned())
    })
}

fn throttled(state: &StackState) -> Verdicts {
    let count = state.last_hour.yes().map_or(0, |hour| hour.worker_throttles);
    when(count > 0, || {
        (
            format!("Lambda refused to run the worker {count} times in the last hour"),
            match state.stack.parameter("WorkerMaximumConcurrency") {
                "2" => "docs/runbook.md#workerthrottles".to_owned(),
                _ => "relay set WorkerMaximumConcurrency=2".to_owned(),
            },
        )
    })
}

fn recursion(state: &StackState) -> Verdicts {
    when(worker(state).and_then(|worker| worker.stops_recursion) == Some(true), || {
        ("Lambda's detection of loops is on for the worker".to_owned(), AGAIN.to_owned())
    })
}

fn unusable(state: &StackState) -> Verdicts {
    let is_bad = |function: &Function| {
        ["Failed", "Inactive"].contains(&function.state.as_str()) || function.last_update == "Failed"
    };
    let bad = usable(state).filter(|(_, function)| is_bad(function));
    bad.map(|(name, function)| {
        (format!("{name} is {}, its last update {}", function.state, function.last_update), AGAIN.to_owned())
    })
    .collect()
}

fn runtime(state: &StackState) -> Verdicts {
    let old = usable(state).filter(|(_, function)| function.runtime != "provided.al2023");
    old.map(|(name, function)| (format!("{name} runs on {}", function.runtime), AGAIN.to_owned())).collect()
}

fn architecture(state: &StackState) -> Verdicts {
    let all: std::collections::BTreeSet<&str> =
        usable(state).map(|(_, function)| function.architecture.as_str()).collect();
    when(all.len() > 1, || {
        let all: Vec<&str> = all.into_iter().collect();
        (format!("the functions are set to different processors: {}", all.join(" and ")), AGAIN.to_owned())
    })
}

/// Hosts of Segment's that are no Tracking API.
const OTHER_APIS: [&str; 4] =
    ["api.segmentapis.com", "eu1.api.segmentapis.com", "app.segment.com", "cdn.segment.com"];

fn endpoints(state: &StackState) -> Verdicts {
    let mut verdicts = Vec::new();
    for row in &destinations::ALL {
        let (Some(parameter), Access::Api { default_endpoint, .. }) = (endpoint_parameter(row), &row.access)
        else {
            continue;
        };
        let value = state.stack.parameter(&parameter).trim_end_matches('/');
        if value.is_empty() || is_off(&state.stack, row) {
            continue;
        }
        let (host, path) = value
            .split_once("://")
            .map_or((value, ""), |(_, rest)| rest.split_once('/').unwrap_or((rest, "")));
        let has_path_of_api = path.starts_with("v1") || path.starts_with("api/");
        let is_of_segment = host.ends_with("segment.io")
            || host.ends_with("segmentapis.com")
            || host.ends_with("segment.com");
        let is_known = ["api.segment.io", "events.eu1.segmentapis.com"].contains(&host);
        if OTHER_APIS.contains(&host) || has_path_of_api || (is_of_segment && !is_known) {
            verdicts.push((
                format!("{parameter} is {value}, which is no base URL of its API"),
                match row.name {
                    "segment" => format!(
                        "relay set {parameter}={default_endpoint} (EU workspaces: https://events.eu1.segmentapis.com)"
                    ),
                    _ => format!("relay set {parameter}={default_endpoint}"),
                },
            ));
        }
    }
    verdicts
}

fn refused(state: &StackState) -> Verdicts {
    let Some(hour) = state.last_hour.yes() else { return Vec::new() };
    let refused = destinations::ALL
        .iter()
        .filter(|row| hour.parts.get(row.name).is_some_and(|part| part.unauthorized > 0));
    refused
        .map(|row| {
            let advice = match row.name {
                "segment" => "relay key set segment",
                "webhook" => "relay tail --since 1h, which says the endpoint, then relay endpoints set FILE",
                _ => "relay key set vero",
            };
            (format!("{} refused the key in the last hour", row.name), advice.to_owned())
        })
        .collect()
}

fn paused(state: &StackState) -> Verdicts {
    let changed = state
        .stack
        .changed_at
        .map(|at| format!(" (the stack was last changed {} ago)", for_people(state.at.since(at))));
    let verdict = |name: &str| {
        (
            format!("{name} is paused{}", changed.as_deref().unwrap_or_default()),
            format!("relay resume {name}"),
        )
    };
    state.stack.paused().map(verdict).collect()
}

fn log_level(state: &StackState) -> Verdicts {
    when(state.stack.parameter("LogLevel") == "error", || {
        ("LogLevel is error".to_owned(), "relay set LogLevel=info".to_owned())
    })
}
