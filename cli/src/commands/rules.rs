//! `relay rules`: checks the blueprint by the worker's own code, shows what it changes, and stores it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::Style;
use relay_core::blueprint::Blueprint;
use relay_core::envelope::{Envelope, EventId, Payload, Source};
use relay_core::timestamp::Timestamp;
use serde_json::json;

use super::Done;
use super::documents::{Place, read, stack};
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, DIM, GREEN, RED, YELLOW, styled};
use crate::error::Error;
use crate::model::mapping::{changes, unsent};
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
        Rules::Try(options) => Some(try_out(console, options)),
        Rules::Set(_) => None,
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

fn try_out(console: Console, options: &RulesTry) -> Done {
    let (_, after) = read(&options.file, Blueprint::parse)?;
    let before = match &options.against {
        Some(file) => read(file, Blueprint::parse)?.1,
        None => Blueprint::default(),
    };
    let (mut all, mut unsent_before) = (BTreeMap::new(), BTreeMap::new());
    for file in files(&options.events)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).map_err(|error| Error::Io(name.clone(), error))?;
        let Ok(payload) = serde_json::from_str(&text) else {
            return Err(Error::Refused(format!("{name} is no JSON")));
        };
        // As the samples are named: what is not from Segment is a webhook.
        let source = if name.starts_with("segment-") { Source::Segment } else { Source::Vero };
        // A share of events takes another id for each.
        let id: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        let (Some(id), Some(received_at)) = (EventId::parse(id), Timestamp::parse(RECEIVED_AT)) else {
            continue;
        };
        let envelope = Envelope {
            id,
            source,
            received_at,
            place: 0,
            through_segment: true,
            destinations: None,
            attempt: 0,
            payload: Payload::Object(payload),
        };
        unsent_before.insert(name.clone(), unsent(&envelope, &Stack::default(), &before));
        all.insert(name, changes(&envelope, &Stack::default(), &before, &after));
    }
    console.show(&all, || {
        for (name, parts) in &all {
            console.say(styled(BOLD, name));
            for (part, lines) in parts {
                match &lines[..] {
                    [] => {
                        let nothing = unsent_before.get(name).and_then(|unsent| unsent.get(part));
                        let what = nothing.map_or("as before".to_owned(), |why| format!("{why}, as before"));
                        console.say(format!("  {part}  {}", styled(DIM, what)));
                    }
                    lines => {
                        console.say(format!("  {part}"));
                        lines
                            .iter()
                            .for_each(|line| console.say(format!("    {}", styled(style(line), line))));
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
    Ok(ExitCode::SUCCESS)
}
