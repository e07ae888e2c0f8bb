//! `relay event`: the story of an event.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::Done;
use crate::cloud::{Cloud, Group, Table};
use crate::console::{BOLD, Console, DIM, GREEN, RED, YELLOW, printable, styled};
use crate::error::Error;
use crate::model::evidence::{Delivery, Evidence};
use crate::model::known::Known;
use crate::model::letter::{Letter, bare_id, is_plain};
use crate::model::state::Stack;
use crate::model::story::{State, Story, tell};
use crate::model::time::At;
use crate::options::Event;

/// So many letters are looked at.
const LETTERS: usize = 2_000;
/// If the id does not say when the event was received, its log lines are looked for so far back.
const LOOK_BACK: Duration = Duration::from_secs(2 * 86_400);

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Event) -> Done {
    let id = bare_id(&options.id);
    if !is_plain(id) {
        return Err(Error::Refused(format!(
            "`{}` is no event's id: an id has 1 to 64 characters of [A-Za-z0-9_.-]",
            printable(id)
        )));
    }
    let stack = cloud.describe().await?;
    let evidence = console.wait("Looking for the event", gather(cloud, &stack, id, true)).await;
    let story = tell(&evidence, &stack, At::now(), options.show_addresses);
    let is_found = story.source.is_some()
        || evidence.letters.yes().is_some_and(|letters| !letters.is_empty())
        || story.destinations.iter().any(|one| !one.attempts.is_empty());
    console.show(&story, || print(console, &story))?;
    if is_found {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::NotFound(format!("nothing is known of an event {id}; {}", where_to_look(&stack))))
}

fn where_to_look(stack: &Stack) -> &'static str {
    if stack.has_archive() {
        "if it is younger than a quarter of an hour, ask again then; otherwise it did not come in"
    } else {
        "without an archive an event that went well leaves no trace"
    }
}

