//! Whoever sends: Vero, which never sends again, and SDKs, which do.

use std::rc::Rc;
use std::time::Duration;
use std::{iter, mem, slice};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::lambda::Lambda;
use crate::scenario::{MINUTE, Place, SECOND, Send};
use crate::state::{EPOCH, QUEUE, State};

pub const SEGMENT_TOKEN: &str = "a-token-that-opens-the-route-for-segment";
pub const WRITE_KEY: &str = "a-write-key";

/// What is no event, each with a place for its name: no envelope, one of no event, one of an event of no known type, and one for a
/// destination that nobody knows.
pub const POISON: [&str; 4] = [
    "NAME",
    r#"{"version":1,"id":"NAME","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload_base64":"bm8="}"#,
    r#"{"version":1,"id":"NAME","source":"segment","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"what"}}"#,
    r#"{"version":1,"id":"NAME","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"sent"},"destinations":["nowhere"]}"#,
];

/// The twelve types of webhooks, and then one that nobody knows.
pub const TYPES: [&str; 13] = [
    "sent",
    "delivered",
    "opened",
    "clicked",
    "bounced",
    "unsubscribed",
    "complained",
    "failed",
    "converted",
    "resubscribed",
    "user_created",
    "user_updated",
    "link_previewed",
];

/// Vero hangs up after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// An SDK gives up after so many tries.
const TRIES: u32 = 12;

/// What one webhook of several has of its own.
#[derive(Default)]
struct Part {
    /// Its message.
    message: u32,
    /// How long after the first it happened.
    seconds: u32,
}

impl Lambda {
    /// Sends what the scenario says. `number` is different for each.
    pub async fn send(self: Rc<Self>, number: usize, send: Send) {
        match send {
            Send::Webhook { kind, user } => {
                self.webhooks(TYPES[kind], user, number, iter::once(Part::default())).await
            }
            Send::Array { webhooks, user, alike } => {
                let message = |place| if alike { 0 } else { place };
                let parts = (0..webhooks).map(|place| Part { message: message(place), seconds: place });
                self.webhooks("clicked", user, number, parts).await;
            }
            Send::TestButton => {
                for kind in &TYPES[..12] {
                    self.webhooks(kind, 123, 0, iter::once(Part::default())).await;
                }
            }
            Send::Newsletter { recipients } => {
                for recipient in 0..recipients {
                    let gap = self.simulation.lock().rng.u64(0..SECOND / u64::from(recipients) + 1);
                    sleep(Duration::from_millis(gap)).await;
                    let lambda = Rc::clone(&self);
                    tokio::task::spawn_local(async move {
                        let part = Part { message: recipient, ..Part::default() };
                        lambda.webhooks("sent", 100 + recipient, number, iter::once(part)).await;
                    });
                }
            }
            Send::Batch { events, user } => {
                let events = (0..events).map(|event| {
                    let id = format!("s-{number}-{event}");
                    let consent = json!({"categoryPreferences": {"marketing": event % 2 == 0}});
                    json!({"type": "track", "event": "Order Completed", "messageId": id,
                        "userId": format!("u{user}"), "properties": {"order": id},
                        "context": {"consent": consent}})
                });
                self.sdk(events.collect()).await;
            }
            Send::Tags { user } => {
                let value = format!("t-{number}");
                // In every eighth the tags are none that Vero could take.
                let values = if number.is_multiple_of(8) { json!(value) } else { json!([value]) };
                let tags = json!({"Vero": {"tags": {"action": "add", "values": values}}});
                self.sdk(vec![json!({"type": "identify", "messageId": format!("t-{number}"),
                    "userId": format!("t{user}"), "traits": {"plan": format!("p-{number}"),
                    "email": format!("t{user}@example.org")}, "integrations": tags})])
                    .await;
            }
            Send::Resubscribe { user } => self.consent("Resubscribe", user, number).await,
            Send::Unsubscribe { user } => self.consent("Unsubscribe", user, number).await,
            Send::Later => {
                let body = json!({"version": 2, "id": format!("later-{number}"), "news": true}).to_string();
                let mut state = self.simulation.lock();
                let now = EPOCH + state.now;
                state.aws.put(QUEUE, &body, now);
                drop(state);
                self.simulation.queued.notify_one();
            }
            Send::Earlier { kind, user } => {
                let mut guard = self.simulation.lock();
                let state = &mut *guard;
                let payload = state.webhook(TYPES[kind], user, number, Part::default());
                let received_at = Timestamp::from_system(state.wall()).iso();
                let body = json!({"version": 1, "id": format!("earlier-{number}"), "source": "vero",
                    "received_at": received_at, "attempt": 0, "payload": payload});
                let (body, now) = (body.to_string(), EPOCH + state.now);
                let id = state.aws.put(QUEUE, &body, now).unwrap_or_default();
                state.ledger.put(&id, &body, state.now);
                drop(guard);
                self.simulation.queued.notify_one();
            }
            Send::Poison { kind } => {
                let body = POISON[kind].replace("NAME", &format!("poison-{number}"));
                let mut state = self.simulation.lock();
                let now = EPOCH + state.now;
                state.aws.put(QUEUE, &body, now);
                drop(state);
                self.simulation.queued.notify_one();
            }
        }
    }

