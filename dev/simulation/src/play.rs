//! One seed, from its beginning to its end.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::bucket;
use crate::lambda::Lambda;
use crate::ledger::{ARCHIVE, SEGMENT, VERO};
use crate::logs;
use crate::scenario::{HOUR, MINUTE, Mishap, Operation, Place, SECOND, Scenario, Send};
use crate::state::{QUEUE, Simulation, State};

/// After the last trouble everything has settled within this time.
const HEALING: u64 = 4 * HOUR;

/// By then the hourly requeue has read what was logged last.
const REQUEUED: u64 = 2 * HOUR + 15 * MINUTE;

/// A destination that is well, and was so for an hour, has an event within this time, plus what follows.
const PROMPT: u64 = 60 * SECOND;

/// A destination that fails holds up an invocation for so long (docs/delivery.md, "Time").
const HELD_UP: u64 = 10 * SECOND;

/// So many messages may lie before one's own: a newsletter and its copies.
const BEFORE: u64 = 80;

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    /// What did not hold; empty if all did.
    pub violations: Vec<String>,
    /// The hash of everything that happened.
    pub trace: u64,
    /// Everything that happened, if it was asked for.
    pub story: Vec<String>,
    pub events: usize,
    pub deliveries: usize,
    /// Deliveries after the first.
    pub doubled: usize,
    /// Invocations of the worker that died, ran out of time, or could not begin.
    pub failures: u64,
    pub mishaps: BTreeMap<(Place, Mishap), u64>,
    /// How long it took until all was settled after the last trouble, in milliseconds.
    pub healing: u64,
}

