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
    if let Some(progress) = &options.progress {
        let progress: Value = serde_json::from_str(progress)
            .map_err(|error| Error::Refused(format!("--progress is no JSON: {error}")))?;
        request = json!({"request": request, "progress": progress});
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
        match dry.get_mut("request") {
            Some(request) => request["dry_run"] = json!(true),
            None => dry["dry_run"] = json!(true),
        }
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
        let report = console.wait("The function is at it", cloud.invoke(function, &self.request)).await;
        let report = report.map_err(with_progress)?;
        let report = if report["continues"] == true {
            console.say(format!(
                "It goes on by itself, and `relay` follows it; Ctrl-C does not stop it. So far: {}",
                in_words(&report)
            ));
            self.end(cloud, console, At::now()).await?
        } else {
            report
        };
        console.show(&report, || console.say(in_words(&report)))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Follows the task by what the function logs of it, up to its end.
    async fn end(&self, cloud: &Cloud, console: Console, mut since: At) -> Result<Value, Error> {
        let deadline = At::now().ms() + FOLLOW_TIMEOUT.as_millis() as i64;
        let mut failures = 0;
        while At::now().ms() < deadline {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let lines = match cloud.log_lines(Group::Replay, since, Some(("job", self.job))).await {
                Ok(lines) => lines,
                // The task goes on whether or not somebody can look.
                Err(error) if failures > 10 => return Err(error),
                Err(_) => {
                    failures += 1;
                    continue;
                }
            };
            failures = 0;
            for line in lines.iter().filter(|line| line.fields["dry_run"] != true) {
                since = At::from_ms(line.at.ms() + 1);
                if line.message == "done" {
                    return Ok(line.fields.clone());
                }
                console.say(styled(DIM, format!("{}: {}", line.message, in_words(&line.fields))));
            }
        }
        Err(Error::Refused(
            "the log has not told of its end: LogLevel may be above info, or it has stopped; `relay letters list` and `relay tail --function replay --since 4h` tell more"
                .to_owned(),
        ))
    }
}

/// The error of a task that stopped on its way, with the option that goes on from there.
fn with_progress(error: Error) -> Error {
    let text = error.to_string();
    let progress = text.split_once("\"progress\":").and_then(|(_, rest)| {
        let progress = rest.strip_suffix('}')?;
        serde_json::from_str::<Value>(progress).ok()
    });
    match progress {
        Some(progress) => {
            Error::Refused(format!("{text}. With relay: the same command with --progress '{progress}'"))
        }
        None => error,
    }
}

/// A task that S3 or SQS stop goes on by itself for some four hours.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);

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
    let waits = if cloud.local.is_some() { [1, 1] } else { [15 * 60, 60] };
    let purged = async {
        let invocation = tokio::time::sleep(Duration::from_secs(waits[0]));
        console.wait("The invocation that runs comes to its end", invocation).await;
        cloud.purge(queue).await?;
        console.wait("SQS empties the queue", tokio::time::sleep(Duration::from_secs(waits[1]))).await;
        Ok::<_, Error>(())
    }
    .await;
    // Also after an error: the hourly run is off as long.
    cloud.set_running(function, true).await.map_err(|error| {
        Error::Refused(format!(
            "the function replay may not run, and `relay repair` lets it run again: {error}"
        ))
    })?;
    purged?;
    console.show(&json!({"stopped": true}), || {
        console.say("Nothing goes on by itself any more, and the function may run again.")
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_stopped_says_how_to_go_on() {
        let message = r#"SQS did not take it. Everything before this is done. To go on from here, invoke the function with {"request":<the same event>,"progress":{"after":{"day":"2026-11-20"}}}"#;
        let text = with_progress(Error::Refused(message.to_owned())).to_string();
        assert!(text.ends_with(r#"--progress '{"after":{"day":"2026-11-20"}}'"#), "{text}");
        assert_eq!(with_progress(Error::Refused("it failed".to_owned())).to_string(), "it failed");
    }
}
