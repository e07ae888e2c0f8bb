//! The repository: where its files are, and its functions built for this machine.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

/// The functions that the template deploys, by the names of their packages, binaries and folders.
pub(crate) const FUNCTIONS: [&str; 3] = ["ingest", "worker", "replay"];

/// The repository on this machine.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder that holds `template.yaml`.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
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
        let target = PathBuf::from(target);
        let state = target.join("local");
        std::fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        Ok(Project { root: root.to_owned(), target, state })
    }

    /// Builds packages of one binary each, of the same name, in the development profile.
    pub async fn build<const N: usize>(&self, packages: [&str; N]) -> Result<[PathBuf; N]> {
        let mut arguments = vec!["build", "--message-format=json-render-diagnostics"];
        for package in packages {
            arguments.extend(["--package", package, "--bin", package]);
        }
        let output = cargo(&self.root, &arguments).await?;
        let messages = String::from_utf8_lossy(&output.stdout);
        let messages: Vec<Value> =
            messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut binaries = packages.map(|_| PathBuf::new());
        for (binary, package) in binaries.iter_mut().zip(packages) {
            let built = messages.iter().filter(|message| message["target"]["name"] == package);
            let built = built.filter_map(|message| message["executable"].as_str()).next();
            *binary = built.with_context(|| format!("cargo built no {package}"))?.into();
        }
        Ok(binaries)
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
