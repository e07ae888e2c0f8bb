//! `cargo local --replay`: the archive as it is meant to be used. What was posted is queried, one destination loses all
//! that it received, and a replay makes it whole again.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::journal::Destination;
use crate::samples::{self, Posted};
use crate::stack::Stack;

const DEADLINE_AFTER: Duration = Duration::from_secs(30);
const LOSES: Destination = Destination::Segment;

/// Plays it with samples that have arrived, and says what was not as it should be.
pub async fn replay(stack: &Stack, posted: &[Posted]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, found: usize, expected: usize| {
        if found != expected {
            wrong.push(format!("{what}: {found}, not {expected}"));
        }
    };
    let all = posted.len();

    println!("\nThe archive, by its query `funnel` at Athena:\n");
    expect("events in the archive", stack.archived(all, DEADLINE_AFTER).await?, all);
    println!("{}", stack.query(&stack.named_query("funnel").await?).await?);
    let days =
        "select min(day), cast(cast(cast(max(day) as date) + interval '1' day as date) as varchar) from data";
    let days = stack.query(days).await?.rows.into_iter().flatten().flatten().collect::<Vec<_>>();
    let [from, to] = days.as_slice() else { anyhow::bail!("the archive has no days: {days:?}") };

    stack.journal.wipe(LOSES);
    println!("\n{LOSES} loses all that it received.");
    let lost = samples::missing(stack, posted).len();
    expect("samples that it lacks then", lost, all);

    let order = json!({"from": from, "to": to, "destinations": [LOSES.to_string()]});
    let mut rehearsed = order.clone();
    rehearsed["dry_run"] = true.into();
    let report = stack.replay(&rehearsed).await?;
    println!("\nreplay {rehearsed}\n    -> {report}");
    expect("events that a dry run finds", count(&report, "matched")?, all);
    expect("events that a dry run sends", count(&report, "sent")?, 0);
    expect("samples that it lacks after a dry run", samples::missing(stack, posted).len(), lost);

    let report = stack.replay(&order).await?;
    println!("\nreplay {order}\n    -> {report}\n");
    expect("events that replay sends", count(&report, "sent")?, all);
    wrong.extend(samples::check(stack, posted).await?);
    if wrong.is_empty() {
        println!("\n{LOSES} is whole again, and nothing went anywhere else.");
    }
    Ok(wrong)
}

fn count(report: &Value, field: &str) -> Result<usize> {
    let count =
        report[field].as_u64().with_context(|| format!("replay's report has no count {field}: {report}"))?;
    Ok(usize::try_from(count)?)
}
