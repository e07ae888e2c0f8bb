//! What all parts of a simulated world share: its clock, its chance, its services, its story.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use harness::{AwsModel, BucketModel, QueueSettings};
use relay_core::endpoints::Form;
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::heap::{self, Heap};
use crate::ledger::{self, CRM, Ledger};
use crate::memory::Memory;
use crate::scenario::{
    ADDRESS_SECRET, Clock, Endpoint, MINUTE, Mishap, Mistake, Operation, Place, SECOND, Scenario, Trouble,
};

/// When the simulation begins, in milliseconds since 1970.
pub const EPOCH: u64 = 1_796_040_000_000;

pub const QUEUE: &str = "relay";
pub const DEAD_LETTERS: &str = "relay-dead";
pub const ARCHIVE: &str = "archive";
pub const DELIVERIES: &str = "deliveries";
pub const BLUEPRINT_PARAMETER: &str = "/relay/blueprint";
pub const ADDRESS_SECRET_PARAMETER: &str = "/relay/address-secret";
/// Continuations of replay.
pub const REPLAY_QUEUE: &str = "relay-replay";
pub const REPLAY_DEAD_LETTERS: &str = "relay-replay-dead";

/// The world of one seed.
pub struct Simulation {
    start: Instant,
    state: Mutex<State>,
    /// Something was put on the queue, or became visible.
    pub queued: Notify,
    /// Segment has something to pass on.
    pub passing: Notify,
}

pub struct State {
    pub scenario: Scenario,
    pub rng: Rng,
    pub aws: AwsModel,
    /// Of the archive.
    pub bucket: BucketModel,
    pub ledger: Ledger,
    /// The keys that a destination takes, and until when.
    pub keys: BTreeMap<Place, Vec<(String, u64)>>,
    /// The tokens of Vero's route, the newest last.
    pub tokens: Vec<String>,
    /// What Segment is about to pass on to this relay.
    pub passed_on: Vec<String>,
    pub memory: Memory,
    /// What replay still forgets, through its own queue: how such a row is known, and the objects.
    pub forgetting: Vec<(String, Vec<String>)>,
    /// The destination that the operator has paused.
    pub paused: &'static str,
    /// What the operator has got wrong.
    pub mistake: Option<Mistake>,
    /// How often each mishap has met something.
    pub mishaps: BTreeMap<(Place, Mishap), u64>,
    /// The most that any process of a function held when it was done, and ever had.
    pub heaps: BTreeMap<Place, Heap>,
    /// Milliseconds since the simulation began.
    pub now: u64,
    trace: u64,
    /// Everything that happened, if somebody wants to read it.
    pub story: Option<Vec<String>>,
}

impl Simulation {
    pub fn new(scenario: Scenario, tells: bool) -> Arc<Self> {
        let mut aws = AwsModel::default();
        let visibility = Duration::from_secs(150);
        let dead_letter = Some(DEAD_LETTERS.to_owned());
        aws.add_queue(QUEUE, QueueSettings { visibility, max_receive_count: 10, dead_letter });
        let visibility = Duration::from_secs(960);
        let dead_letter = Some(REPLAY_DEAD_LETTERS.to_owned());
        aws.add_queue(REPLAY_QUEUE, QueueSettings { visibility, max_receive_count: 5, dead_letter });
        aws.add_stream(ARCHIVE);
        aws.add_stream(DELIVERIES);
        let mut state = State {
            rng: Rng::with_seed(scenario.seed ^ 0x5eed),
            aws,
            bucket: BucketModel::default(),
            ledger: Ledger::of(&scenario),
            keys: BTreeMap::new(),
            tokens: vec![token(0)],
            passed_on: Vec::new(),
            memory: Memory::default(),
            forgetting: Vec::new(),
            paused: "",
            mistake: None,
            mishaps: BTreeMap::new(),
            heaps: BTreeMap::new(),
            now: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            story: tells.then(Vec::new),
            scenario,
        };
        state.aws.set_parameter(ADDRESS_SECRET_PARAMETER, ADDRESS_SECRET);
        for place in [Place::Segment, Place::Vero, Place::Endpoint] {
            state.rotate(place, u64::MAX);
        }
        state.write_documents();
        let (start, state) = (Instant::now(), Mutex::new(state));
        Arc::new(Simulation { start, state, queued: Notify::new(), passing: Notify::new() })
    }

