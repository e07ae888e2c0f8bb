//! `worker` and one large batch.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Receiver, Sqs, sqs_event};
use relay_core::mapping::segment::MAX_BATCH_BYTES;
use serde_json::Value;

use crate::binaries::Binaries;
use crate::scene::{Scene, invoke, median, memory, webhook};
use crate::table::{Figure, Row};

/// About as many webhooks as fit into the 6 MB of Lambda's largest event.
const BATCH: usize = 3_000;
/// How often the batch is handed to the worker.
const BATCHES: usize = 5;

/// What becomes of the batch.
pub async fn whole(binaries: &Binaries) -> Result<Batch> {
    let scene = Scene::of(Sqs::start().await?);
    let webhooks = queued(binaries, &scene).await?;
    let (segment, vero) = (Receiver::start().await?, Receiver::start().await?);
    let variables = [
        ("SEGMENT_WRITE_KEY", "key"),
        ("SEGMENT_ENDPOINT", segment.url()),
        ("VERO_AUTH_TOKEN", "token"),
        ("VERO_ENDPOINT", vero.url()),
    ];
    let worker = scene.function(&binaries.worker, &variables).await?;
    let ids: Vec<String> = (0..BATCH).map(|number| format!("message-{number}")).collect();
    let records: Vec<(&str, &str)> =
        ids.iter().zip(&webhooks).map(|(id, body)| (id.as_str(), body.as_str())).collect();
    let event = sqs_event(&records).to_string();
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let (response, time) = invoke(&worker, &event).await?;
        ensure!(response["batchItemFailures"] == Value::Array(vec![]), "the worker answered {response}");
        times.push(time);
    }
    let sent: usize = segment.segment_messages().iter().map(|message| message.to_string().len()).sum();
    let requests = (sent / BATCHES).div_ceil(MAX_BATCH_BYTES) + 1;
    let time = median(times);
    let logged = || worker.logs().iter().map(String::len).sum::<usize>() as f64;
    let log_bytes = logged() / BATCHES as f64;
    let (segment_calls, calls, connections) = (segment.count(), vero.count(), vero.connections());
    invoke(&worker, &sqs_event(&records[..1]).to_string()).await?;
    let log_bytes_of_one = logged() - log_bytes * BATCHES as f64;
    let rows = vec![
        Row::new("worker, Segment calls for 3,000 webhooks", Figure::Count(segment_calls.div_ceil(BATCHES)))
            .at_most(Figure::Count(requests)),
        Row::new("worker, Vero calls", Figure::Count(calls))
            .beside(Figure::Count(connections), "connections")
            .at_least_times(50.0),
        Row::new("worker, time for 3,000 webhooks", Figure::Time(time)),
        Row::new("worker, resident after 15,000 webhooks", memory(&worker)?)
            .at_most(Figure::Bytes(64_000_000)),
    ];
    Ok(Batch { rows, own: time / BATCH as u32, log_bytes_of_one, log_bytes })
}

pub struct Batch {
    pub rows: Vec<Row>,
    /// What a webhook takes of the worker and of the stand-ins, which answer at once.
    pub own: Duration,
    /// What the worker logs of a batch of one.
    pub log_bytes_of_one: f64,
    /// What it logs of the batch.
    pub log_bytes: f64,
}

/// A batch as ingest puts it on the queue.
async fn queued(binaries: &Binaries, scene: &Scene) -> Result<Vec<String>> {
    let ingest = scene.function(&binaries.ingest, &[]).await?;
    let event = webhook();
    for _ in 0..BATCH {
        invoke(&ingest, &event).await?;
    }
    Ok(scene.live.messages().into_iter().map(|message| message.body).collect())
}
