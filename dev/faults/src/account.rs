//! What became of every event at a destination, held against what was sent.

use std::collections::{BTreeMap, HashMap};

use harness::ReceivedRequest;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::rig::{Destination, Rig};

/// An event within a request to a destination.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The envelope's id.
    pub id: String,
    /// What the destination tells repetitions by, to the byte: Segment's whole message; of a call to Vero its
    /// name, identity and data.
    pub content: String,
    /// The number of the request, from 0.
    pub request: usize,
    /// How many events the request carried.
    pub batch_size: usize,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Whether the destination took it.
    pub accepted: bool,
}

/// Every delivery that a destination has seen, in order.
pub fn deliveries(rig: &Rig, destination: Destination) -> Vec<Delivery> {
    let mut all = Vec::new();
    for (request, received) in rig.receiver(destination).requests().into_iter().enumerate() {
        let events = events(destination, &received);
        let batch_size = events.len();
        all.extend(events.into_iter().map(|(id, content)| Delivery {
            id,
            content,
            request,
            batch_size,
            status: received.status,
            accepted: received.accepted,
        }));
    }
    all
}

/// Ids and contents of the events in a request; a request in another form is counted under its path, so that it
/// cannot pass for a delivery.
fn events(destination: Destination, received: &ReceivedRequest) -> Vec<(String, String)> {
    let events = match (destination, received.path.as_str()) {
        (Destination::Segment, "/v1/batch") => segment_events(&received.body),
        (Destination::Vero, "/api/v2/events/track") => vero_event(&received.body).map(|event| vec![event]),
        (Destination::Endpoint, "/hook") => endpoint_events(&received.body),
        _ => None,
    };
    events.unwrap_or_else(|| vec![(format!("not an event: {}", received.path), String::new())])
}

fn segment_events(body: &[u8]) -> Option<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        batch: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        message_id: String,
    }
    let Batch { batch } = serde_json::from_slice(body).ok()?;
    let event = |message: &RawValue| {
        let Message { message_id } = serde_json::from_str(message.get()).ok()?;
        Some((message_id.strip_prefix("vr-")?.to_owned(), message.get().to_owned()))
    };
    batch.into_iter().map(event).collect()
}

fn endpoint_events(body: &[u8]) -> Option<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    let events: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let event = |event: &RawValue| {
        let Event { id } = serde_json::from_str(event.get()).ok()?;
        Some((id, event.get().to_owned()))
    };
    events.into_iter().map(event).collect()
}

fn vero_event(body: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Call<'a> {
        event_name: String,
        #[serde(borrow)]
        identity: &'a RawValue,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Data {
        webhook_id: String,
    }
    let Call { event_name, identity, data } = serde_json::from_slice(body).ok()?;
    let Data { webhook_id } = serde_json::from_str(data.get()).ok()?;
    Some((webhook_id, format!("{event_name} {identity} {data}")))
}

/// How the events fared at one destination.
#[derive(Debug, Default)]
pub struct Account {
    /// Neither taken nor among the dead letters.
    pub lost: Vec<String>,
    /// Taken more often than once: by how much, in total.
    pub doubled: usize,
    /// Of these, the ones that did not come in the same pass as the one before: by the queue, so that the
    /// destination's own deduplication may have forgotten.
    pub late: usize,
    /// Events whose repetitions the destination cannot know as such.
    pub altered: Vec<String>,
    pub dead: BTreeMap<String, Vec<Value>>,
    /// Taken, and among the dead letters too; or taken although nobody sent it.
    pub wrong: Vec<String>,
    /// How many doublings the worker's log expects.
    pub maybe_doubled: usize,
}

impl Account {
    /// Takes stock. `passes` are the numbers of requests at which the queues' clock was put forward.
    pub fn of(rig: &Rig, destination: Destination, ids: &[String], passes: &[usize]) -> Self {
        let mut taken: HashMap<String, Vec<Delivery>> = HashMap::new();
        for delivery in deliveries(rig, destination).into_iter().filter(|delivery| delivery.accepted) {
            taken.entry(delivery.id.clone()).or_default().push(delivery);
        }
        let mut account = Self { dead: dead_letters(rig, destination), ..Self::default() };
        account.maybe_doubled = maybe_doubled(rig, destination);
        for id in ids {
            let taken = taken.remove(id).unwrap_or_default();
            match (taken.as_slice(), account.dead.contains_key(id)) {
                ([], false) => account.lost.push(id.clone()),
                ([], true) => {}
                (_, true) => account.wrong.push(format!("{id} was taken and is a dead letter")),
                ([first, repeated @ ..], false) => {
                    let pass = |delivery: &Delivery| passes.partition_point(|end| *end <= delivery.request);
                    account.doubled += repeated.len();
                    account.late += taken.windows(2).filter(|pair| pass(&pair[0]) != pass(&pair[1])).count();
                    if repeated.iter().any(|delivery| delivery.content != first.content) {
                        account.altered.push(id.clone());
                    }
                }
            }
        }
        account.wrong.extend(taken.into_keys().map(|id| format!("{id} was taken, but never sent")));
        account
    }

    /// Everything that must not happen, whatever fails; doubling only where it `may_double`.
    pub fn failures(&self, may_double: bool) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(id) = self.lost.first() {
            failures.push(format!("{} lost, such as {id}", self.lost.len()));
        }
        if self.doubled > 0 && !may_double {
            failures.push(format!("{} doubled", self.doubled));
        }
        if let Some(id) = self.altered.first() {
            failures.push(format!("{} repeated in another form, such as {id}", self.altered.len()));
        }
        if self.late > self.maybe_doubled {
            failures.push(format!("{} doubled late, {} counted", self.late, self.maybe_doubled));
        }
        if let Some((id, _)) = self.dead.iter().find(|(_, letters)| letters.len() > 1) {
            failures.push(format!("{id} has two dead letters"));
        }
        failures.extend(self.wrong.iter().take(3).cloned());
        failures
    }
}

fn dead_letters(rig: &Rig, destination: Destination) -> BTreeMap<String, Vec<Value>> {
    let mut dead: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for letter in rig.dead.bodies() {
        let owed = letter["destinations"].as_array();
        // A whole event among the dead letters (received too often) is one for every destination.
        if owed.is_none_or(|owed| owed.iter().any(|name| name == destination.name())) {
            dead.entry(letter["id"].as_str().unwrap_or_default().to_owned()).or_default().push(letter);
        }
    }
    dead
}

fn maybe_doubled(rig: &Rig, destination: Destination) -> usize {
    let metric = match destination {
        Destination::Segment => "SegmentMaybeDoubled",
        Destination::Vero => "VeroTrackMaybeDoubled",
        Destination::Endpoint => "WebhookMaybeDoubled",
    };
    let batches = rig.worker.log_entries().into_iter().filter(|entry| entry["message"] == "batch");
    batches.filter_map(|entry| entry[metric].as_u64()).sum::<u64>() as usize
}
