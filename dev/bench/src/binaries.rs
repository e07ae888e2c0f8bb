//! The binaries to be measured, built as `cargo build --release` builds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the release binaries are.
pub struct Binaries {
    /// Cargo's target folder.
    pub target: PathBuf,
    /// The baseline of cold starts.
    pub hello: PathBuf,
    /// The baseline of warm answers.
    pub bare_send: PathBuf,
    /// The function behind the URL.
    pub ingest: PathBuf,
    /// The function behind the queue.
    pub worker: PathBuf,
}

impl Binaries {
    /// Builds what is not fresh; Cargo shows its progress. The bare functions are built by themselves, so that the
    /// others switch on no features in their dependencies.
    pub fn build() -> Result<Self> {
        let [hello] = build(["hello"])?;
        let [bare_send] = build(["bare-send"])?;
        let [ingest, worker] = build(["ingest", "worker"])?;
        let target = ingest.ancestors().nth(2).context("cargo built outside of a target folder")?.to_owned();
        Ok(Self { target, hello, bare_send, ingest, worker })
    }
}

/// The function behind the URL, alone.
pub fn ingest() -> Result<PathBuf> {
    build(["ingest"]).map(|[ingest]| ingest)
}

fn build<const N: usize>(packages: [&str; N]) -> Result<[PathBuf; N]> {
    eprintln!("Building {} for release, which takes minutes the first time", packages.join(" and "));
    let output = cargo()
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo did not build {}", packages.join(" and "));
    let messages: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let mut binaries = packages.map(|_| PathBuf::new());
    for (binary, package) in binaries.iter_mut().zip(packages) {
        let built = messages.iter().filter(|message| message["target"]["name"] == package);
        let built = built.filter_map(|message| message["executable"].as_str()).next();
        *binary = built.with_context(|| format!("cargo names no binary of {package}"))?.into();
    }
    Ok(binaries)
}

/// The cargo that runs this, in this package's folder.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    cargo
}
