//! Takes so many webhooks to every destination and does nothing else, for Valgrind to count instructions:
//! `.ci/instructions`. With a second argument by ten rules.

use anyhow::{Context, Result};
use bench::workload::{Settings, To, envelopes, run};

fn main() -> Result<()> {
    let count = std::env::args().nth(1).context("how many webhooks?")?.parse()?;
    let settings = match std::env::args().nth(2) {
        Some(_) => Settings::with_ten_rules()?,
        None => Settings::default(),
    };
    // As many are made whatever the number, so that two runs differ by the work alone.
    let webhooks = envelopes(2_000)?;
    run(&webhooks[..count], To::EVERYWHERE, &settings)?;
    Ok(())
}
