//! The docs' commands of `relay`, as they stand there, against the template on this machine: the built binary, with
//! `--local` and without questions.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use local::{Project, SEGMENT_WRITE_KEY, VERO_AUTH_TOKEN, samples};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::relay::{BINARY, start};
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

/// What stands for something of the user's own.
const USER_ID: &str = "01935f3a-0000-7000-8000-000000000001";

/// Commands that are left out here.
const SKIPPED: [(&str, &str); 4] = [
    ("--stop", "it would keep the function from running while others need it"),
    ("--stack", "there is one stack here"),
    ("WebhookEndpoints=", "the sample's endpoints are not on this machine"),
    ("--finish", "the test of the rotation runs it"),
];

/// Asks for consent, unless `--yes`; here nobody can be asked.
const ASKS: [&str; 9] = [
    "relay replay",
    "relay forget",
    "relay requeue",
    "relay letters delete",
    "relay misplaced restore",
    "relay set",
    "relay pause",
    "relay resume",
    "relay token rotate",
];

/// Words of commands, and what such a command prints here.
const PRINTS: [(&str, &str); 12] = [
    ("relay status", "vero-relay in cargo local"),
    ("relay letters list", "not_json"),
    ("relay letters redrive --all", "dead letters are on the queue again"),
    ("relay letters delete", "deleted"),
    ("relay event 0", "accepted"),
    ("relay events --user 123", "opened"),
    ("relay query \"select type", "opened"),
    ("relay query funnel", "CAMPAIGN_ID"),
    ("relay send", "accepted"),
    ("relay token new", "digest"),
    ("relay forget", "rows"),
    ("relay pause segment", "waits in the queue"),
];

#[tokio::test]
async fn the_docs_commands_work() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let project = Project::find().await?;
    let mut commands = Vec::new();
    for page in pages(&project.root)? {
        commands.extend(commands_of(&fs::read_to_string(&page)?));
    }
    for (words, reason) in SKIPPED {
        ensure!(commands.iter().any(|command| command.contains(words)), "nothing to skip has {words}");
        commands.retain(|command| !command.contains(words));
        println!("NOT RUN: commands with {words}, since {reason}");
    }
    let mut seen = HashSet::new();
    commands.retain(|command| seen.insert(command.clone()));
    // They take away what the others need.
    let takes_away = ["letters redrive", "letters delete", "forget"];
    commands.sort_by_key(|command| takes_away.iter().position(|words| command.contains(words)));

    let (_, stack) = start().await?;
    let posted = samples::post(&stack, samples::Sample::all(&project)?).await;
    stack.archived(posted.len(), DEADLINE_AFTER).await?;
    let id = stack.post(r#"{"type":"opened","user":{"id":123}}"#).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");
    samples::log_unqueued(&stack, samples::TWO_HOURS).await?;

    let mut printed = Vec::new();
    for command in &commands {
        let output = run(&project, &command.replace(USER_ID, &id)).await?;
        println!("\n{command}\n{output}");
        printed.push((command, output));
        if command.contains("redrive") {
            // What was no JSON comes back, for the others.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
    }
    for (words, expected) in PRINTS {
        let (_, output) = printed
            .iter()
            .find(|(command, _)| command.starts_with(words))
            .with_context(|| format!("no command with {words} was run"))?;
        assert!(output.contains(expected), "{words} does not print {expected}: {output}");
    }
    Ok(())
}

/// What a command prints. It may find that something is wrong or not there, which the docs' examples are about.
async fn run(Project { root, target, .. }: &Project, command: &str) -> Result<String> {
    let mut line = command.replacen("relay ", "\"$RELAY\" --local ", 1);
    if ASKS.iter().any(|asks| command.starts_with(asks)) && !command.contains("--dry-run") {
        line.push_str(" --yes");
    }
    if command.starts_with("relay tail") && !command.contains("--no-follow") {
        line.push_str(" --no-follow");
    }
    let mut bash = Command::new("bash");
    bash.arg("-c")
        .arg(format!("exec 2>&1\n{line}"))
        .current_dir(root)
        .env("RELAY", BINARY)
        .env("CARGO_TARGET_DIR", target);
    // What is asked for on the terminal comes from there.
    bash.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = bash.spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    let key = match command {
        _ if command.contains("shared-secret") => "a-shared-secret",
        _ if command.contains("address-hash") => "a-secret-for-addresses",
        _ if command.ends_with("segment") => SEGMENT_WRITE_KEY,
        _ => VERO_AUTH_TOKEN,
    };
    stdin.write_all(format!("{key}\n").as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(DEADLINE_AFTER, child.wait_with_output()).await;
    let output = output.with_context(|| command.to_owned())??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code();
    let is_done = text.contains("has these values already");
    ensure!(is_done || matches!(code, Some(0 | 4 | 5)), "{command}\n\nfails with {code:?}:\n{text}");
    Ok(text)
}

/// The README and, below docs/, each page.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        pages.extend(
            Some(entry?.path()).filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    pages.sort();
    Ok(pages)
}

/// The commands of `relay` in the blocks that are for a shell.
fn commands_of(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut is_shell = false;
    for line in page.lines().map(str::trim) {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if is_shell {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let line = line
                .strip_prefix("cargo relay --local ")
                .map_or(line.to_owned(), |rest| format!("relay {rest}"));
            commands.extend(Some(line).filter(|line| line.starts_with("relay ")));
        }
    }
    commands
}
