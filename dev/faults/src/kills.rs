//! Processes that die at any moment: the worker amid a batch, ingest between webhooks and amid them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use harness::{Behaviour, FunctionError, When};

use crate::account::Account;
use crate::ingest::Ingest;
use crate::programs::Programs;
use crate::report::Report;
use crate::rig::{Destination, Rig, webhook};

const ROUNDS: usize = 50;
/// Rounds side by side.
const SIDE_BY_SIDE: usize = 5;
/// Events a round, all in one batch.
const EVENTS: usize = 500;
/// The worker dies up to so many times a round. The queue would let it die ten times.
const MOST_KILLS: usize = 3;

const WEBHOOKS: usize = 500;

#[derive(Default)]
struct Round {
    /// Kills amid a batch.
    killed: usize,
    /// Kills before or after one.
    idle: usize,
    /// Lost and doubled, by destination, and then in the archive.
    counts: [(usize, usize); 4],
    failures: Vec<String>,
}

/// Fifty batches of which the worker does not see the end, and five hundred webhooks to an ingest that keeps dying.
pub async fn run(programs: &Programs, seed: u64) -> Result<Vec<Report>> {
    Ok(vec![worker(programs, seed).await?, ingest(programs, seed).await?])
}

async fn worker(programs: &Programs, seed: u64) -> Result<Report> {
    let undisturbed = undisturbed(programs).await?;
    let rounds = stream::iter(0..ROUNDS)
        .map(|number| round(programs, Rng::with_seed(seed + number as u64), undisturbed))
        .buffer_unordered(SIDE_BY_SIDE);
    let rounds: Vec<Round> = rounds.try_collect().await?;
    let killed: usize = rounds.iter().map(|round| round.killed).sum();
    let idle: usize = rounds.iter().map(|round| round.idle).sum();
    let mut report = Report {
        title: "The worker killed at random moments".into(),
        head: vec!["at", "events", "lost", "doubled"],
        legend: format!(
            "{ROUNDS} rounds of {EVENTS} events in one batch, which takes {undisturbed:.1?} undisturbed; Vero answers every fourth
request with 503, so that copies are under way too. SIGKILL {killed} times amid a batch and {idle} times beside one;
seed {seed}. What was received came back by its visibility timeout. Doubled: with the same messageId or data."
        ),
        ..Report::default()
    };
    let names = Destination::ALL.map(Destination::name).into_iter().chain(["archive"]);
    for (index, name) in names.enumerate() {
        let counts = rounds.iter().map(|round| round.counts[index]);
        let (lost, doubled) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let cells = [ROUNDS * EVENTS, lost, doubled].map(|count| count.to_string());
        report.rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    if killed < ROUNDS / 2 {
        report.failures.push(format!("only {killed} kills met a batch"));
    }
    report.failures.extend(rounds.into_iter().flat_map(|round| round.failures));
    Ok(report)
}

/// A rig whose batch takes about a second.
async fn slow_rig(programs: &Programs) -> Result<Rig> {
    let rig = Rig::with_archive(programs).await?;
    rig.worker.init_duration().await?;
    let takes = |after_ms| Behaviour::Slow(Duration::ZERO).after(Duration::from_millis(after_ms));
    rig.segment.behave(takes(3_000), When::always());
    rig.vero.behave(takes(20), When::always());
    rig.vero.behave(Behaviour::status(503), When::every(4));
    rig.endpoint.behave(takes(200), When::always());
    Ok(rig)
}

async fn undisturbed(programs: &Programs) -> Result<Duration> {
    let rig = slow_rig(programs).await?;
    rig.enqueue(EVENTS)?;
    Ok(rig.step(EVENTS).await.context("no batch")?.took)
}

async fn round(programs: &Programs, mut rng: Rng, undisturbed: Duration) -> Result<Round> {
    let rig = slow_rig(programs).await?;
    let ids = rig.enqueue(EVENTS)?;
    let mut round = Round::default();
    for _ in 0..rng.usize(1..=MOST_KILLS) {
        let kill = async {
            tokio::time::sleep(undisturbed.mul_f64(rng.f64())).await;
            rig.worker.kill().await;
        };
        let (invocation, ()) = tokio::join!(rig.step(EVENTS), kill);
        match invocation.map(|invocation| invocation.result) {
            Some(Err(FunctionError::Died(_))) => round.killed += 1,
            // Before it got as far as asking for the batch.
            Some(Err(FunctionError::Init(_))) => round.idle += 1,
            Some(Err(error)) => round.failures.push(error.to_string()),
            _ => round.idle += 1,
        }
        rig.make_all_due();
    }
    rig.segment.recover();
    rig.vero.recover();
    rig.endpoint.recover();
    if !rig.drain(EVENTS).await? {
        round.failures.push("the queue was not empty in the end".into());
    }
    for (index, destination) in Destination::ALL.into_iter().enumerate() {
        // The dead cannot count their doublings.
        let account = Account { late: 0, ..Account::of(&rig, destination, &ids, &[]) };
        round.counts[index] = (account.lost.len(), account.doubled);
        let failures = account.failures(true).into_iter();
        round.failures.extend(failures.map(|failure| format!("{}: {failure}", destination.name())));
    }
    let archived = rig.archived()?;
    let lost = ids.iter().filter(|id| !archived.contains_key(*id)).count();
    round.counts[Destination::ALL.len()] = (lost, archived.values().map(|rows| rows - 1).sum());
    if lost > 0 || archived.len() > ids.len() {
        round.failures.push(format!("the archive lacks {lost} events, or has others"));
    }
    if let Some(letter) = rig.dead.messages().first() {
        round.failures.push(format!("among the dead letters: {}", letter.body));
    }
    Ok(round)
}

async fn ingest(programs: &Programs, seed: u64) -> Result<Report> {
    let mut rng = Rng::with_seed(seed);
    let rig = Rig::start(programs).await?;
    let ingest = Ingest::start(programs, &rig).await?;
    let (mut promised, mut between, mut unanswered) = (Vec::new(), 0, 0);
    for webhook in (0..WEBHOOKS).map(webhook) {
        match rng.u8(0..10) {
            0 => {
                ingest.function.kill().await;
                between += 1;
            }
            1 => {
                let kill = async {
                    tokio::time::sleep(Duration::from_micros(rng.u64(0..8_000))).await;
                    ingest.function.kill().await;
                };
                let (answer, ()) = tokio::join!(ingest.post(&webhook), kill);
                match answer {
                    Ok(answer) => promised.extend(answer.ids),
                    Err(_) => unanswered += 1,
                }
                continue;
            }
            _ => {}
        }
        let answer = ingest.post(&webhook).await?;
        ensure!(answer.status == 202, "ingest answered {}", answer.status);
        promised.extend(answer.ids);
    }
    let queued: Vec<String> =
        rig.queue.bodies().iter().filter_map(|envelope| Some(envelope["id"].as_str()?.to_owned())).collect();
    let lost = promised.iter().filter(|id| !queued.contains(id)).count();
    let mut report = Report {
        title: "Ingest killed".into(),
        head: vec!["webhooks", "answered 202", "not answered", "queued", "lost"],
        legend: format!(
            "SIGKILL {between} times between two webhooks, and at a random moment of others: of these some got no answer, and are
queued or not. Lost: answered 202, but not queued. Seed {seed}."
        ),
        ..Report::default()
    };
    let cells = [WEBHOOKS, promised.len(), unanswered, queued.len(), lost];
    report.rows.push(cells.map(|count| count.to_string()).into());
    if lost > 0 || queued.len() > promised.len() + unanswered {
        report.failures.push("what was answered and what is queued do not agree".into());
    }
    Ok(report)
}
