//! Lambda: instances that begin cold, are frozen between invocations and end at any point; the event source mapping
//! that feeds the worker; the Function URL before ingest. `replay`: what replay is run for.

mod replay;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::replay::Replay;
use harness::{ReceivedMessage, kept_after, url_event};
use ingest::Ingest;
use relay_platform::environment::Environment;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use worker::Worker;

use crate::bucket::BUCKET;
use crate::heap::outside;
use crate::instance::Process;
use crate::ledger::CRM;
use crate::scenario::{HOUR, MINUTE, Mishap, Mistake, Place, SECOND, WRONG};
use crate::senders::{SEGMENT_TOKEN, WRITE_KEY};
use crate::state::{
    ADDRESS_SECRET_PARAMETER, ARCHIVE, BLUEPRINT_PARAMETER, DEAD_LETTERS, DELIVERIES, EPOCH, QUEUE,
    REPLAY_QUEUE, Simulation, State, parameter,
};

/// Of the template.
const WORKER_TIMEOUT: Duration = Duration::from_secs(25);
const INGEST_TIMEOUT: Duration = Duration::from_secs(5);
/// SQS keeps a message for so long. The template has a week, which no day reaches; nothing may lie on the queue for half a
/// day either.
const RETENTION: u64 = 12 * HOUR;
/// Lambda's own, of an init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// 10 s that a failing destination may hold an invocation (docs/delivery.md, "Time"), and what comes before and after.
const HELD: u64 = 15 * SECOND;

pub struct Lambda {
    pub simulation: Arc<Simulation>,
    workers: RefCell<Pool<Worker>>,
    ingests: RefCell<Pool<Ingest>>,
    replays: RefCell<Pool<Replay>>,
    forgetting: Mutex<()>,
}

/// The instances of one function.
struct Pool<F> {
    place: Place,
    idle: Vec<Instance<F>>,
    running: usize,
    made: usize,
    /// Instances of an earlier deployment are not used again.
    deployment: usize,
}

struct Instance<F> {
    process: Rc<Process>,
    function: Rc<F>,
    idle_since: u64,
    deployment: usize,
    /// The destination that its configuration pauses.
    paused: &'static str,
}

impl<F> Pool<F> {
    fn of(place: Place) -> RefCell<Self> {
        RefCell::new(Pool { place, idle: Vec::new(), running: 0, made: 0, deployment: 0 })
    }

    fn deploy(&mut self) {
        self.deployment += 1;
        self.idle.clear();
    }
}

/// Why an invocation has no response.
#[derive(Debug)]
enum Failed {
    Init,
    Died,
    TimedOut,
}

impl Lambda {
    pub fn new(simulation: Arc<Simulation>) -> Rc<Self> {
        let (workers, ingests) = (Pool::of(Place::Worker), Pool::of(Place::Ingest));
        let (replays, forgetting) = (Pool::of(Place::Replay), Mutex::default());
        Rc::new(Lambda { simulation, workers, ingests, replays, forgetting })
    }

    /// New instances from now on: the configuration has changed, or the code.
    pub fn deploy(&self) {
        self.workers.borrow_mut().deploy();
        self.ingests.borrow_mut().deploy();
        self.replays.borrow_mut().deploy();
    }

    /// How many workers are at it.
    pub fn running(&self) -> usize {
        self.workers.borrow().running
    }