    /// Milliseconds since the simulation began.
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.now();
        state
    }

    /// A call over the network. `serve` does what the other side does, and says which events of ours it has taken: the
    /// caller may get them done twice until it has the answer. `None`: the connection broke.
    pub async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        place: Place,
        serve: impl FnOnce(&mut State, Option<Mishap>) -> (T, Vec<String>) + Send + 'static,
    ) -> Option<T> {
        let (mishap, there, back) = {
            let mut state = self.lock();
            (state.mishap(place), state.latency(), state.latency())
        };
        let (answer, answered) = oneshot::channel();
        let simulation = Arc::clone(self);
        // On its own: what the other side does goes on when the caller has gone.
        tokio::spawn(async move {
            sleep(there).await;
            match mishap {
                Some(Mishap::Breaks) => return,
                Some(Mishap::Hangs) => {
                    sleep(Duration::from_secs(120)).await;
                    return;
                }
                Some(Mishap::Slow) => {
                    let slow = simulation.lock().rng.u64(SECOND..3_500);
                    sleep(Duration::from_millis(slow)).await;
                }
                _ => (),
            }
            let (response, taken) = {
                let mut state = simulation.lock();
                let (response, taken) = serve(&mut state, mishap);
                state.ledger.unanswered(place, &taken);
                (response, taken)
            };
            simulation.queued.notify_one();
            match mishap {
                Some(Mishap::AnswerLost) => return,
                Some(Mishap::AnswerLate) => {
                    let late = simulation.lock().rng.u64(SECOND..MINUTE);
                    sleep(Duration::from_millis(late)).await;
                }
                _ => (),
            }
            sleep(back).await;
            // The caller may have gone.
            let _ = answer.send((response, taken));
        });
        let (response, taken) = answered.await.ok()?;
        // Of whom a success says nothing without the end of its body.
        let is_unread = mishap == Some(Mishap::AnswerCut) && matches!(place, Place::Vero | Place::Firehose);
        if is_unread {
            return Some(response);
        }
        let part = match place {
            Place::Segment => Some(ledger::SEGMENT),
            Place::Vero => Some(ledger::VERO),
            Place::Endpoint => Some(ledger::ENDPOINT),
            Place::Firehose => Some(ledger::ARCHIVE),
            _ => None,
        };
        self.lock().ledger.answered(place, &taken, part);
        Some(response)
    }
}

impl State {
    /// What goes wrong with a call to there, if anything.
    pub fn mishap(&mut self, place: Place) -> Option<Mishap> {
        let now = self.now;
        let State { scenario, rng, .. } = self;
        let met = |trouble: &&Trouble| trouble.place == place && trouble.is_on(now);
        let mishap = scenario.troubles.iter().filter(met).find(|trouble| rng.f64() < trouble.rate)?.mishap;
        *self.mishaps.entry((place, mishap)).or_default() += 1;
        self.tell(|| format!("{place:?}: {mishap}"));
        Some(mishap)
    }

    /// Whether one of two things that may go wrong there does so now.
    pub fn meets(&mut self, place: Place, mishap: Mishap) -> bool {
        let now = self.now;
        let State { scenario, rng, .. } = self;
        let met =
            |trouble: &&Trouble| trouble.place == place && trouble.mishap == mishap && trouble.is_on(now);
        let meets = scenario.troubles.iter().filter(met).any(|trouble| rng.f64() < trouble.rate);
        if meets {
            *self.mishaps.entry((place, mishap)).or_default() += 1;
        }
        meets
    }

    /// A process is done with an invocation, and has this on its heap.
    pub fn rests(&mut self, place: Place, name: &str, heap: Heap) {
        self.heaps.entry(place).or_default().widen(&heap);
        let limits = heap::limits(place);
        if heap.held > limits.held {
            self.ledger
                .violation(self.now, format!("{name} holds {} bytes between two invocations", heap.held));
        }
        if heap.most > limits.most {
            self.ledger.violation(self.now, format!("{name} had {} bytes on its heap", heap.most));
        }
    }

