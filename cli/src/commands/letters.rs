//! `relay letters`: dead letters.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::Done;
use super::event::printable_json;
use crate::cloud::{Cloud, Look, Received};
use crate::console::{BOLD, Console, DIM, RED, styled, table};
use crate::error::Error;
use crate::model::letter::{Letter, NONE, bare_id, count};
use crate::model::state::Stack;
use crate::model::time::At;
use crate::options::{Letters, LettersDelete, LettersList, LettersRedrive, LettersShow, Selection};

/// As many as there may be.
const ALL: usize = usize::MAX;

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Letters) -> Done {
    let stack = cloud.describe().await?;
    match options {
        Letters::List(options) => list(cloud, console, &stack, options).await,
        Letters::Show(options) => show(cloud, console, &stack, options).await,
        Letters::Redrive(options) => redrive(cloud, console, &stack, options).await,
        Letters::Delete(options) => delete(cloud, console, &stack, options).await,
    }
}

fn output(stack: &Stack, name: &str) -> Result<String, Error> {
    let value = stack.output(name).map(str::to_owned);
    value.ok_or_else(|| Error::Refused(format!("the stack has no output {name}")))
}

async fn list(cloud: &Cloud, console: Console, stack: &Stack, options: &LettersList) -> Done {
    let url = output(stack, "DeadLetterQueueUrl")?;
    let look = console.wait("Reading dead letters", cloud.look_at_letters(&url, options.limit)).await?;
    let Look { letters, total, is_complete } = look;
    let looked_at = letters.len();
    let now = At::now();
    let letters: Vec<Letter> =
        letters.into_iter().filter(|letter| options.selection.takes(letter, now)).collect();
    let document =
        json!({"letters": letters, "counts": count(&letters), "looked_at": looked_at, "total": total});
    console.show(&document, || {
        if letters.is_empty() {
            return console.say(format!("no dead letters ({looked_at} of {total} looked at)"));
        }
        let rows = letters.iter().map(|letter| {
            vec![
                letter.name().to_owned(),
                letter.received_at.map(|at| at.to_string()).unwrap_or_default(),
                letter.kind.clone().unwrap_or_default(),
                letter.destination(),
                letter.reason.clone(),
                letter.status.map(|status| status.to_string()).unwrap_or_default(),
                letter.attempt.to_string(),
            ]
        });
        console.say(table(&["id", "received", "type", "destination", "reason", "status", "tries"], rows));
        console.say("");
        for row in count(&letters) {
            console.say(format!("{:>6}  {} to {}", row.count, styled(RED, &row.reason), row.destination));
        }
        console.say(styled(DIM, "docs/runbook.md#reasons says what each reason means, and what to do."));
        if !is_complete {
            console.say(styled(
                DIM,
                format!("{looked_at} of {total} were looked at: --limit, or others hold them."),
            ));
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn show(cloud: &Cloud, console: Console, stack: &Stack, options: &LettersShow) -> Done {
    let url = output(stack, "DeadLetterQueueUrl")?;
    let id = bare_id(&options.id);
    let look = console.wait("Reading dead letters", cloud.look_at_letters(&url, ALL)).await?;
    let (looked_at, total) = (look.letters.len(), look.total);
    let letters: Vec<Letter> =
        look.letters.into_iter().filter(|one| one.name() == id || one.message_id == id).collect();
    if letters.is_empty() {
        return Err(Error::NotFound(format!(
            "no dead letter is of {id}; {looked_at} of {total} were looked at"
        )));
    }
    let whole = |letter: &Letter| {
        let mut document = serde_json::to_value(letter).unwrap_or_default();
        if options.show_addresses {
            document["body"] = letter.body.clone();
        }
        document
    };
    let documents: Vec<serde_json::Value> = letters.iter().map(whole).collect();
    console.show(&documents, || {
        for document in &documents {
            console.say(printable_json(document));
        }
        if !options.show_addresses {
            console.say(styled(
                DIM,
                "--show-addresses also shows the event, and what the destination said of it.",
            ));
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A selection that is nothing selects nothing: who means all says so.
fn needs_condition(selection: &Selection, all: bool) -> Result<(), Error> {
    if selection.is_empty() && !all {
        return Err(Error::Refused(
            "say which: --all, or --id, --reason, --destination, --older-than, --newer-than".to_owned(),
        ));
    }
    Ok(())
}

async fn redrive(cloud: &Cloud, console: Console, stack: &Stack, options: &LettersRedrive) -> Done {
    needs_condition(&options.selection, options.all)?;
    let url = output(stack, "DeadLetterQueueUrl")?;
    if options.dry_run {
        let now = At::now();
        let letters = console.wait("Reading dead letters", cloud.look_at_letters(&url, ALL)).await?;
        let letters: Vec<Letter> =
            letters.letters.into_iter().filter(|one| options.selection.takes(one, now)).collect();
        console.show(&json!({"would_redrive": letters.len(), "counts": count(&letters)}), || {
            console.say(format!("{} dead letters would be redriven", letters.len()));
            for row in count(&letters) {
                console.say(format!("{:>6}  {} to {}", row.count, row.reason, row.destination));
            }
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.all
        && let Some(moved) = move_all(cloud, console, stack, &url).await?
    {
        console.show(&json!({"redriven": moved}), || {
            console.say(format!("{moved} dead letters are on the queue again"))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let work = put_back(cloud, stack, &options.selection);
    let Moved { moved, left, unseen } = console.wait("Redriving", work).await?;
    console.show(&json!({"redriven": moved, "left": left, "unseen": unseen}), || {
        console.say(format!("{} dead letters are on the queue again", styled(BOLD, moved.to_string())));
        if unseen > 0 {
            console.say(format!("{unseen} others were not met, by SQS's count: run it again in a minute"));
        }
        if left > 0 {
            console.say(format!("{left} stay where they are: SQS did not take them, or they are a replay and there is no archive"));
        }
    })?;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a redrive.
pub(super) struct Moved {
    pub moved: usize,
    pub left: usize,
    /// By SQS's own count.
    pub unseen: usize,
}

/// Puts letters back on the queues that they came from: each is sent before it is deleted.
pub(super) async fn put_back(cloud: &Cloud, stack: &Stack, selection: &Selection) -> Result<Moved, Error> {
    let url = output(stack, "DeadLetterQueueUrl")?;
    let live = output(stack, "QueueUrl")?;
    let replay = stack.output("ReplayQueueUrl");
    let (now, mut moved, mut left) = (At::now(), 0, 0);
    let work = cloud.go_through_letters(&url, async |batch| {
        let (wanted, mut others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|one| selection.takes(&one.letter, now));
        let (replays, events): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|one: &Received| one.letter.is_replay);
        for (to, letters) in [(Some(live.as_str()), events), (replay, replays)] {
            let count = letters.len();
            let refused = match to {
                Some(to) if count > 0 => cloud.move_letters(&url, to, letters).await?,
                // A stack that has no archive any more has nothing that could go on with a replay.
                _ => letters,
            };
            moved += count - refused.len();
            left += refused.len();
            others.extend(refused);
        }
        Ok(others)
    });
    let unseen = work.await?;
    Ok(Moved { moved, left, unseen })
}

/// Has SQS move all letters; `None` if it cannot do it, or some must go elsewhere.
async fn move_all(cloud: &Cloud, console: Console, stack: &Stack, url: &str) -> Result<Option<u64>, Error> {
    // A few are moved as quickly one by one; and a replay goes back to a queue of its own.
    const FEW: usize = 100;
    let look = console.wait("Reading dead letters", cloud.look_at_letters(url, ALL)).await?;
    if look.total < FEW || !look.is_complete || look.letters.iter().any(|letter| letter.is_replay) {
        return Ok(None);
    }
    // SQS moves no letter that is hidden.
    console.wait("Waiting until the letters can be moved", tokio::time::sleep(Duration::from_secs(11))).await;
    let (from, to) = (output(stack, "DeadLetterQueueArn")?, output(stack, "QueueArn")?);
    let begun = At::now().before(Duration::from_secs(60));
    if cloud.start_move(&from, &to).await?.is_none() {
        return Ok(None);
    }
    let wait = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let progress = cloud.move_progress(&from).await?;
            // One that ended before is not the one.
            if progress.started.is_none_or(|started| started < begun) {
                if At::now().since(begun) > Duration::from_secs(180) {
                    return Err(Error::Refused(
                        "SQS does not tell of the move; `relay status` counts the letters".to_owned(),
                    ));
                }
                continue;
            }
            match progress.status.as_str() {
                "COMPLETED" => return Ok(Some(progress.moved)),
                "FAILED" | "CANCELLED" => {
                    return Err(Error::Refused(format!(
                        "SQS has moved {} letters and then stopped ({}); the others stay where they are",
                        progress.moved,
                        progress.failure.as_deref().unwrap_or(&progress.status)
                    )));
                }
                _ => (),
            }
        }
    };
    console.wait("SQS moves the letters", wait).await
}

async fn delete(cloud: &Cloud, console: Console, stack: &Stack, options: &LettersDelete) -> Done {
    needs_condition(&options.selection, options.all)?;
    let url = output(stack, "DeadLetterQueueUrl")?;
    let now = At::now();
    let letters = console.wait("Reading dead letters", cloud.look_at_letters(&url, ALL)).await?;
    let letters: Vec<Letter> =
        letters.letters.into_iter().filter(|one| options.selection.takes(one, now)).collect();
    if letters.is_empty() {
        return Err(Error::NotFound("no dead letter meets these conditions".to_owned()));
    }
    for row in count(&letters) {
        console.say(format!("{:>6}  {} to {}", row.count, row.reason, row.destination));
    }
    console.ask(&format!("Delete {} dead letters for good?", letters.len()), &options.consent)?;
    // Only those that were shown.
    let shown: std::collections::HashSet<&str> = letters.iter().map(|one| one.message_id.as_str()).collect();
    let mut deleted = 0;
    let work = cloud.go_through_letters(&url, async |batch| {
        let (wanted, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|one| shown.contains(one.letter.message_id.as_str()));
        cloud.delete_letters(&url, &wanted).await?;
        deleted += wanted.len();
        Ok(others)
    });
    console.wait("Deleting", work).await?;
    console
        .show(&json!({"deleted": deleted}), || console.say(format!("{deleted} dead letters are deleted")))?;
    Ok(ExitCode::SUCCESS)
}

impl Selection {
    /// Whether there is any condition.
    pub fn is_empty(&self) -> bool {
        let Selection { ids, reason, destination, older_than, newer_than } = self;
        ids.is_empty()
            && reason.is_none()
            && destination.is_none()
            && older_than.is_none()
            && newer_than.is_none()
    }

    /// Whether a letter meets all conditions. A letter without a time of receipt is neither old nor new.
    pub fn takes(&self, letter: &Letter, now: At) -> bool {
        let age = letter.received_at.map(|at| now.since(at));
        (self.ids.is_empty() || self.ids.iter().any(|id| bare_id(id) == letter.name()))
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self.destination.as_ref().is_none_or(|name| {
                letter.destinations.contains(name) || (name == NONE && letter.destinations.is_empty())
            })
            && self.older_than.is_none_or(|span| age.is_some_and(|age| age > span.0))
            && self.newer_than.is_none_or(|span| age.is_some_and(|age| age <= span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"e1","received_at":"2026-11-21T05:00:00.000Z","destinations":["vero_track"],"reason":"timeout"}"#;

    #[test]
    fn a_selection_takes_what_meets_all_conditions() {
        let letter = Letter::read("m1", BODY, None);
        let now = At(relay_core::timestamp::Timestamp::parse("2026-11-21T07:00:00Z").unwrap());
        let with = |change: fn(&mut Selection)| {
            let mut selection = Selection::default();
            change(&mut selection);
            selection.takes(&letter, now)
        };
        assert!(with(|_| ()));
        assert!(with(|s| s.ids = vec!["e0".into(), " vr-e1-tags".into()]));
        assert!(!with(|s| s.ids = vec!["m1".into()]));
        assert!(with(|s| s.older_than = "1h".parse().ok()) && !with(|s| s.older_than = "3h".parse().ok()));
        assert!(with(|s| s.newer_than = "3h".parse().ok()) && !with(|s| s.newer_than = "1h".parse().ok()));
        assert!(!with(|s| {
            s.reason = Some("timeout".into());
            s.destination = Some("segment".into());
        }));
    }
}