    fn environment(&self, paused: &str) -> Environment {
        // Of two tokens one is on its way out.
        let tokens: Vec<String> =
            self.simulation.lock().tokens.iter().rev().take(2).map(|token| harness::digest(token)).collect();
        let queue = |name: &str| format!("http://sqs.test/1/{name}");
        let has_archive = self.simulation.lock().scenario.has_archive;
        let has_endpoint = self.simulation.lock().scenario.endpoint.is_some();
        let rules = self.simulation.lock().scenario.rules;
        let mistake = match self.simulation.lock().mistake {
            Some(Mistake::Variable(which)) => WRONG[which],
            Some(Mistake::Document) | None => ("EVENT_NAMES", ""),
        };
        let of_archive = |stream| if has_archive { stream } else { "" };
        let (main, dead, own) = (queue(QUEUE), queue(DEAD_LETTERS), queue(REPLAY_QUEUE));
        Environment::of([
            ("AWS_REGION", harness::REGION),
            ("AWS_ACCESS_KEY_ID", "simulated"),
            ("AWS_SECRET_ACCESS_KEY", "simulated"),
            ("AWS_ENDPOINT_URL", "http://aws.test"),
            ("QUEUE_URL", &main),
            ("DEAD_LETTER_QUEUE_URL", &dead),
            ("WEBHOOK_TOKEN_SHA256", &tokens.join(",")),
            ("SEGMENT_TOKEN_SHA256", &harness::digest(SEGMENT_TOKEN)),
            ("WRITE_KEY_SHA256", &harness::digest(WRITE_KEY)),
            ("SEGMENT_WRITE_KEY_PARAMETER", parameter(Place::Segment)),
            ("SEGMENT_ENDPOINT", "https://segment.test"),
            ("VERO_AUTH_TOKEN_PARAMETER", parameter(Place::Vero)),
            ("VERO_ENDPOINT", "https://vero.test"),
            ("WEBHOOK_ENDPOINTS", if has_endpoint { CRM } else { "" }),
            ("WEBHOOK_ENDPOINT_SETTINGS_PARAMETER", parameter(Place::Endpoint)),
            ("BLUEPRINT_PARAMETER", if rules.is_some() { BLUEPRINT_PARAMETER } else { "" }),
            ("ADDRESS_HASH_SECRET_PARAMETER", ADDRESS_SECRET_PARAMETER),
            ("ARCHIVE_STREAM", of_archive(ARCHIVE)),
            ("DELIVERIES_STREAM", of_archive(DELIVERIES)),
            ("PAUSED_DESTINATIONS", paused),
            ("REPLAY_QUEUE_URL", &own),
            ("ARCHIVE_BUCKET", BUCKET),
            ("INGEST_LOG_GROUP", "/aws/lambda/ingest"),
            ("AWS_ENDPOINT_URL_S3", "https://s3.test"),
            mistake, // the last one of a name holds
        ])
    }

    /// At which step the process ends, if it does.
    fn end_of(&self, place: Place) -> Option<u32> {
        let mut state = self.simulation.lock();
        // An invocation has some dozens of steps: as likely early as late.
        state.meets(place, Mishap::Dies).then(|| 2u32.pow(state.rng.u32(0..9)) + state.rng.u32(0..8) - 1)
    }

    /// An instance that waits for work, or a new one.
    async fn instance<F, E: Display>(
        &self,
        pool: &RefCell<Pool<F>>,
        start: impl AsyncFnOnce(&Environment) -> Result<F, E>,
    ) -> Result<Instance<F>, Failed> {
        let now = self.simulation.now();
        let (place, kept) = {
            let mut pool = pool.borrow_mut();
            let mut state = self.simulation.lock();
            // Lambda takes back what was idle, and so frozen, for minutes or hours.
            let most = [45 * MINUTE, 8 * HOUR][state.rng.usize(..2)];
            let longest = state.rng.u64(5 * MINUTE..most);
            pool.idle.retain(|instance| now - instance.idle_since < longest);
            let which = (!pool.idle.is_empty()).then(|| state.rng.usize(..pool.idle.len()));
            (pool.place, which.map(|which| pool.idle.swap_remove(which)))
        };
        if let Some(instance) = kept {
            return Ok(instance);
        }
        let (name, deployment) = {
            let mut pool = pool.borrow_mut();
            pool.made += 1;
            (format!("{place:?}-{}", pool.made), pool.deployment)
        };
        self.simulation.lock().tell(|| format!("{name} begins"));
        let process = Process::new(&self.simulation, place, name);
        let paused = self.simulation.lock().paused;
        let environment = self.environment(paused);
        let starting = process.run(start(&environment), self.end_of(place));
        match timeout(INIT_TIMEOUT, starting).await {
            Ok(Some(Ok(function))) => {
                Ok(Instance { process, function: Rc::new(function), idle_since: 0, deployment, paused })
            }
            Ok(Some(Err(error))) => {
                self.simulation.lock().tell(|| format!("{} cannot begin: {error}", process.name));
                Err(Failed::Init)
            }
            Ok(None) | Err(_) => Err(Failed::Init),
        }
    }

