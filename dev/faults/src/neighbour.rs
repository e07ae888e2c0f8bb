//! A healthy destination beside a hanging one: how long it waits for its events, compared with being alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Behaviour, When};

use crate::programs::Programs;
use crate::report::Report;
use crate::rig::{Destination, EVENTS_A_REQUEST, Rig};

const EVENTS: usize = 100;
const ROUNDS: usize = 5;
/// What a request takes at the healthy one.
const ANSWERS_IN: Duration = Duration::from_millis(50);

pub async fn run(programs: &Programs) -> Result<Report> {
    let mut report = Report {
        title: "A healthy destination beside one that hangs".into(),
        head: vec!["healthy", "alone", "beside", "ratio", "aim"],
        legend: format!(
            "From the batch of {EVENTS} events to the last answer of the healthy destination, which takes {ANSWERS_IN:?} for
each; medians of {ROUNDS}, each by a fresh process, taken in turn. Alone: the others are switched off; beside: they hang."
        ),
        ..Report::default()
    };
    for healthy in Destination::ALL {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(latency(&Rig::alone(programs, healthy).await?, healthy).await?);
            beside.push(latency(&Rig::start(programs).await?, healthy).await?);
        }
        let (alone, beside) = (median(alone), median(beside));
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        let row = [healthy.name().to_owned(), ms(alone), ms(beside), format!("{ratio:.2}"), "1.20".into()];
        report.rows.push(row.into());
    }
    Ok(report)
}

async fn latency(rig: &Rig, healthy: Destination) -> Result<Duration> {
    rig.worker.init_duration().await?;
    rig.receiver(healthy).behave(Behaviour::Slow(ANSWERS_IN), When::always());
    for other in healthy.neighbours() {
        rig.receiver(other).behave(Behaviour::Hang, When::always());
    }
    rig.enqueue(EVENTS)?;
    let expected = match healthy {
        Destination::Segment => 1,
        Destination::Vero => EVENTS,
        Destination::Endpoint => EVENTS.div_ceil(EVENTS_A_REQUEST),
    };
    let start = Instant::now();
    let answered = || rig.receiver(healthy).answered() == expected;
    tokio::select! {
        done = harness::eventually(Duration::from_secs(20), answered) => done?,
        // Alone it is over sooner than we look.
        invocation = rig.step(EVENTS) => ensure!(invocation.is_some() && answered(), "the batch ended without it"),
    }
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
