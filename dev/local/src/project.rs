//! The repository: where its files are, and its functions built for this machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The functions that the template deploys, by the names of their packages, binaries and folders.
pub(crate) const FUNCTIONS: [&str; 3] = ["ingest", "worker", "replay"];

/// The functions' binaries, built in the development profile.
pub(crate) async fn build_functions() -> Result<[PathBuf; 3]> {
    harness::build(FUNCTIONS, "dev").await
}

/// The repository on this machine.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder that holds `template.yaml`.
    pub root: PathBuf,
    pub target: PathBuf,
    /// Where `cargo local` keeps what it installs.
    pub(crate) state: PathBuf,
}

impl Project {
    /// Finds the repository and Cargo's target folder.
    pub async fn find() -> Result<Project> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        let mut cargo = harness::cargo();
        cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).stderr(Stdio::inherit());
        let output = cargo.output().await.context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo metadata failed");
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata answered no JSON")?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        let target = PathBuf::from(target);
        let state = target.join("local");
        std::fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        Ok(Project { root: root.to_owned(), target, state })
    }
}

/// The processor of this machine, in Lambda's words.
pub(crate) fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x86_64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Lambda has no processor like this machine's ({other})"),
    }
}
