//! The docs' commands for SQS, Logs, Athena and S3, typed into a shell as they are: with the lines that `cargo local`
//! prints for it, and the AWS CLI of PyPI, which the docs install. Needs bash and jq.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use local::{Project, Settings, Stack, install, samples};
use tokio::process::Command;

use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

const AWS_CLI: &str = include_str!("../../requirements-awscli.txt");

/// What makes a block one of these: a call of such a service, or of a function that the docs make of such calls.
const COMMANDS: [&str; 8] =
    ["aws sqs ", "aws logs ", "aws athena ", "aws s3 ", "aws s3api ", "query \"", "replay '", "saved "];

/// Blocks with these words are left out.
const SKIPPED: [(&str, &str); 2] = [
    ("message-move-task", "no local SQS knows these calls; the tests move letters by receiving and sending"),
    ("find errors", ".ci/put_back.py runs it, over a folder in place of the bucket"),
];

/// What stands for something of the user's own; and nobody waits here until a letter is shown again.
const PLACEHOLDERS: [(&str, &str); 3] = [
    ("--visibility-timeout 60", "--visibility-timeout 0"),
    (
        "--receipt-handle \"…\"",
        "--receipt-handle \"$(aws sqs receive-message --queue-url \"$(output DeadLetterQueueUrl)\" \
         --visibility-timeout 0 --query 'Messages[0].ReceiptHandle' --output text)\"",
    ),
    (
        "EVENT='…'",
        "EVENT=$(aws sqs receive-message --queue-url \"$(output DeadLetterQueueUrl)\" --max-number-of-messages 10 \
         --visibility-timeout 0 --output json | jq -r '[.Messages[].Body | fromjson? | .id? | strings][0]')",
    ),
];

/// What other blocks set in a user's shell: the stack's name, and the id of the event that is looked for.
const VARIABLES: &str = "STACK=vero-relay EVENT=…";

/// A replay that was given up, as a dead letter.
const GIVEN_UP_REPLAY: &str = r#"aws sqs send-message --queue-url "$(output DeadLetterQueueUrl)" --message-body \
    '{"request":{"from":"2026-11-20","to":"2026-11-21","destinations":["segment"],"dry_run":true}}'"#;

/// Words of blocks, and what such a block prints here.
const PRINTS: [(&str, &str); 10] = [
    ("select type, count(distinct id)", "opened,3"),
    ("saved funnel", "campaign_id"),
    ("\"destinations\":[\"segment\"]}'", "\"sent\":"),
    ("saved reconciliation", "\"matched\":"),
    ("\"forget\"", "\"rows\":"),
    ("{id, reason: (.reason // .by_worker)", "\"reason\":\"not_json\""),
    ("replay \"$(jq -r .Body", "\"matched\":"),
    ("MessageBody: .Body}", "\"MessageId\":"),
    ("unqueued_webhook", "\"MessageId\":"),
    ("get-queue-attributes", "\"QueueArn\": \"arn:aws:sqs:us-east-1:000000000000:vero-relay-"),
];

