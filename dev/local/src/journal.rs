//! What has arrived at the destinations, in order.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// Where events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Segment's HTTP Tracking API.
    Segment,
    /// Vero's Track API.
    VeroTrack,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Destination::Segment => "segment",
            Destination::VeroTrack => "vero_track",
        })
    }
}

/// One event as one destination received it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The id that `ingest` gave the webhook; empty when the destination was told none.
    pub id: String,
    /// The destination that received it.
    pub destination: Destination,
    /// What the destination answered.
    pub status: u16,
    /// The event's name; of a Segment message that has none, its type.
    pub event: String,
    /// The message as the destination received it.
    pub message: Value,
    /// Time since `ingest` received the webhook.
    pub after: Duration,
}

impl Delivery {
    pub(crate) fn new(
        id: &str,
        destination: Destination,
        status: u16,
        event: &Value,
        message: Value,
    ) -> Self {
        let event = event.as_str().unwrap_or("?").to_owned();
        Delivery { id: id.to_owned(), destination, status, event, message, after: age(id) }
    }
}

/// A UUID v7 begins with the milliseconds since 1970 at which it was made.
fn age(id: &str) -> Duration {
    let made = id.get(..13).and_then(|head| u64::from_str_radix(&head.replace('-', ""), 16).ok());
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(made.unwrap_or_default());
    SystemTime::now().duration_since(made).unwrap_or_default()
}

/// All deliveries since the start, and the type of every webhook that was sent.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    deliveries: Vec<Delivery>,
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

    /// All deliveries of one webhook.
    pub fn of(&self, id: &str) -> Vec<Delivery> {
        self.entries().deliveries.iter().filter(|delivery| delivery.id == id).cloned().collect()
    }

    /// The type of a webhook that was sent through the front door.
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
        assert!((5_000..6_000).contains(&age(&id).as_millis()), "{:?}", age(&id));
    }
}
