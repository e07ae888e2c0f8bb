//! The binaries to be measured, built as `cargo build --release` builds them.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub struct Binaries {
    pub target: PathBuf,
    /// The baseline of cold starts.
    pub hello: PathBuf,
    /// The baseline of warm answers.
    pub bare_send: PathBuf,
    pub ingest: PathBuf,
    pub worker: PathBuf,
}

impl Binaries {
    /// Builds what is not fresh. The bare functions are built by themselves, so that the others switch on no features in
    /// their dependencies.
    pub async fn build() -> Result<Self> {
        let [hello] = build(["hello"]).await?;
        let [bare_send] = build(["bare-send"]).await?;
        let [ingest, worker] = build(["ingest", "worker"]).await?;
        let target = ingest.ancestors().nth(2).context("cargo built outside of a target folder")?.to_owned();
        Ok(Self { target, hello, bare_send, ingest, worker })
    }
}

/// The function behind the URL, alone.
pub async fn ingest() -> Result<PathBuf> {
    build(["ingest"]).await.map(|[ingest]| ingest)
}

async fn build<const N: usize>(packages: [&str; N]) -> Result<[PathBuf; N]> {
    eprintln!("Building {} for release, which takes minutes the first time", packages.join(" and "));
    harness::build(packages, "release").await
}