    /// Invokes a function: what it answers, within its timeout, unless its process ends.
    async fn invoke<F, T>(
        &self,
        pool: &RefCell<Pool<F>>,
        instance: Instance<F>,
        limit: Duration,
        handle: impl AsyncFnOnce(&F) -> T,
    ) -> Result<T, Failed> {
        let place = pool.borrow().place;
        let function = Rc::clone(&instance.function);
        let running = instance.process.run(async move { handle(&function).await }, self.end_of(place));
        let result = timeout(limit, running).await;
        let name = &instance.process.name;
        match result {
            Ok(Some(response)) => {
                instance.process.rest();
                let mut pool = pool.borrow_mut();
                if instance.deployment == pool.deployment {
                    pool.idle.push(Instance { idle_since: self.simulation.now(), ..instance });
                }
                Ok(response)
            }
            Ok(None) => {
                self.simulation.lock().tell(|| format!("{name} dies"));
                Err(Failed::Died)
            }
            Err(_) => {
                let mut state = self.simulation.lock();
                state.tell(|| format!("{name} is out of time"));
                let now = state.now;
                state.ledger.violation(now, format!("{name} ran into its timeout"));
                Err(Failed::TimedOut)
            }
        }
    }

    /// A request to the Function URL: the status and the body of its response.
    pub async fn request(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        if self.simulation.lock().meets(Place::Ingest, Mishap::Starved) {
            return (429, Value::Null);
        }
        let event = to_raw(&url_event("POST", path, "", headers, body, false));
        let instance = match self.instance(&self.ingests, Ingest::start).await {
            Ok(instance) => instance,
            Err(_) => return (502, Value::Null),
        };
        let handle = async |ingest: &Ingest| {
            let response = ingest.handle(ingest::http::request::read(&event).into()).await;
            outside(|| {
                (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
            })
        };
        let answer = self.invoke(&self.ingests, instance, INGEST_TIMEOUT, handle).await;
        answer.unwrap_or((502, Value::Null))
    }

    /// Feeds the worker from the queue, for as long as the simulation lasts.
    pub async fn feed(self: Rc<Self>) {
        loop {
            let now = self.simulation.now();
            let due = self.simulation.lock().aws.next_due_ms(QUEUE);
            let wait = due.map_or(u64::MAX, |due| due.saturating_sub(EPOCH + now));
            if wait > 0 {
                let _ =
                    timeout(Duration::from_millis(wait.min(MINUTE)), self.simulation.queued.notified()).await;
                continue;
            }
            let (concurrency, window, is_starved) = {
                let mut state = self.simulation.lock();
                // Lambda waits for no more than what fills a batch.
                let visible = state.aws.visible(QUEUE, EPOCH + now);
                let is_full = visible >= state.scenario.batch_size;
                let window = state.scenario.batch_window.max(20);
                let wait = if is_full { 0 } else { state.rng.u64(0..=window) };
                (state.scenario.concurrency, wait, state.meets(Place::Worker, Mishap::Starved))
            };
            if is_starved {
                // It receives them all the same, and they come back by their visibility.
                for message in self.receive() {
                    self.simulation.lock().ledger.received_in_vain(&message.id);
                }
                sleep(Duration::from_secs(20)).await;
                continue;
            }
            if self.running() >= concurrency {
                self.simulation.queued.notified().await;
                continue;
            }
            sleep(Duration::from_millis(window)).await;
            let batch = self.receive();
            if batch.is_empty() {
                // Too many are in flight, or SQS has given up what there was.
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            self.workers.borrow_mut().running += 1;
            tokio::task::spawn_local(Rc::clone(&self).work(batch));
        }
    }

    fn receive(&self) -> Vec<ReceivedMessage> {
        let mut guard = self.simulation.lock();
        let state = &mut *guard;
        state.expire();
        let at_most = state.rng.usize(state.scenario.batch_size.div_ceil(2)..=state.scenario.batch_size);
        let in_flight = state.aws.in_flight(QUEUE, EPOCH + state.now);
        let at_most = at_most.min(state.scenario.in_flight.saturating_sub(in_flight));
        state.aws.shuffle(QUEUE, |below| state.rng.usize(..below));
        let (batch, given_up) = state.aws.receive(QUEUE, at_most, EPOCH + state.now);
        for message in given_up {
            state.ledger.given_up(&message, state.now);
        }
        for message in &batch {
            if state.meets(Place::Queue, Mishap::Twice) {
                state.ledger.came_back(&message.id);
                let (after, id) = (state.rng.u64(0..30 * SECOND), message.id.clone());
                let simulation = Arc::clone(&self.simulation);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(after)).await;
                    let mut state = simulation.lock();
                    let now = EPOCH + state.now;
                    state.aws.show_again(QUEUE, &id, now);
                    simulation.queued.notify_one();
                });
            }
        }
        batch
    }

    /// One batch: whatever the response does not name is deleted.
    async fn work(self: Rc<Self>, batch: Vec<ReceivedMessage>) {
        let records: Vec<&Value> = batch.iter().map(|message| &message.record).collect();
        let event = to_raw(&json!({ "Records": records }));
        let ids: Vec<&str> = batch.iter().map(|message| &*message.id).collect();
        let began = self.simulation.now();
        let response = match self.instance(&self.workers, Worker::start).await {
            Ok(instance) => {
                let name = instance.process.name.clone();
                let deadline = {
                    let mut state = self.simulation.lock();
                    state.tell(|| format!("{name} gets {}", ids.join(" ")));
                    state.ledger.batched(&ids, instance.paused);
                    state.wall() + WORKER_TIMEOUT
                };
                let handle = async |worker: &Worker| {
                    let response = worker.handle(&event, deadline).await.ok();
                    outside(|| response.as_ref().and_then(|response| serde_json::to_vec(response).ok()))
                };
                self.invoke(&self.workers, instance, WORKER_TIMEOUT, handle).await
            }
            Err(failed) => Err(failed),
        };
        let has_begun = !matches!(response, Err(Failed::Init));
        let response = response.ok().flatten();
        let kept = kept_after(response.as_deref(), &ids);
        {
            let mut guard = self.simulation.lock();
            let state = &mut *guard;
            if response.is_none() {
                state.ledger.count_failure(has_begun);
            }
            state.check_duration(began);
            for message in &batch {
                match kept.contains(&message.id) {
                    true if !has_begun => state.ledger.received_in_vain(&message.id),
                    true if response.is_none() => state.ledger.came_back(&message.id),
                    true => state.ledger.returned(&message.id, &message.body),
                    false if state.meets(Place::Queue, Mishap::NotDeleted) => {
                        state.ledger.came_back(&message.id);
                    }
                    false if state.aws.delete(QUEUE, &message.receipt) => {
                        state.ledger.deleted(&message.id, state.now);
                    }
                    // It was received again meanwhile.
                    false => (),
                }
            }
        }
        self.workers.borrow_mut().running -= 1;
        self.simulation.queued.notify_one();
    }
}

impl State {
    /// SQS deletes what it has kept for its time, whether anybody has seen it or not.
    fn expire(&mut self) {
        for message in self.aws.expire(QUEUE, (EPOCH + self.now).saturating_sub(RETENTION)) {
            self.tell(|| format!("SQS has kept {message} for its time"));
            self.ledger.deleted(&message, self.now);
        }
    }

    /// A destination that fails holds an invocation no longer than it may; one that takes all, if slowly, may longer.
    fn check_duration(&mut self, began: u64) {
        let lately = began.saturating_sub(MINUTE);
        let is_free = self.scenario.is_calm(&[Place::Sqs, Place::Ssm], lately, self.now)
            && !self.scenario.has_slow(lately, self.now);
        let lasted = self.now - began;
        if is_free && lasted > HELD {
            self.ledger.violation(self.now, format!("an invocation of the worker took {lasted} ms"));
        }
    }
}

fn to_raw(event: &Value) -> Box<RawValue> {
    // A JSON value is always JSON.
    to_raw_value(event).unwrap_or_default()
}
