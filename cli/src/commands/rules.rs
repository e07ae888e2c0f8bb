//! `relay rules`: checks the blueprint by the worker's own code, shows what it changes, and stores it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::Style;
use relay_core::blueprint::Blueprint;
use relay_core::endpoints::{Endpoints, Reach};
use relay_core::envelope::Envelope;
use relay_core::first_party::CallType;
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use super::Done;
use super::documents::{Place, read, stack};
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, DIM, GREEN, RED, YELLOW, printable, styled};
use crate::error::Error;
use crate::model::mapping::Trial;
use crate::model::state::Stack;
use crate::options::{Rules, RulesTry};

/// The parameter that names the secret which addresses are hashed with.
const HASH_SECRET: &str = "AddressHashSecretParameter";

const BLUEPRINT: Place = Place { parameter: "BlueprintParameter", usual_name: "blueprint", is_secret: false };

/// When a tried event counts as received: one time for all, so that two runs say the same.
const RECEIVED_AT: &str = "2026-11-21T05:04:03.123Z";

/// Runs what needs no stack; `None` for the rest.
pub(super) fn without_stack(console: Console, command: &Rules) -> Option<Done> {
    match command {
        Rules::Check(file) => Some(check(console, &file.file)),
        Rules::Try(options) if options.from.is_none() => Some(try_on_files(console, options)),
        Rules::Try(_) | Rules::Set(_) => None,
    }
}

