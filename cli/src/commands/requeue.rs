//! `relay requeue`: webhooks that SQS did not take, and that only the log has.

use std::collections::BTreeMap;
use std::process::ExitCode;

use relay_core::envelope::Envelope;
use serde_json::json;

use super::Done;
use super::replay::Plan;
use crate::cloud::{Cloud, Group};
use crate::console::{BOLD, Console, styled};
use crate::error::Error;
use crate::model::log_line::LogLine;
use crate::model::time::At;
use crate::options::Requeue;

/// CloudWatch may take so long until it shows a line.
const LATE: std::time::Duration = std::time::Duration::from_secs(15 * 60);
const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Requeue) -> Done {
    let stack = cloud.describe().await?;
    let since = At::now().before(options.since.0);
    if stack.has_archive() {
        // The function knows what is in the archive, and marks what it has sent. Of the last hour the archive does not
        // know yet what SQS took without saying so.
        let to = At::now().before(HOUR);
        if since >= to {
            return Err(Error::Refused(
                "with an archive the last hour is left out; give a longer --since".to_owned(),
            ));
        }
        let plan = Plan {
            request: json!({"source": "log", "from": since, "to": to}),
            question: "Queue these webhooks?",
            job: "requeue",
            dry_run: options.dry_run,
        };
        return plan.carry_out(cloud, console, &stack, &options.consent).await;
    }
    // What was queued from the log before is not queued again. A line may come to the log late: what is younger than
    // `until` is left for the next time, so that no line is passed over.
    let until = At::now().before(LATE);
    if since >= until {
        return Err(Error::Refused(
            "the last quarter of an hour is left out; give a longer --since".to_owned(),
        ));
    }
    let requeued = cloud.requeued(&stack).await?;
    let look = cloud.log_lines(Group::Ingest, since, Some(("message", "unqueued_webhook")));
    let mut lines = console.wait("Reading the log", look).await?;
    lines.retain(|line| !requeued.has(line.at));
    let all = lines.len();
    lines.retain(|line| line.at < until);
    if lines.len() < all {
        console.say("Lines of the last quarter of an hour are left out: run it again then.");
    }
    let (envelopes, torn) = put_together(&lines);
    console.say(format!(
        "{} webhooks are in the log instead of the queue",
        styled(BOLD, envelopes.len().to_string())
    ));
    if torn > 0 {
        console.say(format!(
            "{torn} more cannot be put together: a line of theirs is missing or is no envelope"
        ));
    }
    if options.dry_run || envelopes.is_empty() {
        console.show(&json!({"found": envelopes.len(), "torn": torn, "queued": 0}), || ())?;
        return Ok(ExitCode::SUCCESS);
    }
    console.ask("Queue them?", &options.consent)?;
    let url = stack
        .output("QueueUrl")
        .ok_or_else(|| Error::Refused("the stack has no output QueueUrl".to_owned()))?;
    let mut queued = 0;
    for (id, envelope) in &envelopes {
        cloud.enqueue(url, envelope).await.map_err(|error| {
            Error::Refused(format!(
                "{queued} of {} are queued; {id} and those after it are not: {error}. If you run it again, the first {queued} go twice",
                envelopes.len()
            ))
        })?;
        queued += 1;
        console.say(id);
    }
    cloud.note_requeued(&stack, &requeued.with(since, until)).await?;
    console.show(&json!({"found": envelopes.len(), "torn": torn, "queued": queued}), || {
        console.say(format!("{queued} webhooks are on the queue, with the ids that they have"));
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The envelopes of which the log has all lines, by id; and how many others there are.
fn put_together(lines: &[LogLine]) -> (BTreeMap<String, String>, usize) {
    let mut parts: BTreeMap<&str, BTreeMap<u64, &LogLine>> = BTreeMap::new();
    for line in lines {
        if let (Some(id), Some(part)) = (&line.id, line.fields["part"].as_u64()) {
            parts.entry(id).or_default().insert(part, line);
        }
    }
    let all = parts.len();
    let whole = parts.into_iter().filter_map(|(id, parts)| {
        let expected = parts.values().next()?.fields["parts"].as_u64()?;
        let text: String = parts.values().filter_map(|line| line.fields["envelope"].as_str()).collect();
        let is_whole = parts.len() as u64 == expected && Envelope::parse(&text).is_ok();
        is_whole.then(|| (id.to_owned(), text))
    });
    let whole: BTreeMap<String, String> = whole.collect();
    let torn = all - whole.len();
    (whole, torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_put_together_of_all_its_lines() {
        let envelope = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"sent"}}"#;
        let (head, tail) = envelope.split_at(40);
        let line = |id: &str, part: u64, text: &str| {
            let fields = json!({"level": "ERROR", "message": "unqueued_webhook", "id": id, "part": part, "parts": 2, "envelope": text});
            LogLine::read("ingest", At::from_ms(0), &fields.to_string()).unwrap()
        };
        let lines = [line("e1", 2, tail), line("e1", 1, head), line("e1", 1, head), line("e2", 1, head)];
        let (whole, torn) = put_together(&lines);
        assert_eq!((whole.len(), whole["e1"].as_str(), torn), (1, envelope, 1));
    }
}
