//! The functions' binaries.

use std::path::PathBuf;

use anyhow::Result;

pub struct Programs {
    pub ingest: PathBuf,
    pub worker: PathBuf,
}

impl Programs {
    /// Builds what is not fresh, in the profile of this program and into its target folder.
    pub async fn build() -> Result<Self> {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        // All three, as for the deployed template: of two alone Cargo would build another form.
        let [ingest, worker, _] = harness::build(["ingest", "worker", "replay"], profile).await?;
        Ok(Self { ingest, worker })
    }
}
