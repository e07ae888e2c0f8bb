//! One seed, from its beginning to its end.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::bucket;
use crate::checks;
use crate::heap::Heap;
use crate::lambda::Lambda;
use crate::logs;
use crate::scenario::{HOUR, MINUTE, Mishap, Mistake, Operation, Place, Scenario};
use crate::state::{QUEUE, REPLAY_QUEUE, Simulation, State};

/// After the last trouble everything has settled within this time.
const HEALING: u64 = 4 * HOUR;

/// By then the hourly requeue has read what was logged last.
const REQUEUED: u64 = 2 * HOUR + 15 * MINUTE;

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    /// What did not hold first, and what with it; empty if all did.
    pub violations: Vec<String>,
    /// The hash of everything that happened.
    pub trace: u64,
    /// Everything that happened, if it was asked for.
    pub story: Vec<String>,
    pub events: usize,
    pub deliveries: usize,
    /// Deliveries after the first.
    pub repeated: usize,
    /// What came to Segment or Vero again, and was taken for something new.
    pub doubled: usize,
    /// Invocations of the worker that died, ran out of time, or could not begin.
    pub failures: u64,
    pub mishaps: BTreeMap<(Place, Mishap), u64>,
    /// The most that a process of each function held on its heap when it was done, and ever had.
    pub heaps: BTreeMap<Place, Heap>,
    /// How long it took until all was settled after the last trouble, in milliseconds.
    pub healing: u64,
}

/// Plays a scenario, on a thread of its own: whatever a process keeps for a thread begins anew.
///
/// # Errors
/// If a function panics.
pub fn play(scenario: Scenario, tells: bool) -> Result<Report> {
    // What a program makes once, and keeps, must not count for the first process that needs it.
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        for seed in 0..10 {
            let _ = play_anew(Scenario::of(seed, 4), false);
        }
    });
    play_anew(scenario, tells)
}

fn play_anew(scenario: Scenario, tells: bool) -> Result<Report> {
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
    let failed = Arc::clone(&simulation.lock().ledger.failed);
    // What comes after the first violation says little, and may be without end.
    tokio::select! {
        biased;
        () = failed.notified() => (),
        () = day(&simulation, &scenario) => (),
    }
    report(&simulation.lock())
}

/// From the beginning until everything has settled.
async fn day(simulation: &Arc<Simulation>, scenario: &Scenario) {
    let lambda = Lambda::new(Arc::clone(simulation));
    tokio::task::spawn_local(Rc::clone(&lambda).feed());
    tokio::task::spawn_local(Rc::clone(&lambda).requeue());
    tokio::task::spawn_local(Rc::clone(&lambda).go_on());
    tokio::task::spawn_local(Rc::clone(&lambda).pass_on());
    tokio::spawn(bucket::fill(Arc::clone(simulation)));
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
        if state.mistake.is_some() {
            state.operate(&Operation::Mend);
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
    checks::all(state);
}

async fn operate(lambda: Rc<Lambda>, operations: Vec<(u64, Operation)>) {
    for (at, operation) in operations {
        sleep(Duration::from_millis(at.saturating_sub(lambda.simulation.now()))).await;
        lambda.simulation.lock().operate(&operation);
        if matches!(
            operation,
            Operation::Deploy
                | Operation::RotateToken
                | Operation::Pause(_)
                | Operation::Resume
                | Operation::Mistake(Mistake::Variable(_))
                | Operation::Mend
        ) {
            lambda.deploy();
        }
        match operation {
            Operation::Replay { hours, destination } => {
                tokio::task::spawn_local(Rc::clone(&lambda).replay(hours, destination));
            }
            Operation::Forget { user } => {
                tokio::task::spawn_local(Rc::clone(&lambda).forget(user));
            }
            _ => (),
        }
        lambda.simulation.queued.notify_one();
    }
}

/// How many messages are on the queue, but for those of a later release, and on that of replay.
fn left(state: &State) -> usize {
    let queues = [QUEUE, REPLAY_QUEUE].into_iter();
    queues.flat_map(|queue| state.aws.messages(queue)).filter(|(_, body)| !is_later(body)).count()
}

fn is_later(body: &str) -> bool {
    body.contains(r#""version":2"#)
}

fn report(state: &State) -> Report {
    let ledger = &state.ledger;
    let deliveries = || ledger.events.values().flat_map(|event| event.deliveries.values());
    Report {
        seed: state.scenario.seed,
        violations: ledger.violations.clone(),
        trace: state.trace(),
        story: state.story.clone().unwrap_or_default(),
        events: ledger.events.len(),
        deliveries: deliveries().map(Vec::len).sum(),
        repeated: deliveries().map(|times| times.len() - 1).sum(),
        doubled: state.memory.doubled,
        failures: ledger.failures,
        mishaps: state.mishaps.clone(),
        heaps: state.heaps.clone(),
        healing: state.now.saturating_sub(state.scenario.end),
    }
}
