//! `ingest` that has been at it for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Function, Sqs};

use crate::binaries::Binaries;
use crate::scene::{Scene, invoke, median, memory, quantile, webhook};
use crate::table::{Figure, Row};

/// So many that 50 are beyond the 99th percentile.
pub const REQUESTS: usize = 5_000;
/// Before these, connections are opened and memory is taken.
const UNCOUNTED: usize = 500;

/// Over so many requests memory is to stay as it is.
pub const MANY_REQUESTS: usize = 100_000;
/// What it is held against.
const FEW_REQUESTS: usize = 1_000;
/// How often the stand-in forgets.
const FORGETTING: usize = 10_000;

/// The time of an answer, and its share that is not SQS's, the SDK's or the runtime's.
pub async fn answers(binaries: &Binaries) -> Result<Answers> {
    let scene = Scene::of(Sqs::start().await?);
    let functions =
        [scene.function(&binaries.ingest, &[]).await?, scene.function(&binaries.bare_send, &[]).await?];
    let event = webhook();
    let mut times = [Vec::new(), Vec::new()];
    for request in 0..UNCOUNTED + REQUESTS {
        for (function, times) in functions.iter().zip(&mut times) {
            let (_, time) = invoke(function, &event).await?;
            if request >= UNCOUNTED {
                times.push(time);
            }
        }
    }
    let queued = scene.live.messages().len();
    let sent = 2 * (UNCOUNTED + REQUESTS);
    ensure!(queued == sent, "{queued} of {sent} webhooks are on the queue");
    let [ingest, bare] = times.each_ref().map(|times| median(times.iter().copied()));
    let [slow_ingest, slow_bare] = times.map(|times| Figure::Time(quantile(times, 0.99)));
    let own = ingest.saturating_sub(bare);
    let rows = vec![
        Row::new("ingest, warm answer", Figure::Time(ingest)).beside(Figure::Time(bare), SENDING),
        Row::new("ingest, what is its own of that", Figure::Time(own))
            .at_most(Figure::Time(Duration::from_micros(90))),
        Row::new("ingest, 99th percentile of warm answers", slow_ingest)
            .beside(slow_bare, SENDING)
            .at_most_times(1.3),
    ];
    Ok(Answers { rows, own })
}

pub struct Answers {
    pub rows: Vec<Row>,
    /// What is ingest's own of the median answer.
    pub own: Duration,
}

const SENDING: &str = "SendMessage";

/// What becomes of a function's memory.
pub async fn memory_over_time(binaries: &Binaries) -> Result<Row> {
    let scene = Scene::of(Sqs::start().await?);
    let ingest = scene.function(&binaries.ingest, &[]).await?;
    request(&ingest, FEW_REQUESTS).await?;
    let after_few = memory(&ingest)?;
    for _ in 0..MANY_REQUESTS / FORGETTING {
        scene.clear();
        request(&ingest, FORGETTING).await?;
        let queued = scene.live.messages().len();
        ensure!(queued == FORGETTING, "{queued} of {FORGETTING} webhooks are on the queue");
    }
    let after_many = memory(&ingest)?;
    let row =
        Row::new("ingest, resident after 100,000 requests", after_many).beside(after_few, "after 1,000");
    Ok(row.at_most_times(1.05))
}

async fn request(function: &Function, times: usize) -> Result<()> {
    let event = webhook();
    for _ in 0..times {
        invoke(function, &event).await?;
    }
    Ok(())
}
