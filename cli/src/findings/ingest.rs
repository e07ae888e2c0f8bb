//! Of the way in.

use super::Severity::{Fault, Warning};
use super::{Check, Verdicts, when};
use crate::model::state::StackState;
use crate::model::time::for_people;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "ingest_does_not_answer",
        severity: Fault,
        why: "Vero does not send again: webhooks that come now are lost.",
        look: health,
    },
    Check {
        code: "url_wants_signatures",
        severity: Fault,
        why: "Vero cannot sign its requests. All of them are refused and lost.",
        look: auth_type,
    },
    Check {
        code: "url_lacks_permission",
        severity: Fault,
        why: "Lambda answers 403 to everybody. Vero's webhooks are lost.",
        look: permissions,
    },
    Check {
        code: "ingest_may_not_run",
        severity: Fault,
        why: "A reserved concurrency of 0 makes Lambda refuse every request. Vero's webhooks are lost.",
        look: reserved,
    },
    Check {
        code: "ingest_throttled",
        severity: Fault,
        why: "Lambda answered 429 for want of executions. Those webhooks are lost.",
        look: throttled,
    },
    Check {
        code: "ingest_answers_5xx",
        severity: Fault,
        why: "Vero does not send again what is answered 5xx.",
        look: errors,
    },
    Check {
        code: "digest_is_none",
        severity: Fault,
        why: "What is not the SHA-256 of a token in 64 hexadecimal digits opens for no token.",
        look: digests,
    },
    Check {
        code: "digest_of_nothing",
        severity: Fault,
        why: "It is the digest of an empty text or of a line break: the shell variable with the token was empty when it was made.",
        look: empty_digests,
    },
    Check {
        code: "digests_alike",
        severity: Warning,
        why: "A key that stands in web pages for everybody to read must not open another way in.",
        look: same_digests,
    },
    Check {
        code: "rotation_unfinished",
        severity: Warning,
        why: "The older token still opens the stack, although it was to be replaced.",
        look: rotation,
    },
    Check {
        code: "token_rejected",
        severity: Fault,
        why: "If Vero sent these requests with an old token, its webhooks are lost.",
        look: unauthorized,
    },
    Check {
        code: "no_webhook_for_long",
        severity: Fault,
        why: "Either Vero does not send to this stack, or what it sends does not get to the worker.",
        look: quiet,
    },
    Check {
        code: "webhooks_in_log",
        severity: Fault,
        why: "SQS did not take these webhooks. They are in the log alone, which is deleted after LogRetentionDays.",
        look: in_log,
    },
    Check {
        code: "event_too_large",
        severity: Warning,
        why: "Of an event over 256 KiB only the first 100 kB are kept, as a dead letter.",
        look: truncated,
    },
];

/// The parameters with digests.
const DIGESTS: [&str; 4] = ["WebhookTokenSha256", "SegmentTokenSha256", "WriteKeySha256", "BrowserKeySha256"];

/// SHA-256 of nothing, and of a line break.
const OF_NOTHING: [&str; 2] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
];

fn digests_of<'s>(state: &'s StackState, parameter: &str) -> impl Iterator<Item = &'s str> {
    state.stack.parameter(parameter).split(',').filter(|digest| !digest.is_empty())
}

fn rotate(parameter: &str) -> String {
    let way = match parameter {
        "SegmentTokenSha256" => " segment",
        "WriteKeySha256" => " write-key",
        "BrowserKeySha256" => " browser-key",
        _ => "",
    };
    format!("relay token rotate{way}")
}

fn health(state: &StackState) -> Verdicts {
    let mend = || "relay tail --since 1h".to_owned();
    match state.health.yes() {
        Some(health) => {
            when(health.status != 200, || (format!("ingest answers {} to /health", health.status), mend()))
        }
        None => vec![(state.health.why_not().unwrap_or_default().to_owned(), mend())],
    }
}

fn auth_type(state: &StackState) -> Verdicts {
    let auth = state.function_url.yes().map(|url| url.auth_type.as_str());
    when(auth.is_some_and(|auth| auth != "NONE"), || {
        ("the Function URL wants signed requests".to_owned(), "relay repair".to_owned())
    })
}

fn permissions(state: &StackState) -> Verdicts {
    let Some(url) = state.function_url.yes() else { return Vec::new() };
    let lacking = ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"];
    let lacking: Vec<&str> =
        lacking.into_iter().filter(|action| !url.public_actions.iter().any(|own| own == action)).collect();
    when(!lacking.is_empty(), || {
        (
            format!("the Function URL lacks its permission {}", lacking.join(" and ")),
            "relay repair".to_owned(),
        )
    })
}