/// Everything that can be known of an event; of dead letters only if they are to be looked at, which hides them.
pub(super) async fn gather(cloud: &Cloud, stack: &Stack, id: &str, with_letters: bool) -> Evidence {
    let since = At::of_id(id).map_or(At::now().before(LOOK_BACK), |at| at.before(Duration::from_secs(60)));
    let (row, deliveries, worker, ingest, letters, blueprint) = tokio::join!(
        row(cloud, stack, id),
        deliveries(cloud, stack, id),
        cloud.log_lines(Group::Worker, since, Some(("id", id))),
        cloud.log_lines(Group::Ingest, since, Some(("id", id))),
        async {
            if !with_letters {
                return Err(Error::Refused("not looked at yet".to_owned()));
            }
            let url = stack.output("DeadLetterQueueUrl").unwrap_or_default();
            cloud.look_at_letters(url, LETTERS).await
        },
        cloud.blueprint(stack),
    );
    let letters = letters.and_then(|look| {
        let is_of_event = |letter: &Letter| letter.name() == id || letter.message_id == id;
        let (looked_at, total) = (look.letters.len(), look.total);
        let own: Vec<Letter> = look.letters.into_iter().filter(is_of_event).collect();
        if own.is_empty() && !look.is_complete {
            return Err(Error::Refused(format!("only {looked_at} of {total} were looked at")));
        }
        Ok(own)
    });
    let lines = worker.and_then(|worker| Ok(worker.into_iter().chain(ingest?).collect::<Vec<_>>()));
    // A letter's body is an envelope, too; and a webhook in the log has its parts.
    let of_row = row.as_ref().ok().and_then(Clone::clone);
    let of_letter =
        || letters.as_ref().ok().and_then(|all| all.first()).map(|letter| letter.body.to_string());
    let in_log = || {
        let parts = lines.as_ref().ok()?.iter().filter(|line| line.message == "unqueued_webhook");
        let text: String = parts.filter_map(|line| line.fields["envelope"].as_str()).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    Evidence {
        id: id.to_owned(),
        envelope: of_row.or_else(of_letter).or_else(in_log),
        archived: row.map(|row| row.is_some()).into(),
        deliveries: deliveries.into(),
        lines: lines.into(),
        letters: letters.into(),
        queued: Known::No { unknown: "nobody can look into a queue".to_owned() },
        blueprint: blueprint.unwrap_or_default(),
    }
}

/// The days in which rows of an event can be: from its receipt on.
fn days(id: &str) -> String {
    At::of_id(id).map_or(String::new(), |at| format!("day >= '{}' and ", &at.to_string()[..10]))
}

async fn row(cloud: &Cloud, stack: &Stack, id: &str) -> Result<Option<String>, Error> {
    let sql = format!(
        "select received_at, source, place, through_segment, payload from data where {}id = '{id}'",
        days(id)
    );
    let table = cloud.query(stack, &sql).await?;
    Ok(table.rows.first().and_then(|row| envelope_of(&table, row, id)))
}

/// The envelope that a row of the archive keeps.
pub(super) fn envelope_of(table: &Table, row: &[Option<String>], id: &str) -> Option<String> {
    let cell = |name: &str| table.cell(row, name).unwrap_or_default();
    let payload: Box<serde_json::value::RawValue> = serde_json::from_str(cell("payload")).ok()?;
    let envelope = json!({
        "version": 1, "id": id, "source": cell("source"), "received_at": cell("received_at"),
        "place": cell("place").parse().unwrap_or(0), "through_segment": cell("through_segment") == "true",
    });
    // The payload to the letter.
    let envelope = envelope.to_string();
    let envelope = envelope.trim_end_matches('}');
    Some(format!("{envelope},\"payload\":{}}}", payload.get()))
}

async fn deliveries(cloud: &Cloud, stack: &Stack, id: &str) -> Result<Vec<Delivery>, Error> {
    let sql = format!(
        "select destination, outcome, reason, status, attempt, \"at\" from deliveries where {}id = '{id}' order by \"at\"",
        days(id)
    );
    let table = cloud.query(stack, &sql).await?;
    Ok(table.rows.iter().filter_map(|row| delivery_of(&table, row)).collect())
}

/// A row of the delivery log.
pub(super) fn delivery_of(table: &Table, row: &[Option<String>]) -> Option<Delivery> {
    let cell = |name: &str| table.cell(row, name);
    Some(Delivery {
        part: cell("destination")?.to_owned(),
        outcome: cell("outcome")?.to_owned(),
        reason: cell("reason").map(str::to_owned),
        status: cell("status").and_then(|status| status.parse().ok()),
        attempt: cell("attempt").and_then(|attempt| attempt.parse().ok()),
        at: serde_json::from_value(cell("at")?.into()).ok()?,
    })
}

pub(super) fn print(console: Console, story: &Story) {
    let kind = story.kind.as_deref().unwrap_or("event");
    let source = story.source.map(|source| format!(" of {source}")).unwrap_or_default();
    console.say(styled(BOLD, format!("{kind}{source}, {}", story.id)));
    if let Some(at) = story.received_at {
        console.say(format!("received     {at}"));
    }
    let now = At::now();
    for one in &story.destinations {
        let style = match one.state {
            State::Accepted { .. } => GREEN,
            State::DeadLetter { .. } | State::WasDeadLetter { .. } => RED,
            State::Owed { .. } | State::Paused => YELLOW,
            _ => DIM,
        };
        console.say(format!("{:12} {}", one.name, styled(style, one.state.text(now))));
        for name in &one.mapped_to {
            console.say(format!("             as {}", printable(name)));
        }
        for attempt in &one.attempts {
            let number = attempt.attempt.map(|number| format!("try {number}: ")).unwrap_or_default();
            let status = attempt.status.map(|status| format!(" ({status})")).unwrap_or_default();
            let held_back = attempt.held_back_by();
            let held_back = held_back.map(|by| format!(", held back by {by}; the last failure: "));
            let before = held_back.as_deref().unwrap_or(", ");
            let reason = attempt.reason.as_deref().map(|reason| format!("{before}{reason}"));
            let reason = reason.unwrap_or_default();
            console.say(styled(
                DIM,
                format!("             {} {number}{}{reason}{status}", attempt.at, attempt.outcome),
            ));
        }
        for request in &one.requests {
            console.say(printable_json(request));
        }
    }
    if let Some(envelope) = &story.envelope {
        console.say(printable_json(envelope));
    }
    for unknown in &story.unknown {
        console.say(styled(DIM, format!("not known: {unknown}")));
    }
}

/// JSON of several lines: its line breaks are ours, and what it quotes has none.
pub(super) fn printable_json(value: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Whether nothing more will happen by itself. The archive may take a quarter of an hour.
pub(super) fn is_settled(story: &Story) -> bool {
    !story.destinations.is_empty()
        && story.destinations.iter().all(|one| one.state.is_final() || one.name == "archive")
}

/// What is known without an archive is not enough to wait for.
pub(super) fn has_proof(evidence: &Evidence) -> bool {
    matches!(evidence.deliveries, Known::Yes(_))
}
