//! A newsletter's worth of webhooks at once, while SQS throttles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::{join_all, try_join_all};
use harness::{EventSource, Fault, When};
use serde_json::Value;

use crate::account::Account;
use crate::ingest::{Ingest, Posted};
use crate::programs::Programs;
use crate::report::Report;
use crate::rig::{Destination, Rig, webhook};

const WEBHOOKS: usize = 10_000;
/// Every second webhook comes alone, the others in arrays of so many.
const ARRAY: usize = 25;
const INGESTS: usize = 8;
const WORKERS: usize = 2;
const BATCH: usize = 100;
/// SQS throttles for so long, then does not for so long.
const THROTTLED: Duration = Duration::from_millis(500);
const QUIET: Duration = Duration::from_millis(1_500);

/// Ten thousand webhooks, as fast as the machine takes them.
pub async fn run(programs: &Programs) -> Result<Report> {
    let rig = Rig::start(programs).await?;
    let ingests = try_join_all((0..INGESTS).map(|_| Ingest::start(programs, &rig))).await?;
    let workers = try_join_all((0..WORKERS).map(|_| rig.another_worker(programs))).await?;
    let start = Instant::now();
    let done = AtomicBool::new(false);
    let is_going_on = || !done.load(Ordering::Relaxed);
    let posting = async {
        let posted =
            try_join_all(ingests.iter().zip(shares()).map(|(ingest, share)| post(ingest, share))).await;
        done.store(true, Ordering::Relaxed);
        posted.map(|posted| (posted, start.elapsed()))
    };
    let draining = workers.iter().map(async |worker| {
        let source = EventSource { batch_size: BATCH, ..EventSource::default() };
        while is_going_on() {
            source.drain(worker, &rig.queue).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let throttling = async {
        while is_going_on() {
            let sends = When::always().operation("SendMessage").operation("SendMessageBatch");
            rig.sqs.fail(Fault::Throttle, sends);
            tokio::time::sleep(THROTTLED).await;
            rig.sqs.recover();
            tokio::time::sleep(QUIET).await;
        }
    };
    let (posted, _, ()) = tokio::join!(posting, join_all(draining), throttling);
    let (posted, took) = posted?;
    let posted: Vec<Posted> = posted.into_iter().flatten().collect();
    let unqueued: Vec<String> = ingests.iter().flat_map(Ingest::unqueued).collect();
    for envelope in &unqueued {
        rig.queue.send(envelope.as_str())?;
    }
    let is_empty = rig.drain(BATCH).await?;
    let ids: Vec<String> = posted.iter().flat_map(|posted| posted.ids.clone()).collect();
    let throttled = rig.sqs.calls().iter().filter(|call| call.status == Some(400)).count();
    let mut report = Report {
        title: "A burst".into(),
        head: vec!["at", "webhooks", "lost", "doubled", "dead letters"],
        legend: format!(
            "Posted in {:.1} s ({:.0} a second) through {INGESTS} processes of ingest, half of them alone, half in arrays of {ARRAY};
{WORKERS} workers drained the queue meanwhile, in batches of {BATCH}. SQS throttled a quarter of the time: {throttled} calls. {} requests
were answered 503, and {} webhooks sent again from the log.",
            took.as_secs_f64(),
            WEBHOOKS as f64 / took.as_secs_f64(),
            posted.iter().filter(|posted| posted.status == 503).count(),
            unqueued.len(),
        ),
        ..Report::default()
    };
    if ids.len() != WEBHOOKS {
        report.failures.push(format!("{} ids were given out", ids.len()));
    }
    if !is_empty {
        report.failures.push("the queue was not empty in the end".into());
    }
    for destination in Destination::ALL {
        let account = Account::of(&rig, destination, &ids, &[]);
        let counts = [ids.len(), account.lost.len(), account.doubled, account.dead.len()];
        let cells = counts.map(|count| count.to_string());
        report.rows.push(std::iter::once(destination.name().to_owned()).chain(cells).collect());
        let failures = account.failures(false).into_iter();
        report.failures.extend(failures.map(|failure| format!("{}: {failure}", destination.name())));
    }
    Ok(report)
}

/// The requests' bodies, dealt out.
fn shares() -> Vec<Vec<Value>> {
    let alone = (0..WEBHOOKS / 2).map(webhook);
    let arrays =
        (WEBHOOKS / 2..WEBHOOKS).step_by(ARRAY).map(|first| (first..first + ARRAY).map(webhook).collect());
    let mut shares = vec![Vec::new(); INGESTS];
    alone.chain(arrays).enumerate().for_each(|(number, body)| shares[number % INGESTS].push(body));
    shares
}

async fn post(ingest: &Ingest, bodies: Vec<Value>) -> Result<Vec<Posted>> {
    let mut posted = Vec::with_capacity(bodies.len());
    for body in &bodies {
        posted.push(ingest.post(body).await?);
    }
    Ok(posted)
}
