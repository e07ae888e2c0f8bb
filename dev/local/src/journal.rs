//! What has arrived at the destinations, in order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::http::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    Segment,
    VeroTrack,
    /// A webhook endpoint.
    Endpoint,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Destination::Segment => "segment",
            Destination::VeroTrack => "vero_track",
            Destination::Endpoint => "webhook:local",
        })
    }
}

/// One event as one destination received it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The id that `ingest` gave the webhook, or the messageId of a first-party event; empty when the destination got
    /// neither.
    pub id: String,
    pub destination: Destination,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// The event's name; of a Segment message that has none its type, of a call to Vero the call.
    pub event: String,
    /// The message as the destination received it.
    pub message: Value,
    /// Time since `ingest` received the event, where the id tells it.
    pub after: Option<Duration>,
}

impl Delivery {
    pub(crate) fn new(
        destination: Destination,
        request: &Request,
        status: u16,
        id: &str,
        event: &str,
        message: Value,
    ) -> Self {
        Delivery {
            id: id.to_owned(),
            destination,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            status,
            event: event.to_owned(),
            message,
            after: age(id),
        }
    }

    /// Whether it is a webhook's; else it is a first-party event's.
    pub fn is_webhook(&self) -> bool {
        let data = &self.message["data"];
        match self.destination {
            Destination::Segment => true,
            Destination::VeroTrack => {
                !self.id.is_empty() && data["segment_message_id"].is_null() && data["webhook_id"].is_string()
            }
            Destination::Endpoint => self.message["source"] == "vero",
        }
    }

    /// Whom a call to Vero is about: an id, or an address.
    pub fn user(&self) -> &str {
        let identity = &self.message["identity"];
        let names = [&identity["id"], &self.message["id"], &identity["email"], &self.message["email"]];
        names.into_iter().find_map(Value::as_str).unwrap_or_default()
    }
}

/// A UUID v7 begins with the milliseconds since 1970 at which it was made; other ids tell no time.
fn age(id: &str) -> Option<Duration> {
    if id.len() != 36 || id.as_bytes().get(14) != Some(&b'7') {
        return None;
    }
    let made = u64::from_str_radix(&id.get(..13)?.replace('-', ""), 16).ok()?;
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(made);
    Some(SystemTime::now().duration_since(made).unwrap_or_default())
}

/// All deliveries since the start, and the type of every webhook that was sent.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    deliveries: Vec<Delivery>,
    /// How many of the first deliveries a destination has lost.
    lost: BTreeMap<Destination, usize>,
    types: HashMap<String, String>,
}

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, delivery: Delivery) {
        self.entries().deliveries.push(delivery);
    }

    pub(crate) fn record_type(&self, id: &str, webhook_type: &str) {
        self.entries().types.insert(id.to_owned(), webhook_type.to_owned());
    }

    /// The deliveries after the first `seen`.
    pub fn since(&self, seen: usize) -> Vec<Delivery> {
        self.entries().deliveries.iter().skip(seen).cloned().collect()
    }

    /// The same for the one that prints them: their messages are not kept any longer, as `cargo local` may run for days.
    pub fn take_since(&self, seen: usize) -> Vec<Delivery> {
        let mut entries = self.entries();
        let news = entries.deliveries.iter_mut().skip(seen);
        news.map(|delivery| Delivery { message: delivery.message.take(), ..delivery.clone() }).collect()
    }

    /// All deliveries of one webhook, as far as their destinations have not lost them.
    pub fn of(&self, id: &str) -> Vec<Delivery> {
        let entries = self.entries();
        let lost = |destination| entries.lost.get(&destination).copied().unwrap_or_default();
        let deliveries = entries.deliveries.iter().enumerate();
        let kept = deliveries.filter(|(place, delivery)| *place >= lost(delivery.destination));
        kept.map(|(_, delivery)| delivery).filter(|delivery| delivery.id == id).cloned().collect()
    }

    /// A destination loses all that it has received.
    pub fn wipe(&self, destination: Destination) {
        let mut entries = self.entries();
        let all = entries.deliveries.len();
        entries.lost.insert(destination, all);
    }

    /// The type of a webhook that was sent through the proxy.
    pub fn webhook_type(&self, id: &str) -> Option<String> {
        self.entries().types.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_age() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() - 5_000;
        let hex = format!("{now:012x}");
        let id = format!("{}-{}-7000-8000-000000000000", &hex[..8], &hex[8..]);
        assert!((5_000..6_000).contains(&age(&id).unwrap().as_millis()), "{:?}", age(&id));
    }

    #[test]
    fn an_id_of_another_form_does_not() {
        for id in ["", "node-track", "0193f0c2-4c1e-8000-8000-000000000000"] {
            assert_eq!(age(id), None, "{id}");
        }
    }
}