#[tokio::test]
async fn the_docs_commands_work_with_the_cli_that_the_docs_install() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let project = Project::find().await?;
    let mut blocks = Vec::new();
    for page in pages(&project.root)? {
        blocks.extend(shell_blocks(&fs::read_to_string(&page)?));
    }
    let functions: Vec<String> = blocks.iter().flat_map(|block| functions(block)).collect();
    blocks.retain(|block| COMMANDS.iter().any(|command| calls(block, command)));
    for (words, reason) in SKIPPED {
        ensure!(blocks.iter().any(|block| block.contains(words)), "nothing to skip has {words}");
        blocks.retain(|block| !block.contains(words));
        println!("NOT RUN: the block with {words}, since {reason}");
    }
    for block in &mut blocks {
        for (placeholder, value) in PLACEHOLDERS {
            *block = block.replace(placeholder, value);
        }
    }
    // They take away what the others need: the letters, then the queues.
    let takes_away = ["purge-queue", "sam delete"];
    blocks.sort_by_key(|block| takes_away.iter().position(|words| block.contains(words)));

    let stack = Stack::start(&Settings::default()).await?;
    let posted = samples::post(&stack, samples::Sample::all(&project)?).await;
    stack.archived(posted.len(), DEADLINE_AFTER).await?;
    // One is redriven, one is deleted alone.
    for _ in 0..3 {
        ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");
    }
    let unqueued = samples::log_unqueued(&stack).await?;

    let shell = Shell::open(&project, &stack, &functions).await?;
    shell.run(GIVEN_UP_REPLAY).await?;
    let mut printed = Vec::new();
    for block in &blocks {
        println!("\n{block}");
        let output = shell.run(block).await?;
        println!("{output}");
        printed.push((block, output));
    }
    for (words, expected) in PRINTS {
        let (_, output) = printed
            .iter()
            .find(|(block, _)| block.contains(words))
            .with_context(|| format!("no block with {words} was run"))?;
        assert!(output.contains(expected), "{words} does not print {expected}: {output}");
    }
    assert_eq!(stack.deliveries(&unqueued, 2, DEADLINE_AFTER).await.len(), 2, "what was in the log arrives");
    Ok(())
}

/// The README and, below docs/, each page.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut pages, mut folders) = (vec![root.join("README.md")], vec![root.join("docs")]);
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// The blocks that are for a shell; in a list, without its indentation.
fn shell_blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(indentation) = line.strip_suffix("```sh").filter(|start| start.trim().is_empty()) {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            let block: Vec<&str> = block.map(|line| line.strip_prefix(indentation).unwrap_or(line)).collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// Whether a block has the command, and not as the end of another word.
fn calls(block: &str, command: &str) -> bool {
    let before = |place: usize| block[..place].chars().next_back().unwrap_or(' ');
    block.match_indices(command).any(|(place, _)| !before(place).is_alphanumeric() && before(place) != '-')
}

/// The functions that a block defines.
fn functions(block: &str) -> Vec<String> {
    let mut functions = Vec::new();
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        let name = line.split_once("() {").map_or("", |(name, _)| name);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let mut function = line.to_owned();
        while !function.ends_with('}') {
            let Some(line) = lines.next() else { break };
            function = format!("{function}\n{line}");
        }
        functions.push(function);
    }
    functions
}

/// A user's shell, in the repository's folder.
struct Shell {
    path: String,
    root: PathBuf,
    home: tempfile::TempDir,
    before: String,
}

impl Shell {
    async fn open(project: &Project, stack: &Stack, functions: &[String]) -> Result<Shell> {
        let python = install::venv(&project.target.join("local/awscli"), AWS_CLI, "the AWS CLI").await?;
        let programs = python.parent().context("an interpreter without a folder")?;
        let path = harness::variable("PATH").context("no PATH")?;
        Ok(Shell {
            path: format!("{}:{}", programs.display(), path.display()),
            root: project.root.clone(),
            home: tempfile::tempdir()?,
            // SAM would build anew and ask for buckets of its own.
            before: format!(
                "set -eo pipefail\n{VARIABLES}\n{}\n{}\nsam() {{ :; }}\n",
                stack.exports(),
                functions.join("\n")
            ),
        })
    }

    /// What a block prints, if each of its commands succeeds.
    async fn run(&self, block: &str) -> Result<String> {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!("exec 2>&1\n{}{block}", self.before)).current_dir(&self.root);
        // Nothing of whoever runs the test.
        bash.env_clear().env("PATH", &self.path).env("HOME", self.home.path()).kill_on_drop(true);
        let output =
            tokio::time::timeout(DEADLINE_AFTER, bash.output()).await.context(block.to_owned())??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{block}\n\nfails: {}\n{text}", output.status);
        Ok(text)
    }
}
