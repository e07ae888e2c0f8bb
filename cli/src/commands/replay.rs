//! `relay replay`: events of the archive, sent again; and what `relay forget` has in common with it.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Done, query};
use crate::cloud::{Cloud, Group};
use crate::console::{Console, DIM, styled};
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::time::At;
use crate::options::{Consent, Replay};

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Replay) -> Done {
    let stack = cloud.describe().await?;
    if options.stop {
        return stop(cloud, console, &stack, &options.consent).await;
    }
    let mut request = json!({"from": options.from, "to": options.to, "destinations": options.destinations});
    let lists = [
        ("types", &options.types),
        ("users", &options.users),
        ("sources", &options.sources),
        ("ids", &options.ids),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            request[name] = json!(list);
        }
    }
    if let Some(wanted) = &options.query {
        let sql = query::sql(cloud, &stack, wanted).await?;
        let found = console.wait("Athena runs the query", cloud.query(&stack, &sql)).await?;
        if found.rows.is_empty() {
            return Err(Error::NotFound("the query finds no event".to_owned()));
        }
        request["result"] = json!(found.result);
    }
    if options.new_ids {
        request["new_ids"] = json!(true);
    }
    if let Some(count) = options.max_per_second {
        request["max_per_second"] = json!(count);
    }
    let plan =
        Plan { request, question: "Send these events again?", job: "replay", dry_run: options.dry_run };
    plan.carry_out(cloud, console, &stack, &options.consent).await
}

/// A task of the function `replay`: a dry run, a question, and then the task.
pub(super) struct Plan {
    pub request: Value,
    pub question: &'static str,
    /// The task's name in the function's log.
    pub job: &'static str,
    pub dry_run: bool,
}

impl Plan {
    pub(super) async fn carry_out(
        self,
        cloud: &Cloud,
        console: Console,
        stack: &Stack,
        consent: &Consent,
    ) -> Done {
        let function = stack.output("ReplayFunction").ok_or_else(|| {
            Error::Refused("the stack has no archive, and so no function replay".to_owned())
        })?;
        let mut dry = self.request.clone();
        dry["dry_run"] = json!(true);
        let expected = console.wait("The dry run", cloud.invoke(function, &dry)).await?;
        console.say(styled(DIM, format!("dry run: {}", in_words(&expected))));
        if self.dry_run {
            console.show(&expected, || ())?;
            return Ok(ExitCode::SUCCESS);
        }
        if expected["matched"] == 0 {
            return Err(Error::NotFound("nothing in the archive meets these conditions".to_owned()));
        }
        console.ask(self.question, consent)?;
        let begun = At::now();
        let report = console.wait("The function is at it", cloud.invoke(function, &self.request)).await?;
        let report = if report["continues"] == true {
            console.say(format!(
                "It goes on by itself, and `relay` follows it; Ctrl-C does not stop it. So far: {}",
                in_words(&report)
            ));
            console.wait("The function goes on by itself", self.end(cloud, begun)).await?
        } else {
            report
        };
        console.show(&report, || console.say(in_words(&report)))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Waits until the function logs the task's end.
    async fn end(&self, cloud: &Cloud, begun: At) -> Result<Value, Error> {
        loop {
            let lines = cloud.log_lines(Group::Replay, begun, Some(("message", "done"))).await?;
            if let Some(line) = lines.iter().find(|line| line.fields["job"] == self.job) {
                return Ok(line.fields.clone());
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

/// The counts of a report.
fn in_words(report: &Value) -> String {
    let counts = report.as_object().into_iter().flatten().filter(|(_, value)| value.is_u64());
    let counts: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() { report.to_string() } else { counts.join(", ") }
}

/// Ends every task that goes on by itself. An invocation that runs puts its continuation on the queue at its end, so it
/// has to end first.
async fn stop(cloud: &Cloud, console: Console, stack: &Stack, consent: &Consent) -> Done {
    let output =
        |name: &str| stack.output(name).ok_or_else(|| Error::Refused("the stack has no archive".to_owned()));
    let (function, queue) = (output("ReplayFunction")?, output("ReplayQueueUrl")?);
    console
        .ask("End every replay and every forget that goes on by itself? This takes 16 minutes", consent)?;
    cloud.set_running(function, false).await?;
    let wait = if cloud.local.is_some() { Duration::from_secs(1) } else { Duration::from_secs(15 * 60) };
    console.wait("The invocation that runs comes to its end", tokio::time::sleep(wait)).await;
    cloud.purge(queue).await?;
    let wait = if cloud.local.is_some() { Duration::from_secs(1) } else { Duration::from_secs(60) };
    console.wait("SQS empties the queue", tokio::time::sleep(wait)).await;
    cloud.set_running(function, true).await?;
    console.show(&json!({"stopped": true}), || {
        console.say("Nothing goes on by itself any more, and the function may run again.")
    })?;
    Ok(ExitCode::SUCCESS)
}
