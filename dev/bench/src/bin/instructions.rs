//! Takes so many webhooks to Segment and nothing else, for Valgrind to count instructions: `.ci/instructions`.

use anyhow::{Context, Result};
use bench::workload::{To, envelopes, run};
use relay_core::names::Naming;

fn main() -> Result<()> {
    let count = std::env::args().nth(1).context("how many webhooks?")?.parse()?;
    // As many are made whatever the number, so that two runs differ by the work alone.
    let webhooks = envelopes(2_000)?;
    run(&webhooks[..count], To::EVERYWHERE, &Naming::default())?;
    Ok(())
}