fn check(console: Console, file: &Path) -> Done {
    let (_, document) = read(file, Blueprint::parse)?;
    let oddities: Vec<String> =
        document.oddities().iter().map(|odd| format!("{} {}", odd.path, odd.problem)).collect();
    console.show(&json!({"is_valid": true, "oddities": oddities}), || {
        console.say(format!("{} can be used", file.display()));
        if document.webhooks().hashes_at().is_some() {
            console.say(format!("It hashes addresses: the stack needs {HASH_SECRET} (docs/rules.md)"));
        }
        for oddity in &oddities {
            console.say(format!("{} {oddity}", styled(YELLOW, "odd:")));
        }
    })?;
    Ok(if oddities.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What a document changes, over events in files and as for a stack with the defaults.
fn try_on_files(console: Console, options: &RulesTry) -> Done {
    let (_, after) = read(&options.file, Blueprint::parse)?;
    let before = match &options.against {
        Some(file) => read(file, Blueprint::parse)?.1,
        None => Blueprint::default(),
    };
    let events: Vec<(String, String)> =
        files(&options.events)?.iter().map(of_file).collect::<Result<_, _>>()?;
    let (stack, settings) = (&Stack::default(), &settings(options)?);
    show(console, &events, &Trial { stack, settings, before: &before, after: &after })
}

/// What is known of endpoints.
fn settings(options: &RulesTry) -> Result<Endpoints, Error> {
    let parse = |text: &str| Endpoints::parse(text, Reach::Anywhere);
    options.endpoints.as_ref().map_or_else(|| Ok(Endpoints::default()), |file| Ok(read(file, parse)?.1))
}

/// The same over archived events, as for the stack itself and compared with what it does today.
pub(super) async fn try_on_archive(cloud: &Cloud, console: Console, options: &RulesTry) -> Done {
    let (_, after) = read(&options.file, Blueprint::parse)?;
    let stack = cloud.describe().await?;
    let before = match &options.against {
        Some(file) => read(file, Blueprint::parse)?.1,
        None => cloud.blueprint(&stack).await?,
    };
    let (Some(from), Some(to)) = (&options.from, &options.to) else { return Ok(ExitCode::SUCCESS) };
    let [from, to] = [time(from)?, time(to)?];
    // A time is within its day, and both are texts that sort as they follow each other.
    let sql = format!(
        "select id, type, source, received_at, payload from data where day between '{}' and '{}' \
         and received_at >= '{from}' and received_at < '{to}' order by _sequence limit {}",
        &from[..10],
        &to[..10],
        u64::from(options.limit) + 1
    );
    let found = console.wait("Athena runs the query", cloud.query(&stack, &sql)).await?;
    let limit = options.limit as usize;
    if found.rows.len() > limit {
        console.say(format!("More than {limit} events came in that time. Try them all with --limit."));
    }
    let events = found.rows.iter().take(limit).filter_map(|row| {
        let cell = |column| found.cell(row, column);
        let (id, kind) = (cell("id")?, cell("type").unwrap_or("an event"));
        let envelope = envelope(id, cell("source")?, cell("received_at")?, cell("payload")?);
        Some((format!("{id} {kind}"), envelope))
    });
    let (stack, settings) = (&stack, &settings(options)?);
    let trial = Trial { stack, settings, before: &before, after: &after };
    show(console, &events.collect::<Vec<_>>(), &trial)
}

/// A time or a date.
fn time(text: &str) -> Result<&str, Error> {
    let is_time =
        Timestamp::parse(text).is_some() || Timestamp::parse(&format!("{text}T00:00:00Z")).is_some();
    let is_plain = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
    match is_time && text.len() >= 10 && text.chars().all(is_plain) {
        true => Ok(text),
        false => Err(Error::Refused(format!(
            "`{text}` is no time in UTC, such as 2026-11-20 or 2026-11-20T15:00:00Z"
        ))),
    }
}

fn envelope(id: &str, source: &str, received_at: &str, payload: &str) -> String {
    format!(
        r#"{{"version":1,"id":"{id}","source":"{source}","received_at":"{received_at}","through_segment":true,"payload":{payload}}}"#
    )
}

/// The name of a file, and what is in it as an envelope.
fn of_file(file: &PathBuf) -> Result<(String, String), Error> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(file).map_err(|error| Error::Io(name.clone(), error))?;
    let source = if is_first_party(&name, &text) { "segment" } else { "vero" };
    // A share of events takes another id for each.
    let id: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    let envelope = envelope(&id, source, RECEIVED_AT, &text);
    match Envelope::parse(&envelope) {
        Ok(_) => Ok((name, envelope)),
        Err(_) => Err(Error::Refused(format!("{name} is no JSON object"))),
    }
}

/// As the samples are named; of another file its `type` decides.
fn is_first_party(name: &str, payload: &str) -> bool {
    let kind = || CallType::named(serde_json::from_str::<Value>(payload).ok()?["type"].as_str()?);
    name.starts_with("segment-") || !name.starts_with("vero-") && kind().is_some()
}

fn show(console: Console, events: &[(String, String)], trial: &Trial<'_>) -> Done {
    let (mut all, mut unsent_before) = (BTreeMap::new(), BTreeMap::new());
    for (name, envelope) in events {
        let Ok(envelope) = Envelope::parse(envelope) else { continue };
        unsent_before.insert(name.clone(), trial.unsent(&envelope));
        all.insert(name.clone(), trial.changes(&envelope));
    }
    console.show(&all, || {
        if all.is_empty() {
            console.say("No event was received in that time.");
        }
        for (name, parts) in &all {
            console.say(styled(BOLD, printable(name)));
            for (part, lines) in parts {
                match &lines[..] {
                    [] => {
                        let nothing = unsent_before.get(name).and_then(|unsent| unsent.get(part));
                        let what = nothing.map_or("as before".to_owned(), |why| format!("{why}, as before"));
                        console.say(format!("  {part}  {}", styled(DIM, what)));
                    }
                    lines => {
                        console.say(format!("  {part}"));
                        lines.iter().for_each(|line| {
                            console.say(format!("    {}", styled(style(line), printable(line))));
                        });
                    }
                }
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn style(line: &str) -> Style {
    match line.as_bytes().first() {
        Some(b'+') => GREEN,
        Some(b'-') => RED,
        _ => YELLOW,
    }
}

/// A file, or the events of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error| Error::Io(path.display().to_string(), error);
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
    let is_event = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json") && ["vero-", "segment-"].iter().any(|prefix| name.starts_with(prefix))
    };
    files.retain(is_event);
    files.sort();
    if files.is_empty() {
        return Err(Error::NotFound(format!(
            "{} has no events: files named vero-… or segment-….json",
            path.display()
        )));
    }
    Ok(files)
}

pub(super) async fn set(cloud: &Cloud, console: Console, file: &Path) -> Done {
    let (text, document) = read(file, Blueprint::parse)?;
    let stack = stack(cloud).await?;
    let has_secret = |stack: &Stack| !stack.parameter(HASH_SECRET).is_empty();
    if document.webhooks().hashes_at().is_some() && !stack.as_ref().is_some_and(has_secret) {
        return Err(Error::Refused(format!(
            "the blueprint was not stored: it hashes addresses, and the stack has no secret for that, so that no worker would start. Run: relay key set address-hash, and relay set {HASH_SECRET}=/{}/address-hash-secret",
            cloud.stack
        )));
    }
    BLUEPRINT.store(cloud, console, stack.as_ref(), &text).await?;
    let on = stack.as_ref().map(Stack::endpoints).unwrap_or_default();
    for name in document.webhooks().endpoints().filter(|name| !on.contains(*name)) {
        console
            .say(format!("{} it has rules for {name}, an endpoint that is not on", styled(YELLOW, "odd:")));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_by_its_name_or_its_type_what_it_is() {
        for (name, payload, expected) in [
            ("segment-track.json", "{}", true),
            ("vero-sent.json", r#"{"type":"track"}"#, false),
            ("mine.json", r#"{"type":"track"}"#, true),
            ("mine.json", r#"{"type":"opened"}"#, false),
            ("mine.json", "{}", false),
        ] {
            assert_eq!(is_first_party(name, payload), expected, "{name} {payload}");
        }
    }
}
