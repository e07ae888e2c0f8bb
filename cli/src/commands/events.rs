//! `relay events`: the events of a user, of a type or with a reason.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::Done;
use crate::cloud::{Cloud, Group};
use crate::console::{Console, DIM, styled, table};
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::time::At;
use crate::options::Events;

/// An event, and what is known of it at each destination.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    received_at: Option<At>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// By destination: `accepted`, or `dead timeout`.
    outcomes: BTreeMap<String, String>,
}

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Events) -> Done {
    let stack = cloud.describe().await?;
    let look = async {
        if !stack.has_archive() {
            return of_letters_and_log(cloud, &stack, options).await;
        }
        // What failed a moment ago is not in the archive yet.
        let (archived, fresh) =
            tokio::try_join!(of_archive(cloud, &stack, options), of_letters_and_log(cloud, &stack, options))?;
        Ok(merged(archived, fresh, options.limit))
    };
    let rows = console.wait("Looking for events", look).await?;
    console.show(&rows, || {
        let lines = rows.iter().map(|row| {
            let outcomes: Vec<String> = row.outcomes.iter().map(|(name, outcome)| format!("{name}: {outcome}")).collect();
            vec![
                row.id.clone(),
                row.received_at.map(|at| at.to_string()).unwrap_or_default(),
                row.kind.clone().unwrap_or_default(),
                outcomes.join(", "),
            ]
        });
        console.say(table(&["id", "received", "type", "outcomes"], lines));
        let note = if stack.has_archive() {
            "Events of the last quarter of an hour may still be missing here."
        } else {
            "Without an archive these are only events that failed: dead letters, and what the log has of others."
        };
        console.say(styled(DIM, note));
    })?;
    if rows.is_empty() {
        Err(Error::NotFound("no event meets these conditions".to_owned()))
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

/// Rows of the archive, with what letters and logs say beside it.
fn merged(mut rows: Vec<Row>, others: Vec<Row>, limit: usize) -> Vec<Row> {
    for other in others {
        match rows.iter_mut().find(|row| row.id == other.id) {
            Some(row) => {
                for (destination, outcome) in other.outcomes {
                    row.outcomes.entry(destination).or_insert(outcome);
                }
            }
            None => rows.push(other),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.received_at));
    rows.truncate(limit);
    rows
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn of_archive(cloud: &Cloud, stack: &Stack, options: &Events) -> Result<Vec<Row>, Error> {
    let since = At::now().before(options.since.0).to_string();
    let mut conditions =
        vec![format!("data.day >= '{}'", &since[..10]), format!("data.received_at >= '{since}'")];
    let who: Vec<String> = [
        options.user.as_ref().map(|user| format!("data.user_id = {}", quoted(user))),
        options.email.as_ref().map(|email| format!("lower(data.email) = {}", quoted(&email.to_lowercase()))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !who.is_empty() {
        conditions.push(format!("({})", who.join(" or ")));
    }
    conditions.extend(options.kind.as_ref().map(|kind| format!("data.type = {}", quoted(kind))));
    conditions.extend(options.reason.as_ref().map(|reason| {
        format!(
            "data.id in (select id from deliveries where day >= '{}' and reason = {})",
            &since[..10],
            quoted(reason)
        )
    }));
    let sql = format!(
        "with wanted as (select distinct id, received_at, type from data where {} order by received_at desc limit {})
         select wanted.id, wanted.received_at, wanted.type, destination, outcome, reason, \"at\"
         from wanted left join deliveries on deliveries.id = wanted.id and deliveries.day >= '{}'
         order by wanted.received_at desc, wanted.id, \"at\"",
        conditions.join(" and "),
        options.limit.min(10_000),
        &since[..10],
    );
    let found = cloud.query(stack, &sql).await?;
    let mut rows: Vec<Row> = Vec::new();
    for line in &found.rows {
        let cell = |name: &str| found.cell(line, name).map(str::to_owned);
        let Some(id) = cell("id") else { continue };
        if rows.last().is_none_or(|row| row.id != id) {
            let received_at = cell("received_at").and_then(|at| serde_json::from_value(at.into()).ok());
            rows.push(Row { id, received_at, kind: cell("type"), outcomes: BTreeMap::new() });
        }
        if let (Some(row), Some(destination), Some(outcome)) =
            (rows.last_mut(), cell("destination"), cell("outcome"))
        {
            let reason = cell("reason").map(|reason| format!(" {reason}")).unwrap_or_default();
            row.outcomes.insert(destination, format!("{outcome}{reason}"));
        }
    }
    Ok(rows)
}

async fn of_letters_and_log(cloud: &Cloud, stack: &Stack, options: &Events) -> Result<Vec<Row>, Error> {
    let since = At::now().before(options.since.0);
    let url = stack.output("DeadLetterQueueUrl").unwrap_or_default();
    let (letters, lines) =
        tokio::try_join!(cloud.look_at_letters(url, 10_000), cloud.log_lines(Group::Worker, since, None),)?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let is_of_user = |user: &serde_json::Value| {
        let id = user["id"].as_str().map(str::to_owned).unwrap_or_else(|| user["id"].to_string());
        options.user.as_ref().is_some_and(|wanted| *wanted == id)
            || options.email.as_ref().is_some_and(|wanted| {
                user["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(wanted))
            })
    };
    let asks_for_user = options.user.is_some() || options.email.is_some();
    for letter in letters.letters {
        let payload = &letter.body["payload"];
        let user = if payload["user"].is_object() {
            payload["user"].clone()
        } else {
            serde_json::json!({"id": payload["userId"], "email": payload["traits"]["email"]})
        };
        let is_old = letter.received_at.is_some_and(|at| at < since);
        if is_old || (asks_for_user && !is_of_user(&user)) {
            continue;
        }
        let row = rows.entry(letter.name().to_owned()).or_insert_with(|| Row {
            id: letter.name().to_owned(),
            received_at: letter.received_at,
            kind: letter.kind.clone(),
            outcomes: BTreeMap::new(),
        });
        row.outcomes.insert(letter.destination(), format!("dead {}", letter.reason));
    }
    // The log has ids alone, of no user and no type.
    for line in lines.iter().filter(|_| !asks_for_user && options.kind.is_none()) {
        let (Some(id), Some(destination)) = (&line.id, &line.destination) else { continue };
        let row = rows.entry(id.clone()).or_insert_with(|| Row {
            id: id.clone(),
            received_at: At::of_id(id),
            kind: None,
            outcomes: BTreeMap::new(),
        });
        let reason = line.reason.as_deref().unwrap_or_default();
        row.outcomes.entry(destination.clone()).or_insert(format!("{} {reason}", line.message));
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.retain(|row| {
        options.kind.as_ref().is_none_or(|kind| row.kind.as_ref() == Some(kind))
            && options.reason.as_ref().is_none_or(|reason| {
                row.outcomes.values().any(|outcome| outcome.rsplit(' ').next() == Some(reason))
            })
    });
    rows.sort_by_key(|row| std::cmp::Reverse(row.received_at));
    rows.truncate(options.limit);
    Ok(rows)
}
