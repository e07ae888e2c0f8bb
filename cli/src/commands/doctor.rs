//! `relay doctor`: what is wrong, why it matters, and what mends it.

use std::process::ExitCode;

use serde_json::json;

use super::{Done, send};
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, DIM, GREEN, RED, YELLOW, styled};
use crate::findings::{Finding, Severity, checks, findings};
use crate::model::state::StackState;
use crate::model::story::{DestinationStory, State, Story};
use crate::options::Doctor;

/// Something is wrong.
const FOUND: u8 = 5;

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Doctor) -> Done {
    let state = console.wait("Looking at the stack", cloud.state()).await?;
    let found = findings(&state);
    let unknown = unknown(&state);
    let check = match options.send {
        true => Some(send::check(cloud, console, &state.stack).await),
        false => None,
    };
    let mut document = json!({"findings": found, "unknown": unknown, "checks": checks().count()});
    if let Some(Ok(stories)) = &check {
        document["check"] = json!(stories);
    }
    console.show(&document, || {
        found.iter().for_each(|finding| print(console, finding));
        for (what, why) in &unknown {
            console.say(styled(DIM, format!("not known here: {what} ({why})")));
        }
        if found.is_empty() {
            console.say(format!("{} {} checks, nothing is wrong", styled(GREEN, "ok"), checks().count()));
        }
    })?;
    let has_failed = |story: &Story| {
        let failed =
            |one: &DestinationStory| matches!(one.state, State::DeadLetter { .. } | State::Owed { .. });
        story.destinations.iter().any(failed)
    };
    let check_failed = match check {
        Some(stories) => stories?.iter().any(has_failed),
        None => false,
    };
    if check_failed {
        console.say("A destination did not accept the check: the lines above say which, and why.");
    }
    let is_well = found.is_empty() && !check_failed;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn print(console: Console, finding: &Finding) {
    let (style, word) = match finding.severity {
        Severity::Fault => (RED, "fault"),
        Severity::Warning => (YELLOW, "warning"),
    };
    console.say(format!("{} {} [{}]", styled(style, word), styled(BOLD, &finding.what), finding.code));
    console.say(format!("  {}", finding.why));
    console.say(format!("  → {}\n", styled(BOLD, &finding.mend)));
}

/// What could not be looked at, and why.
fn unknown(state: &StackState) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    let mut note =
        |what: &str, why: Option<&str>| unknown.extend(why.map(|why| (what.to_owned(), why.to_owned())));
    for (name, function) in &state.functions {
        note(&format!("the function {name}"), function.why_not());
    }
    for (name, role) in &state.roles {
        note(&format!("the role of {name}"), role.why_not());
    }
    for (name, queue) in &state.queues {
        note(name, queue.why_not());
    }
    for (name, secret) in &state.secrets {
        note(name, secret.why_not());
    }
    note("the event source mapping", state.event_source.why_not());
    note("the Function URL's settings", state.function_url.why_not());
    note("the dead letters", state.letters.why_not());
    note("the alarms", state.alarms.why_not());
    note("who hears of alarms", state.subscribers.why_not());
    note("the account's quota", state.account.why_not());
    note("the figures of the last hour", state.last_hour.why_not());
    note("the figures of the last day", state.last_day.why_not());
    note("webhooks in the log", state.unqueued.why_not());
    if let Some(archive) = &state.archive {
        note("rows under errors/", archive.misplaced_objects.why_not());
        for (name, stream) in &archive.streams {
            note(name, stream.why_not());
        }
    }
    let of_aws = state.last_hour.yes().filter(|hour| hour.from == "log" && !state.stack.is_local);
    note("errors, throttles and ages", of_aws.map(|_| "CloudWatch has no metrics of the stack's"));
    note("the KMS key", state.kms_key.as_ref().and_then(|key| key.why_not()));
    unknown
}
