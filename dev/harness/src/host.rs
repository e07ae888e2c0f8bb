//! The machine that runs the tools and tests: its environment, and what Cargo builds on it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// A variable of whoever runs this.
#[expect(clippy::disallowed_methods, reason = "tools and tests run other programs with it")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The Cargo that built this, in the repository's folder.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).kill_on_drop(true);
    #[expect(clippy::disallowed_methods, reason = "their names are not known in advance")]
    let variables = std::env::vars_os();
    // What `cargo run` tells of this package would make build scripts run again, here and at the next build.
    for (name, _) in variables {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|start| name.starts_with(start))) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds packages that have a binary of the package's name, and gives the binaries; Cargo shows its progress.
pub async fn build<const N: usize>(packages: [&str; N], profile: &str) -> Result<[PathBuf; N]> {
    let mut cargo = cargo();
    cargo.args(["build", "--message-format=json-render-diagnostics", "--profile", profile]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package, "--bin", package]));
    let output = cargo.stderr(Stdio::inherit()).output().await.context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo did not build {}", packages.join(" and "));
    let text = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut binaries = packages.map(|_| PathBuf::new());
    for (binary, package) in binaries.iter_mut().zip(packages) {
        let mut built = messages.iter().filter(|message| message["target"]["name"] == package);
        let built = built.find_map(|message| message["executable"].as_str());
        *binary = built.with_context(|| format!("cargo built no {package}"))?.into();
    }
    Ok(binaries)
}