    fn latency(&mut self) -> Duration {
        // Mostly some milliseconds, seldom a part of a second: below every time-out, there and back.
        let most = [5, 5, 5, 20, 20, 100, 350][self.rng.usize(..7)];
        Duration::from_millis(2 + self.rng.u64(0..most))
    }

    /// What the clock on the wall says.
    pub fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(EPOCH + self.now)
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        // FNV-1a, 64 bits: the same on every machine.
        for byte in self.now.to_be_bytes().iter().chain(line.as_bytes()) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(story) = &mut self.story {
            story.push(format!("{} {line}", Clock(self.now)));
        }
    }

    /// The hash of everything that happened.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// A new key for a destination; the one before is good until `until`.
    fn rotate(&mut self, place: Place, until: u64) {
        let keys = self.keys.entry(place).or_default();
        if let Some((_, ends)) = keys.last_mut() {
            *ends = until;
        }
        if place == Place::Endpoint {
            let secret =
                format!("whsec_{}", STANDARD.encode(format!("secret-of-the-endpoint-{:04}", keys.len())));
            keys.push((secret, u64::MAX));
            self.write_documents();
            return;
        }
        let key = format!("key-{place:?}-{}", keys.len()).to_lowercase();
        self.aws.set_parameter(parameter(place), &key);
        keys.push((key, u64::MAX));
    }

    /// Puts the rules and the endpoint's settings into SSM.
    fn write_documents(&mut self) {
        // The new secret and the one before.
        let secrets = self.keys[&Place::Endpoint].iter().rev().take(2);
        let secrets: Vec<&String> = secrets.map(|(secret, _)| secret).collect();
        let settings = endpoint_settings(&secrets, self.scenario.endpoint);
        let rules = self.scenario.rules.unwrap_or_default();
        for (parameter, document) in
            [(parameter(Place::Endpoint), settings.as_str()), (BLUEPRINT_PARAMETER, rules)]
        {
            let is_wrong = self.mistake == Some(Mistake::Document);
            self.aws.set_parameter(parameter, if is_wrong { "{" } else { document });
        }
    }

    pub fn takes_key(&self, place: Place, key: &str) -> bool {
        let keys = self.keys.get(&place);
        keys.into_iter().flatten().any(|(known, until)| known == key && self.now < *until)
    }

    pub fn operate(&mut self, operation: &Operation) {
        self.tell(|| format!("operator: {operation:?}"));
        match operation {
            Operation::Deploy | Operation::Replay { .. } | Operation::Forget { .. } => (),
            Operation::Pause(destination) => self.paused = destination,
            Operation::Resume => self.paused = "",
            Operation::Mistake(mistake) => {
                self.mistake = Some(*mistake);
                self.write_documents();
            }
            Operation::Mend => {
                self.mistake = None;
                self.write_documents();
            }
            Operation::RotateToken => self.tokens.push(token(self.tokens.len())),
            Operation::RotateKey(place) => self.rotate(*place, self.now + 20 * MINUTE),
            Operation::Redrive => self.redrive(),
        }
    }

    /// Sends again what lies in the dead-letter queue.
    fn redrive(&mut self) {
        for (id, body) in self.aws.take_all(DEAD_LETTERS) {
            let new = self.aws.put(QUEUE, &body, EPOCH + self.now).unwrap_or_default();
            self.ledger.moved(&id, &new, &body, self.now);
        }
    }
}

/// The settings of the endpoint.
pub fn endpoint_settings(secrets: &[&String], endpoint: Option<Endpoint>) -> String {
    let Endpoint { max_events, form } = endpoint.unwrap_or(Endpoint { max_events: 1, form: Form::Received });
    let payload = if form == Form::Segment { "segment" } else { "received" };
    let headers = json!({"x-customer": "a-customer-s-own-key"});
    let crm = json!({"url": "https://endpoint.test/hook", "secrets": secrets, "max_events": max_events,
        "payload": payload, "headers": headers});
    json!({ CRM: crm }).to_string()
}

fn token(number: usize) -> String {
    format!("token-{number}-that-opens-the-route-for-vero")
}

/// The SSM parameter that holds a destination's key.
pub fn parameter(place: Place) -> &'static str {
    match place {
        Place::Vero => "/relay/vero-token",
        Place::Endpoint => "/relay/endpoints",
        _ => "/relay/segment-key",
    }
}
