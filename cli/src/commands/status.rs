//! `relay status`: one screen.

use std::process::ExitCode;

use relay_core::destinations;

use super::Done;
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, DIM, GREEN, RED, styled, table};
use crate::model::figures::Figures;
use crate::model::known::Known;
use crate::model::state::{Queue, StackState};
use crate::model::story::first_names;
use crate::model::switches::is_off;
use crate::model::time::for_people;

pub(super) async fn run(cloud: &Cloud, console: Console) -> Done {
    let state = console.wait("Looking at the stack", cloud.state()).await?;
    console.show(&state, || print(console, &state))?;
    Ok(ExitCode::SUCCESS)
}

fn print(console: Console, state: &StackState) {
    let stack = &state.stack;
    let release = stack.output("Release").unwrap_or("unknown");
    console.say(format!(
        "{} in {}, release {release}, {}",
        styled(BOLD, &stack.name),
        if stack.is_local { "cargo local" } else { &stack.region },
        styled(
            if stack.status.ends_with("_COMPLETE") && !stack.status.contains("ROLLBACK") {
                GREEN
            } else {
                RED
            },
            &stack.status
        ),
    ));
    if let Some(url) = stack.output("WebhookUrl") {
        console.say(format!("URL          {url}"));
    }
    match &state.health {
        Known::Yes(health) if health.status == 200 => {
            console.say(format!("ingest       answers in {} ms", health.took_ms))
        }
        Known::Yes(health) => {
            console.say(format!("ingest       {}", styled(RED, format!("answers {}", health.status))))
        }
        Known::No { unknown } => console.say(format!("ingest       {}", styled(RED, unknown))),
    }
    match &state.event_source {
        Known::Yes(source) if source.state == "Enabled" => console.say("worker       takes from the queue"),
        Known::Yes(source) => {
            let state = format!("takes nothing: its event source mapping is {}", source.state);
            console.say(format!("worker       {}", styled(RED, state)));
        }
        unknown => console.say(format!("worker       {}", not_known(unknown))),
    }
    for (name, title) in [("Queue", "queue"), ("DeadLetterQueue", "dead letters"), ("ReplayQueue", "replays")]
    {
        if let Some(queue) = state.queues.get(name) {
            console.say(format!("{title:12} {}", of_queue(queue)));
        }
    }
    for row in state.letters.yes().into_iter().flatten() {
        console.say(format!(
            "             {:>5}  {} to {}",
            row.count,
            styled(RED, &row.reason),
            row.destination
        ));
    }
    if let Some(alarms) = state.alarms.yes() {
        let ringing: Vec<&str> = alarms
            .iter()
            .filter(|alarm| alarm.state == "ALARM")
            .map(|alarm| alarm.name.trim_end_matches("Alarm"))
            .collect();
        let text = if ringing.is_empty() {
            match alarms.iter().filter(|alarm| alarm.state == "INSUFFICIENT_DATA").count() {
                0 => format!("{} alarms, none rings", alarms.len()),
                unknown => format!("{} alarms, none rings, {unknown} without data", alarms.len()),
            }
        } else {
            styled(RED, format!("{} ring{}", ringing.join(", "), if ringing.len() == 1 { "s" } else { "" }))
        };
        console.say(format!("alarms       {text}"));
    } else {
        console.say(format!("alarms       {}", not_known(&state.alarms)));
    }
    console.say("");
    console.say(destinations_table(state));
    for (title, figures) in [("last hour", &state.last_hour), ("last day", &state.last_day)] {
        if let Some(figures) = figures.yes() {
            let mut words = vec![format!("the worker took {} new webhooks", figures.received)];
            if figures.oldest_owed_s > 0 {
                let age = for_people(std::time::Duration::from_secs(figures.oldest_owed_s));
                words.push(format!("oldest owed was received {age} ago"));
            }
            if figures.queue_age_s > 0 {
                let age = for_people(std::time::Duration::from_secs(figures.queue_age_s));
                words.push(format!("a message waited up to {age}"));
            }
            if figures.unauthorized > 0 {
                words.push(format!("{} requests unauthorized", figures.unauthorized));
            }
            console.say(styled(DIM, format!("{title}: {} (from {})", words.join(", "), figures.from)));
        } else {
            console.say(format!("{title}: {}", not_known(figures)));
        }
    }
}

fn of_queue(queue: &Known<Queue>) -> String {
    match queue {
        Known::Yes(queue) if queue.messages() == 0 => "empty".to_owned(),
        Known::Yes(queue) => format!(
            "{} wait, {} wait for their next try, {} in work, or back within {} s if a worker died over them",
            queue.visible, queue.delayed, queue.in_flight, queue.visibility_s
        ),
        unknown => not_known(unknown),
    }
}

fn not_known<T>(known: &Known<T>) -> String {
    styled(DIM, format!("not known here: {}", known.why_not().unwrap_or_default()))
}

fn destinations_table(state: &StackState) -> String {
    let empty = Figures::default();
    let hour = state.last_hour.yes().unwrap_or(&empty);
    let day = state.last_day.yes().unwrap_or(&empty);
    let time =
        |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| for_people(std::time::Duration::from_millis(ms)));
    let mut rows = Vec::new();
    for row in &destinations::ALL {
        let names = first_names(row, &state.stack);
        let paused = names.iter().filter(|name| state.stack.paused().any(|paused| paused == *name)).count();
        let is = match paused {
            _ if is_off(&state.stack, row) => "off",
            0 => "on",
            some if some < names.len() => "partly paused",
            _ => "paused",
        };
        for part in row.parts {
            let none = Default::default();
            let (of_hour, of_day) =
                (hour.parts.get(part.name).unwrap_or(&none), day.parts.get(part.name).unwrap_or(&none));
            if part.name != row.name && of_day.accepted + of_day.owed + of_day.dead == 0 {
                continue;
            }
            rows.push(vec![
                part.name.to_owned(),
                is.to_owned(),
                of_hour.accepted.to_string(),
                of_hour.owed.to_string(),
                of_day.accepted.to_string(),
                of_day.owed.to_string(),
                of_day.skipped.to_string(),
                of_day.dead.to_string(),
                time(of_hour.p50_ms),
                time(of_hour.p99_ms),
                time(of_day.p50_ms),
                time(of_day.p99_ms),
            ]);
        }
    }
    let head = [
        "destination",
        "is",
        "hour: accepted",
        "owed",
        "day: accepted",
        "owed",
        "skipped",
        "dead",
        "hour: p50",
        "p99",
        "day: p50",
        "p99",
    ];
    table(&head, rows)
}
