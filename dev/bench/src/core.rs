//! The pure core on one core, without a function around it: webhooks read, mapped, planned and written down.

use std::fs;
use std::hint::black_box;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::workload::{BENCHES, COUNT, Settings, To, envelopes, read, run};
use relay_core::archive;
use relay_core::mapping::segment::MAX_BATCH_BYTES;
use serde_json::Value;

use crate::scene::median;
use crate::table::{Figure, Row};

/// The largest batch that Lambda hands over has 6 MB, about so many webhooks.
const BATCH: usize = 3_000;

/// How often each is measured where criterion is not at it.
const RUNS: usize = 15;

/// How fast it is, how much it allocates, and how both grow.
pub async fn measure() -> Result<Vec<Row>> {
    let [segment, everywhere] = medians().await?;
    let settings = Settings::default();
    let webhooks = envelopes(10_000)?;
    let [ten, hundred, all] = in_turn(&webhooks, [10, 100, 10_000], &settings)?;
    let mut outcome = Ok((0, 0));
    let allocations = allocation_counter::measure(|| {
        outcome = run(&webhooks[..COUNT], To::SEGMENT, &settings);
    });
    outcome?;
    let requests = |count: usize| -> Result<(usize, usize)> {
        let (sizes, requests) = run(&webhooks[..count], To::SEGMENT, &settings)?;
        Ok((requests, sizes.div_ceil(MAX_BATCH_BYTES) + 1))
    };
    let ((batch, batch_limit), (large, large_limit)) = (requests(BATCH)?, requests(10_000)?);
    Ok(vec![
        Row::new("core, a webhook for Segment: read, mapped, planned, written", segment)
            .at_most(Figure::Time(Duration::from_micros(5))),
        Row::new("core, a webhook for Segment, Vero and the archive", everywhere),
        Row::new("core, allocations for Segment", Figure::Count(allocations.count_total as usize / COUNT)),
        Row::new("core, a webhook of 100", hundred).beside(ten, "of 10"),
        Row::new("core, a webhook of 10,000", all).beside(ten, "of 10").at_most_times(1.5),
        Row::new("core, Segment requests for 3,000 webhooks", Figure::Count(batch))
            .at_most(Figure::Count(batch_limit)),
        Row::new("core, Segment requests for 10,000 webhooks", Figure::Count(large))
            .at_most(Figure::Count(large_limit)),
    ])
}

/// What criterion measures of a webhook, by `benches/core.rs`.
async fn medians() -> Result<[Figure; BENCHES.len()]> {
    let folder = tempfile::tempdir()?;
    let mut bench = harness::cargo();
    bench.args(["bench", "--package", "bench", "--bench", "core"]).env("CRITERION_HOME", folder.path());
    let status = bench.stdout(Stdio::null()).status().await.context("cannot run cargo")?;
    ensure!(status.success(), "cargo bench did not succeed");
    let mut figures = [Figure::Time(Duration::ZERO); BENCHES.len()];
    for ((name, _), figure) in BENCHES.iter().zip(&mut figures) {
        // Criterion's own file; the estimate is of a whole round, in nanoseconds.
        let file = folder.path().join(format!("core/{name}/new/estimates.json"));
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let estimates: Value = serde_json::from_slice(&text)?;
        let median = estimates["median"]["point_estimate"].as_f64().context("criterion names no median")?;
        *figure = Figure::Time(Duration::from_nanos((median / COUNT as f64) as u64));
    }
    Ok(figures)
}

/// The time that one of so many webhooks takes, for several such numbers in turn: whatever else the machine does meets
/// them all.
fn in_turn<const N: usize>(
    webhooks: &[String],
    counts: [usize; N],
    settings: &Settings,
) -> Result<[Figure; N]> {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..RUNS {
        for (count, times) in counts.iter().zip(&mut times) {
            // Of a few webhooks so many rounds that the clock can tell.
            let rounds = (10_000 / count).max(1);
            let begin = Instant::now();
            for _ in 0..rounds {
                black_box(run(&webhooks[..*count], To::SEGMENT, settings)?);
            }
            times.push(begin.elapsed() / (rounds * count) as u32);
        }
    }
    Ok(times.map(|times| Figure::Time(median(times))))
}

/// The bytes of a webhook's row in the archive, as a mean over the samples.
pub fn row_bytes() -> Result<f64> {
    let envelopes = envelopes(1_000)?;
    let mut bytes = 0;
    for envelope in &envelopes {
        let (envelope, webhook) = read(envelope)?;
        bytes += archive::row(&envelope, &(&webhook).into()).len();
    }
    Ok(bytes as f64 / envelopes.len() as f64)
}
