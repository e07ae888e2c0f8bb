//! The functions' binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where the binaries are.
pub struct Programs {
    /// The function behind the URL.
    pub ingest: PathBuf,
    /// The function behind the queue.
    pub worker: PathBuf,
}

impl Programs {
    /// Builds what is not fresh, in the profile of this program and into its target folder.
    pub fn build() -> Result<Self> {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--package", "ingest", "--package", "worker"])
            .args((!cfg!(debug_assertions)).then_some("--release"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "cargo did not build the functions");
        Ok(Self { ingest: harness::binary("ingest")?, worker: harness::binary("worker")? })
    }
}
