//! How soon ingest answers whatever SQS does: Vero waits 5 s, and ingest means to be done within 4.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use harness::{Fault, When};
use serde_json::json;

use crate::ingest::Ingest;
use crate::programs::Programs;
use crate::report::Report;
use crate::rig::Rig;

const POSTS: usize = 5;
const LIMIT: Duration = Duration::from_secs(4);

/// What befalls each call to SQS.
fn faults() -> Vec<(&'static str, Option<Fault>)> {
    vec![
        ("none", None),
        ("hang", Some(Fault::Hang)),
        ("reset", Some(Fault::Reset)),
        ("500", Some(Fault::Status(500))),
        ("throttle", Some(Fault::Throttle)),
        ("lost answer", Some(Fault::LostAnswer)),
        ("slow, 0.5 s", Some(Fault::Slow(Duration::from_millis(500)))),
        ("slow, 10 s", Some(Fault::Slow(Duration::from_secs(10)))),
    ]
}

/// Posts under each fault and takes the time.
pub async fn run(programs: &Programs) -> Result<Report> {
    let rows = try_join_all(faults().into_iter().map(|(name, fault)| row(programs, name, fault))).await?;
    let mut report = Report {
        title: "Ingest under SQS's faults".into(),
        head: vec!["every call to SQS", "answers", "median", "slowest"],
        legend: format!("{POSTS} webhooks each, the process's first among them. Limit: {LIMIT:?}."),
        ..Report::default()
    };
    for (row, slowest) in rows {
        if slowest > LIMIT {
            report.failures.push(format!("{}: an answer took {slowest:?}", row[0]));
        }
        report.rows.push(row);
    }
    Ok(report)
}

async fn row(programs: &Programs, name: &str, fault: Option<Fault>) -> Result<(Vec<String>, Duration)> {
    let rig = Rig::start(programs).await?;
    if let Some(fault) = fault {
        rig.sqs.fail(fault, When::always());
    }
    let ingest = Ingest::start(programs, &rig).await?;
    let (mut times, mut answers) = (Vec::with_capacity(POSTS), Vec::new());
    for number in 0..POSTS {
        let start = Instant::now();
        answers.push(ingest.post(&json!({"type": "sent", "number": number})).await?.status.to_string());
        times.push(start.elapsed());
    }
    times.sort();
    answers.dedup();
    let (median, slowest) = (times[POSTS / 2], times[POSTS - 1]);
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    Ok((vec![name.to_owned(), answers.join(", "), seconds(median), seconds(slowest)], slowest))
}
