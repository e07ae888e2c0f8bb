//! The repository: where its files are, and its functions built for this machine.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

/// The functions that the template deploys, by the names of their packages, binaries and folders.
pub(crate) const FUNCTIONS: [&str; 2] = ["ingest", "worker"];

/// The repository on this machine.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder that holds `template.yaml`.
    pub root: PathBuf,
    /// Where `cargo local` keeps what it installs.
    pub(crate) state: PathBuf,
}

impl Project {
    /// Finds the repository and Cargo's target folder.
    pub async fn find() -> Result<Project> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        let metadata = cargo(root, &["metadata", "--format-version=1", "--no-deps", "--offline"]).await?;
        let metadata: Value =
            serde_json::from_slice(&metadata.stdout).context("cargo metadata answered no JSON")?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        let state = Path::new(target).join("local");
        std::fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        Ok(Project { root: root.to_owned(), state })
    }

    /// Builds both functions in the development profile and gives the binaries in the order of [`FUNCTIONS`].
    pub(crate) async fn build(&self) -> Result<Vec<PathBuf>> {
        let mut arguments = vec!["build", "--message-format=json-render-diagnostics"];
        for function in FUNCTIONS {
            arguments.extend(["--package", function, "--bin", function]);
        }
        let output = cargo(&self.root, &arguments).await?;
        let messages = String::from_utf8_lossy(&output.stdout);
        let binaries: Vec<Value> =
            messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let binary = |name: &str| {
            let artifact = binaries.iter().find(|message| {
                message["target"]["name"] == name && message["executable"].as_str().is_some()
            })?;
            artifact["executable"].as_str().map(PathBuf::from)
        };
        FUNCTIONS.iter().map(|name| binary(name).with_context(|| format!("cargo built no {name}"))).collect()
    }
}

async fn cargo(root: &Path, arguments: &[&str]) -> Result<Output> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root).stderr(Stdio::inherit()).kill_on_drop(true);
    // What `cargo run` tells of this package would make build scripts run again, here and at the next build.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command.stdout(Stdio::piped());
    let child = command.spawn().context("cannot run cargo")?;
    let output = child.wait_with_output().await.context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo {} failed", arguments.first().unwrap_or(&""));
    Ok(output)
}

/// The processor of this machine, in Lambda's words.
pub(crate) fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x86_64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Lambda has no processor like this machine's ({other})"),
    }
}