fn reserved(state: &StackState) -> Verdicts {
    let ingest = state.functions.get("ingest").and_then(|function| function.yes());
    when(ingest.is_some_and(|ingest| ingest.reserved == Some(0)), || {
        (
            "ingest has a reserved concurrency of 0".to_owned(),
            match state.stack.parameter("IngestReservedConcurrency") {
                "0" => "relay set IngestReservedConcurrency=none".to_owned(),
                _ => "relay repair".to_owned(),
            },
        )
    })
}

fn throttled(state: &StackState) -> Verdicts {
    let count = state.last_day.yes().map_or(0, |day| day.ingest_throttles);
    when(count > 0, || {
        (
            format!("Lambda refused {count} requests to ingest in the last day"),
            match state.stack.parameter("IngestReservedConcurrency") {
                "" | "none" => "docs/runbook.md#ingestthrottles".to_owned(),
                _ => "relay set IngestReservedConcurrency=none".to_owned(),
            },
        )
    })
}

fn errors(state: &StackState) -> Verdicts {
    let count = state.last_hour.yes().map_or(0, |hour| hour.ingest_5xx);
    when(count > 0, || {
        (
            format!("ingest answered {count} requests with 5xx in the last hour"),
            "relay tail --since 1h".to_owned(),
        )
    })
}

fn digests(state: &StackState) -> Verdicts {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let faulty = DIGESTS.iter().filter(|name| digests_of(state, name).any(|digest| !is_digest(digest)));
    faulty.map(|name| (format!("{name} holds what is no digest"), rotate(name))).collect()
}

fn empty_digests(state: &StackState) -> Verdicts {
    let is_of_nothing = |digest: &str| OF_NOTHING.contains(&digest.to_lowercase().as_str());
    let faulty = DIGESTS.iter().filter(|name| digests_of(state, name).any(is_of_nothing));
    faulty.map(|name| (format!("{name} is the digest of an empty token"), rotate(name))).collect()
}

fn same_digests(state: &StackState) -> Verdicts {
    let others = DIGESTS.iter().filter(|name| **name != "BrowserKeySha256");
    let shared = others.filter(|name| {
        digests_of(state, name).any(|digest| {
            digests_of(state, "BrowserKeySha256").any(|other| other.eq_ignore_ascii_case(digest))
        })
    });
    shared
        .map(|name| (format!("BrowserKeySha256 and {name} have a digest in common"), rotate(name)))
        .collect()
}

fn rotation(state: &StackState) -> Verdicts {
    let age = state.stack.changed_at.map(|at| state.at.since(at)).unwrap_or_default();
    let under_way = DIGESTS.iter().filter(|name| digests_of(state, name).count() > 1);
    let verdicts = under_way.map(|name| {
        let since = for_people(age);
        (format!("{name} has accepted more than one token for {since}"), format!("{} --finish", rotate(name)))
    });
    if age.as_secs() < 7 * 86_400 { Vec::new() } else { verdicts.collect() }
}

fn unauthorized(state: &StackState) -> Verdicts {
    let count = state.last_hour.yes().map_or(0, |hour| hour.unauthorized);
    // A few are scanners of the internet.
    when(count >= 10, || {
        (
            format!("{count} requests of the last hour had an unknown token, key or signature"),
            "relay token rotate (or give Vero the right URL: Settings, Project, Reporting Webhooks)"
                .to_owned(),
        )
    })
}

fn quiet(state: &StackState) -> Verdicts {
    let hours: u64 = state.stack.parameter("QuietHours").parse().unwrap_or(24);
    let age = state.stack.changed_at.map(|at| state.at.since(at)).unwrap_or_default();
    let received = state.last_day.yes().map(|day| day.received);
    let is_quiet = hours > 0 && received == Some(0) && age.as_secs() > 86_400;
    // A project that sends rarely says so by more QuietHours; the alarm looks further back.
    let is_alarm = state.alarms.yes().into_iter().flatten();
    let is_alarm = { is_alarm }.any(|alarm| alarm.name == "QuietAlarm" && alarm.state == "ALARM");
    when(is_quiet && (hours <= 24 || is_alarm), || {
        (
            format!("no new webhook came for {} hours", hours.max(24)),
            "relay doctor --send (then compare the URL in Vero: Settings, Project, Reporting Webhooks)"
                .to_owned(),
        )
    })
}

fn in_log(state: &StackState) -> Verdicts {
    let count = state.unqueued.yes().copied().unwrap_or(0);
    when(count > 0, || {
        let mend = if state.stack.has_archive() {
            "relay requeue --dry-run (replay does it by itself within two hours)"
        } else {
            "relay requeue"
        };
        (format!("{count} webhooks of the last day are in the log instead of the queue"), mend.to_owned())
    })
}

fn truncated(state: &StackState) -> Verdicts {
    let count = state.last_day.yes().map_or(0, |day| day.truncated);
    when(count > 0, || {
        (
            format!("{count} events of the last day were too large"),
            "relay letters list --reason too_large (then shorten them where they are made)".to_owned(),
        )
    })
}
