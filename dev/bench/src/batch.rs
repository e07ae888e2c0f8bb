//! `worker` and one large batch.

use anyhow::{Result, ensure};
use harness::{Receiver, Sqs, sqs_event};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::scene::{Scene, invoke, median, memory, webhook};
use crate::table::{Figure, Row};

const BATCH: usize = 600;
/// How often the batch is handed to the worker.
const BATCHES: usize = 5;

/// What becomes of the batch.
pub async fn whole(binaries: &Binaries) -> Result<Vec<Row>> {
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
    let each = Figure::Count(BATCH);
    Ok(vec![
        Row::new("worker, Segment calls for 600 webhooks", Figure::Count(segment.count().div_ceil(BATCHES)))
            .beside(each, "webhooks")
            .at_most(Figure::Count(3)),
        Row::new("worker, Vero calls for 600 webhooks", Figure::Count(vero.count().div_ceil(BATCHES)))
            .beside(each, "webhooks"),
        Row::new("worker, connections to Vero", Figure::Count(vero.connections()))
            .beside(Figure::Count(vero.count()), "calls"),
        Row::new("worker, time for 600 webhooks", Figure::Time(median(times))),
        Row::new("worker, resident after 3,000 webhooks", memory(&worker)?),
    ])
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
