//! The pure core on one core, without a function around it: webhooks read, mapped, planned and written down.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::workload::{To, envelopes, read, run};
use relay_core::archive;
use relay_core::mapping::segment::MAX_BATCH_BYTES;
use relay_core::names::Naming;

use crate::scene::median;
use crate::table::{Figure, Row};

/// The largest batch that Lambda hands over has 6 MB, about so many webhooks.
const BATCH: usize = 3_000;

/// How often each is measured.
const RUNS: usize = 15;

const SEGMENT: To = To { segment: true, vero: false, archive: false };
const EVERYWHERE: To = To { segment: true, vero: true, archive: true };

/// How fast it is, how much it allocates, and how both grow.
pub fn measure() -> Result<Vec<Row>> {
    let naming = Naming::default();
    let webhooks = envelopes(10_000)?;
    let time = |count: usize, to: To| each(&webhooks[..count], to, &naming);
    let (ten, hundred, thousand, all) =
        (time(10, SEGMENT)?, time(100, SEGMENT)?, time(1_000, SEGMENT)?, time(10_000, SEGMENT)?);
    let allocations = allocation_counter::measure(|| {
        let _ = black_box(run(&webhooks[..1_000], SEGMENT, &naming));
    });
    let requests = |count: usize| -> Result<(usize, usize)> {
        let (sizes, requests) = run(&webhooks[..count], SEGMENT, &naming)?;
        Ok((requests, sizes.div_ceil(MAX_BATCH_BYTES) + 1))
    };
    let ((batch, batch_limit), (large, large_limit)) = (requests(BATCH)?, requests(10_000)?);
    let figure = |time| Figure::Time(time);
    Ok(vec![
        Row::new("core, a webhook for Segment: read, mapped, planned, written", figure(thousand))
            .at_most(figure(Duration::from_micros(5))),
        Row::new("core, a webhook for Segment, Vero and the archive", figure(time(1_000, EVERYWHERE)?)),
        Row::new("core, allocations for Segment", Figure::Count(allocations.count_total as usize / 1_000)),
        Row::new("core, a webhook of 100", figure(hundred)).beside(figure(ten), "of 10"),
        Row::new("core, a webhook of 10,000", figure(all)).beside(figure(ten), "of 10").at_most_times(1.5),
        Row::new("core, Segment requests for 3,000 webhooks", Figure::Count(batch))
            .at_most(Figure::Count(batch_limit)),
        Row::new("core, Segment requests for 10,000 webhooks", Figure::Count(large))
            .at_most(Figure::Count(large_limit)),
    ])
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

/// The time that one of these takes.
fn each(envelopes: &[String], to: To, naming: &Naming) -> Result<Duration> {
    // Of a few webhooks so many rounds that the clock can tell.
    let rounds = (1_000 / envelopes.len()).max(1);
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begin = Instant::now();
        for _ in 0..rounds {
            black_box(run(envelopes, to, naming)?);
        }
        times.push(begin.elapsed());
    }
    let count = u32::try_from(rounds * envelopes.len()).context("too many webhooks")?;
    Ok(median(times) / count)
}
