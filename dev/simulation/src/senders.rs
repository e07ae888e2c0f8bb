//! Whoever sends: Vero, which never sends again, and SDKs, which do.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::lambda::Lambda;
use crate::scenario::{MINUTE, Place, SECOND, Send};
use crate::state::{EPOCH, QUEUE};

pub const TOKEN: &str = "a-token-that-opens-the-route-for-vero";
pub const WRITE_KEY: &str = "a-write-key";

/// The types of webhooks, and one that nobody knows.
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

impl Lambda {
    /// Sends what the scenario says. `number` is different for each.
    pub async fn send(self: Rc<Self>, number: usize, send: Send) {
        match send {
            Send::Webhook { kind, user } => self.webhook(TYPES[kind], user, number, 0).await,
            Send::Newsletter { recipients } => {
                for recipient in 0..recipients {
                    let gap = self.simulation.lock().rng.u64(0..SECOND / u64::from(recipients) + 1);
                    sleep(Duration::from_millis(gap)).await;
                    let lambda = Rc::clone(&self);
                    tokio::task::spawn_local(async move {
                        lambda.webhook("sent", 100 + recipient, number, recipient as usize).await;
                    });
                }
            }
            Send::Batch { events, user } => {
                let events = (0..events).map(|event| {
                    let id = format!("s-{number}-{event}");
                    json!({"type": "track", "event": "Order Completed", "messageId": id,
                        "userId": format!("u{user}"), "properties": {"order": id}})
                });
                self.sdk(events.collect()).await;
            }
            Send::Tags { user } => {
                let tags = json!({"Vero": {"tags": {"action": "add", "values": [format!("t-{number}")]}}});
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
        }
    }

    async fn consent(&self, event: &str, user: u32, number: usize) {
        let id = format!("c-{number}");
        let event = json!({"type": "track", "event": event, "messageId": id, "userId": format!("c{user}")});
        self.sdk(vec![event]).await;
    }

    async fn webhook(&self, kind: &str, user: u32, number: usize, part: usize) {
        let (time, is_bad) = {
            let mut state = self.simulation.lock();
            ((EPOCH + state.now) / SECOND, state.rng.usize(..15) == 0)
        };
        let mut body = json!({
            "type": kind,
            "message_id": format!("m-{number}-{part}"),
            "user": {"id": user, "email": format!("u{user}@example.org")},
            "campaign": {"id": number, "name": format!("Campaign {number}"), "channel": "email"},
        });
        body[format!("{kind}_at")] = time.into();
        if kind == "user_updated" {
            body["changes"] = json!({"plan": {"after": number}, "_tags": {"add": ["a"], "remove": []}});
        }
        if is_bad {
            body["note"] = "refused-by-segment".into();
        }
        let body = body.to_string();
        let path = format!("/vero/{TOKEN}");
        let began = self.simulation.now();
        let response = timeout(PATIENCE, self.request(&path, &[], body.as_bytes())).await;
        let (status, answer) = response.unwrap_or((0, Value::Null));
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        let mut guard = self.simulation.lock();
        let state = &mut *guard;
        state.tell(|| format!("Vero: {kind} for u{user} is answered {status} {id}"));
        match status {
            202 => state.ledger.accepted(&id, state.now),
            503 if !state.ledger.is_known(&id) => {
                state.ledger.violation(state.now, format!("{id} was answered 503 and is in no log"));
            }
            _ => {
                let places = [Place::Ingest, Place::Sqs, Place::Ssm];
                if state.scenario.is_calm(&places, began.saturating_sub(MINUTE), state.now) {
                    let what = format!("a webhook is answered {status}, and nothing is wrong");
                    state.ledger.violation(state.now, what);
                }
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
                // The sender sends again what may have been queued.
                for id in &ids {
                    state.ledger.sent_again(id);
                }
            }
            let pause = self.simulation.lock().rng.u64(100..(SECOND << attempt).min(60 * SECOND) + 200);
            sleep(Duration::from_millis(pause)).await;
        }
    }
}