/// Plays a scenario, on a thread of its own: whatever a process keeps for a thread begins anew.
///
/// # Errors
/// If a function panics.
pub fn play(scenario: Scenario, tells: bool) -> Result<Report> {
    let seed = scenario.seed;
    let playing = thread::Builder::new().stack_size(16 << 20).spawn(move || {
        // The SDK's own chance.
        fastrand::seed(seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let set = LocalSet::new();
        Ok(set.block_on(&runtime, played(scenario, tells)))
    })?;
    playing.join().map_err(|_| anyhow!("seed {seed}: a panic"))?
}

async fn played(scenario: Scenario, tells: bool) -> Report {
    let simulation = Simulation::new(scenario.clone(), tells);
    let _reading = logs::read_along(&simulation);
    let lambda = Lambda::new(Arc::clone(&simulation));
    tokio::task::spawn_local(Rc::clone(&lambda).feed());
    tokio::task::spawn_local(Rc::clone(&lambda).requeue());
    tokio::task::spawn_local(Rc::clone(&lambda).go_on());
    tokio::spawn(bucket::fill(Arc::clone(&simulation)));
    tokio::task::spawn_local(operate(Rc::clone(&lambda), scenario.operations.clone()));
    for (number, (at, send)) in scenario.sends.iter().enumerate() {
        sleep(Duration::from_millis(at.saturating_sub(simulation.now()))).await;
        tokio::task::spawn_local(Rc::clone(&lambda).send(number, send.clone()));
    }
    sleep(Duration::from_millis(scenario.end.saturating_sub(simulation.now()))).await;
    {
        let mut state = simulation.lock();
        if !state.paused.is_empty() {
            state.operate(&Operation::Resume);
            lambda.deploy();
        }
        state.operate(&Operation::Redrive);
    }
    simulation.queued.notify_one();
    // SDKs still send what was not taken.
    let settled = loop {
        sleep(Duration::from_millis(5 * MINUTE)).await;
        let (left, now) = (left(&simulation.lock()), simulation.now());
        let is_quiet = left == 0 && lambda.running() == 0 && now > scenario.end + REQUEUED;
        if is_quiet || now > scenario.end + HEALING {
            break left;
        }
    };
    let mut guard = simulation.lock();
    let state = &mut *guard;
    state.ledger.settle(state.now, settled);
    if lambda.running() > 0 {
        state.ledger.violation(state.now, "a worker never ends".to_owned());
    }
    check_later(state);
    check_metrics(state);
    check_promptness(state);
    report(state)
}

async fn operate(lambda: Rc<Lambda>, operations: Vec<(u64, Operation)>) {
    for (at, operation) in operations {
        sleep(Duration::from_millis(at.saturating_sub(lambda.simulation.now()))).await;
        lambda.simulation.lock().operate(&operation);
        if matches!(operation, Operation::Deploy | Operation::Pause(_) | Operation::Resume) {
            lambda.deploy();
        }
        if let Operation::Replay { hours, destination } = operation {
            tokio::task::spawn_local(Rc::clone(&lambda).replay(hours, destination));
        }
        lambda.simulation.queued.notify_one();
    }
}

/// How many messages are on the queue, but for those of a later release.
fn left(state: &State) -> usize {
    state.aws.messages(QUEUE).filter(|(_, body)| !is_later(body)).count()
}

fn is_later(body: &str) -> bool {
    body.contains(r#""version":2"#)
}

/// What a later release has written waits for it.
fn check_later(state: &mut State) {
    for number in 0..state.scenario.sends.len() {
        let (at, send) = &state.scenario.sends[number];
        let name = format!(r#""later-{number}""#);
        let is_there = state.aws.messages(QUEUE).any(|(_, body)| body.contains(&name));
        if matches!(send, Send::Later) && *at < state.now && !is_there {
            state.ledger.violation(state.now, format!("{name}, of a later release, is lost"));
        }
    }
}

/// What the metrics say has happened, if no process died with its line unwritten.
fn check_metrics(state: &mut State) {
    if state.ledger.failures > 0 {
        return;
    }
    for (part, name) in [(SEGMENT, "Segment"), (VERO, "VeroTrack"), (ARCHIVE, "Archive")] {
        let said =
            |name: &str| state.ledger.metrics.get(&format!("{name}Accepted")).copied().unwrap_or_default();
        // Vero's tags are calls to Vero, too.
        let said = said(name) + if part == VERO { said("VeroTags") } else { 0 };
        let heard = state.ledger.acknowledged.get(part).copied().unwrap_or_default();
        if said != heard {
            let what = format!("{name}Accepted is {said}, but {heard} events were acknowledged");
            state.ledger.violation(state.now, what);
        }
        let doubled = state.ledger.events.values().filter(|event| event.is_doubled(part)).count();
        let counted = state.ledger.metrics.get(&format!("{name}MaybeDoubled")).copied().unwrap_or_default();
        // What SQS itself, ingest or a sender did twice, no worker can count.
        let outside = [Place::Queue, Place::Sqs, Place::Ingest];
        let is_ours = state.scenario.is_calm(&outside, 0, u64::MAX)
            && state.ledger.redriven + state.ledger.replayed == 0;
        if is_ours && (counted as usize) < doubled && part != ARCHIVE {
            let what = format!("{name} got {doubled} events twice, and {counted} are counted");
            state.ledger.violation(state.now, what);
        }
    }
}

/// A destination's trouble holds up no other's events.
fn check_promptness(state: &mut State) {
    let Scenario { concurrency, batch_size, batch_window, .. } = state.scenario;
    // Batches are half full on average.
    let batches = BEFORE / (concurrency * batch_size.div_ceil(2)) as u64 + 1;
    let prompt = PROMPT + HELD_UP * batches + 2 * batch_window;
    let mut late = Vec::new();
    for (id, event) in &state.ledger.events {
        for (part, place) in [(SEGMENT, Place::Segment), (VERO, Place::Vero), (ARCHIVE, Place::Firehose)] {
            let Some(first) = event.deliveries.get(part).and_then(|times| times.first()) else { continue };
            let from = event.queued_at;
            let ours = [Place::Sqs, Place::Queue, Place::Ssm, Place::Worker];
            let was_paused = state.scenario.has_operations(place, from, from + prompt);
            let is_calm = state.scenario.is_calm(&ours, from.saturating_sub(10 * MINUTE), from + prompt)
                && state.scenario.is_calm(&[place], from.saturating_sub(HOUR), from + prompt);
            if is_calm && !was_paused && first - from > prompt {
                late.push(format!("{id} came to {part} after {} s", (first - from) / SECOND));
            }
        }
    }
    for what in late {
        state.ledger.violation(state.now, what);
    }
}

fn report(state: &mut State) -> Report {
    let ledger = &state.ledger;
    let deliveries = || ledger.events.values().flat_map(|event| event.deliveries.values());
    Report {
        seed: state.scenario.seed,
        violations: ledger.violations.clone(),
        trace: state.trace(),
        story: state.story.clone().unwrap_or_default(),
        events: ledger.events.len(),
        deliveries: deliveries().map(Vec::len).sum(),
        doubled: deliveries().map(|times| times.len() - 1).sum(),
        failures: ledger.failures,
        mishaps: state.mishaps.clone(),
        healing: state.now.saturating_sub(state.scenario.end),
    }
}
