//! The built command, run in a folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use local::{Project, Settings, Stack};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::DEADLINE_AFTER;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_relay");

/// The command, in the repository's folder.
pub(crate) struct Relay {
    root: PathBuf,
    /// In it the command finds the running stack.
    target: PathBuf,
}

/// A new stack, and the command for it.
pub(crate) async fn start() -> Result<(Relay, Stack)> {
    let stack = Stack::start(&Settings::default()).await?;
    let Project { root, target, .. } = Project::find().await?;
    Ok((Relay { root, target }, stack))
}

impl Relay {
    /// The same for a stack that another target folder tells of.
    pub(crate) fn of(self, target: &Path) -> Self {
        Relay { target: target.to_owned(), ..self }
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .arg("--local")
            .args(line.split(' '))
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command.kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command's exit code, and what it prints for scripts.
    pub(crate) async fn json(&self, line: &str) -> Result<(i32, Value)> {
        self.finish(line, self.command(&format!("--json {line}")), "").await
    }

    /// The same with a token that is asked for.
    pub(crate) async fn json_by(&self, line: &str, token: &str) -> Result<(i32, Value)> {
        let mut command = self.command(&format!("--json {line}"));
        command.env("RELAY_TOKEN", token);
        self.finish(line, command, "").await
    }

    /// The same with something on standard input.
    pub(crate) async fn json_of(&self, line: &str, input: &str) -> Result<(i32, Value)> {
        let mut command = self.command(&format!("--json {line}"));
        command.stdin(Stdio::piped());
        self.finish(line, command, input).await
    }

    async fn finish(&self, line: &str, mut command: Command, input: &str) -> Result<(i32, Value)> {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = tokio::time::timeout(DEADLINE_AFTER, child.wait_with_output()).await;
        let output = output.with_context(|| line.to_owned())??;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().with_context(|| errors.clone())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let document = match (serde_json::from_str(&text), lines) {
            (Ok(document), _) => document,
            // `tail` prints a document a line.
            (_, Ok(lines)) if !lines.is_empty() => Value::Array(lines),
            _ => json!({"stdout": text, "stderr": errors}),
        };
        Ok((code, document))
    }
}
