//! What replay is run for: by the hour, by its own queue, and by the operator.

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use ::replay::Replay;
use relay_core::timestamp::Timestamp;
use relay_platform::environment::Environment;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Lambda, to_raw};
use crate::heap::outside;
use crate::scenario::{HOUR, SECOND};
use crate::senders::address;
use crate::services::unpacked;
use crate::state::{EPOCH, REPLAY_QUEUE, State};

/// Of the template.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(900);

/// After 25 s an invocation by hand or by the hour begins no further object. Each of the seven calls about one may take
/// 16 s.
const MOST_DIRECT: u64 = 140 * SECOND;

/// The operator starts a run that forgets so often, until one comes to its end.
const FORGETS: u32 = 6;

impl Lambda {
    /// The hourly run that puts on the queue what only the log has.
    pub async fn requeue(self: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(3_600)).await;
            tokio::task::spawn_local(Rc::clone(&self).invoke_replay(json!({"source": "log"})));
        }
    }

    /// What the archive has of the last hours goes to a destination again.
    pub async fn replay(self: Rc<Self>, hours: u64, destination: &'static str) {
        let now = self.simulation.now();
        let time = |at: u64| {
            let wall = UNIX_EPOCH + Duration::from_millis(EPOCH + at);
            Timestamp::from_system(wall).iso()
        };
        let from = time(now.saturating_sub(hours * HOUR));
        self.invoke_replay(json!({"from": from, "to": time(now), "destinations": [destination]})).await;
    }

    /// The archive forgets a user: what is in the bucket by now.
    pub async fn forget(self: Rc<Self>, user: u32) {
        // One user after the other (docs/archive.md).
        let _one = self.forgetting.lock().await;
        let address = address(user);
        for _ in 0..FORGETS {
            match self.run_forget(&address).await {
                Some(true) => return,
                // It goes on by itself.
                Some(false) => return sleep(Duration::from_secs(3_600)).await,
                None => sleep(Duration::from_secs(600)).await,
            }
        }
    }

    /// Starts a run that forgets, and looks at what it has done to the bucket. The result says whether it is done, if it
    /// has not failed.
    async fn run_forget(self: &Rc<Self>, address: &str) -> Option<bool> {
        let column = format!(r#""email":"{address}""#);
        let others = |state: &State, key: &str| -> Vec<String> {
            let text = unpacked(state.bucket.get(key).unwrap_or_default());
            text.lines().filter(|line| !line.contains(&column)).map(str::to_owned).collect()
        };
        let objects: Vec<(String, Vec<String>)> = {
            let state = self.simulation.lock();
            let keys = state.bucket.keys().into_iter().filter(|key| key.starts_with("data/"));
            keys.map(|key| (key.clone(), others(&state, &key))).collect()
        };
        let response = Rc::clone(self).invoke_replay(json!({"forget": {"email": address}})).await;
        let is_done = response.map(|response| response["continues"] == false);
        if is_done == Some(false) {
            let keys = objects.iter().map(|(key, _)| key.clone()).collect();
            self.simulation.lock().forgetting.push((column.clone(), keys));
        }
        let mut guard = self.simulation.lock();
        let state = &mut *guard;
        for (key, before) in objects {
            if is_done == Some(true) && unpacked(state.bucket.get(&key).unwrap_or_default()).contains(&column)
            {
                state.ledger.violation(state.now, format!("{key} still has rows of {address}"));
            }
            if others(state, &key) != before {
                let what = format!("{key} has lost rows of others with those of {address}");
                state.ledger.violation(state.now, what);
            }
        }
        is_done
    }

    /// Feeds replay from its own queue, which has its continuations.
    pub async fn go_on(self: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(20)).await;
            let batch = {
                let mut guard = self.simulation.lock();
                let state = &mut *guard;
                state.aws.receive(REPLAY_QUEUE, 1, EPOCH + state.now).0
            };
            for message in batch {
                let event = json!({"Records": [message.record]});
                if Rc::clone(&self).invoke_replay(event).await.is_some() {
                    self.simulation.lock().aws.delete(REPLAY_QUEUE, &message.receipt);
                }
            }
        }
    }

    /// What it answers, if the invocation goes well.
    async fn invoke_replay(self: Rc<Self>, event: Value) -> Option<Value> {
        if !self.simulation.lock().scenario.has_archive {
            return None;
        }
        self.simulation.lock().tell(|| format!("Replay gets {event}"));
        let start = async |environment: &Environment| Replay::start(environment);
        let instance = self.instance(&self.replays, start).await.ok()?;
        let deadline = self.simulation.lock().wall() + REPLAY_TIMEOUT;
        let (is_direct, event) = (event["Records"].is_null(), to_raw(&event));
        let began = self.simulation.now();
        let handle = async |replay: &Replay| {
            let response = replay.handle(&event, deadline).await;
            outside(|| response.as_ref().map(Value::clone).map_err(ToString::to_string))
        };
        let response = self.invoke(&self.replays, instance, REPLAY_TIMEOUT, handle).await;
        let mut state = self.simulation.lock();
        state.tell(|| match &response {
            Ok(Ok(response)) => format!("Replay says {response}"),
            Ok(Err(error)) => format!("Replay failed: {error}"),
            Err(failed) => format!("Replay ended: {failed:?}"),
        });
        let (now, lasted) = (state.now, state.now - began);
        if is_direct && lasted > MOST_DIRECT {
            state.ledger.violation(now, format!("an invocation of replay took {lasted} ms"));
        }
        response.ok()?.ok()
    }
}