    async fn consent(&self, event: &str, user: u32, number: usize) {
        let id = format!("c-{number}");
        let event = json!({"type": "track", "event": event, "messageId": id, "userId": format!("c{user}")});
        self.sdk(vec![event]).await;
    }

    /// Sends webhooks of one type about one user in one request: an object, or an array of more.
    async fn webhooks(&self, kind: &str, user: u32, number: usize, parts: impl Iterator<Item = Part>) {
        let (token, bodies) = {
            let mut guard = self.simulation.lock();
            let state = &mut *guard;
            // Vero gets the new token some time after ingest has it.
            let newest = state.tokens.len() - 1;
            let token = state.tokens[state.rng.usize(newest.saturating_sub(1)..=newest)].clone();
            let bodies: Vec<Value> = parts.map(|part| state.webhook(kind, user, number, part)).collect();
            (token, bodies)
        };
        let body = match &bodies[..] {
            [body] => body.to_string(),
            _ => json!(bodies).to_string(),
        };
        let path = format!("/vero/{token}");
        let began = self.simulation.now();
        let response = timeout(PATIENCE, self.request(&path, &[], body.as_bytes())).await;
        let (status, answer) = response.unwrap_or((0, Value::Null));
        let ids = answer["ids"].as_array().map_or_else(|| slice::from_ref(&answer["id"]), Vec::as_slice);
        let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
        let mut guard = self.simulation.lock();
        let state = &mut *guard;
        state.tell(|| format!("Vero: {kind} for u{user} is answered {status} {}", ids.join(" ")));
        let is_whole = ids.len() == bodies.len();
        match status {
            202 if is_whole => ids.iter().for_each(|id| state.ledger.accepted(id, state.now)),
            503 if is_whole => {
                for id in ids.iter().filter(|id| !state.ledger.is_known(id)).copied().collect::<Vec<_>>() {
                    state.ledger.violation(state.now, format!("{id} was answered 503 and is in no log"));
                }
            }
            _ => {
                let places = [Place::Ingest, Place::Sqs, Place::Ssm];
                if state.scenario.is_calm(&places, began.saturating_sub(MINUTE), state.now) {
                    let what = format!("{} webhooks are answered {status} {answer}", bodies.len());
                    state.ledger.violation(state.now, what);
                }
            }
        }
    }

    /// Passes on what Segment got, as its Webhooks destination does, for as long as the simulation lasts.
    pub async fn pass_on(self: Rc<Self>) {
        loop {
            self.simulation.passing.notified().await;
            for event in mem::take(&mut self.simulation.lock().passed_on) {
                let lambda = Rc::clone(&self);
                tokio::task::spawn_local(async move {
                    let path = format!("/segment/{SEGMENT_TOKEN}");
                    for _ in 0..TRIES {
                        let request = lambda.request(&path, &[], event.as_bytes());
                        if matches!(timeout(PATIENCE, request).await, Ok((200, _))) {
                            return;
                        }
                        lambda.simulation.lock().ledger.passed_again(&event);
                        sleep(Duration::from_secs(60)).await;
                    }
                });
            }
        }
    }

    /// Sends events as an SDK does, again and again until they are taken.
    async fn sdk(&self, events: Vec<Value>) {
        let ids: Vec<String> =
            events.iter().filter_map(|event| event["messageId"].as_str().map(str::to_owned)).collect();
        let body = json!({"batch": events}).to_string();
        let authorization = format!("Basic {}", STANDARD.encode(format!("{WRITE_KEY}:")));
        for attempt in 0..TRIES {
            let headers = [("authorization", &*authorization), ("content-type", "application/json")];
            let response =
                timeout(Duration::from_secs(10), self.request("/v1/batch", &headers, body.as_bytes())).await;
            let (status, _) = response.unwrap_or((0, Value::Null));
            {
                let mut guard = self.simulation.lock();
                let state = &mut *guard;
                state.tell(|| format!("an SDK: {} are answered {status}", ids.join(" ")));
                if status == 200 {
                    for id in &ids {
                        state.ledger.accepted_message(id, state.now);
                    }
                    return;
                }
                // The sender sends again what may have been queued, if ingest has seen it.
                for id in ids.iter().filter(|_| status != 429) {
                    state.ledger.sent_again(id);
                }
            }
            let pause = self.simulation.lock().rng.u64(100..(SECOND << attempt).min(60 * SECOND) + 200);
            sleep(Duration::from_millis(pause)).await;
        }
    }
}

impl State {
    fn webhook(&mut self, kind: &str, user: u32, number: usize, part: Part) -> Value {
        let Part { message, seconds } = part;
        let mut body = json!({
            "type": kind,
            "message_id": format!("m-{number}-{message}"),
            "user": {"id": user, "email": address(user)},
            "campaign": {"id": number, "name": format!("Campaign {number}"), "channel": "email"},
        });
        body[format!("{kind}_at")] = ((EPOCH + self.now) / SECOND + u64::from(seconds)).into();
        if kind == "user_updated" {
            body["changes"] = json!({"plan": {"after": number}, "_tags": {"add": ["a"], "remove": []}});
        }
        if self.rng.usize(..15) == 0 {
            body["note"] = "refused-by-segment".into();
        }
        body
    }
}

/// The address of a user of Vero's.
pub fn address(user: u32) -> String {
    format!("u{user}@example.org")
}
