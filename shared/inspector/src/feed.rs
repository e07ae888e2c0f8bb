//! The events that the page shows: what is known of each, in the order in which they came, within a bound of memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::model::evidence::Evidence;
use crate::model::time::At;

/// So many events are kept.
const EVENTS: usize = 10_000;
/// So many bytes of requests, payloads and responses are kept. With [`EARLY_BYTES`] that makes 200 MB.
const BYTES: usize = 160 * 1024 * 1024;

/// A request as `ingest` received it, without its secrets.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it had come.
    pub at: At,
    /// Such as `POST`.
    pub method: String,
    /// The path, with the token left out.
    pub path: String,
    /// Names and values; those with secrets are left out.
    pub headers: Vec<(String, String)>,
    /// What the body had of this event: of a webhook as it came, of a first-party event without its write key. Empty if
    /// it cannot be shown.
    pub body: String,
    /// The body's bytes, as they came over the wire.
    pub bytes: usize,
    /// How many events the body had.
    pub events: usize,
    /// What `ingest` answered.
    pub status: u16,
}

/// A request to a destination, and its response.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The destination's name.
    pub destination: String,
    /// When the request had come.
    pub at: At,
    /// Such as `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names and values; those with secrets are left out.
    pub headers: Vec<(String, String)>,
    /// The request's bytes, as they came over the wire.
    pub bytes: usize,
    /// How many events the request had.
    pub events: usize,
    /// What it had of this event, without keys.
    pub message: Value,
    /// The bytes of that.
    pub message_bytes: usize,
    /// The response's status; `None` if there was none.
    pub status: Option<u16>,
    /// The response's body.
    pub response: String,
}

/// What went over the wire, seen before its event may be known.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It brought the event.
    Received(Received),
    /// It carried the event on.
    Exchange(Exchange),
}

/// The name of a request that has no id of its event: whoever knows the event knows what is sent of it.
pub fn name_of_request(body: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    format!("request:{}", hasher.finish())
}

/// The name of a request that carries a first-party event's `messageId`. Its sender chooses that, so that it must not pass
/// for an event's id.
pub fn name_of_message(message_id: &str) -> String {
    format!("message:{message_id}")
}

/// What is known of an event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What its story is told by.
    pub evidence: Evidence,
    /// The request that brought it.
    pub received: Option<Received>,
    /// The requests that carried it on, oldest first.
    pub exchanges: Vec<Exchange>,
    /// It counts the changes of all events.
    pub version: u64,
    /// Its other names.
    names: Vec<String>,
}

/// The bytes of headers, with what a text takes beside its letters.
fn bytes_of(headers: &[(String, String)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 50).sum()
}

impl Received {
    fn bytes_kept(&self) -> usize {
        self.body.len() + bytes_of(&self.headers) + self.path.len() + 200
    }
}

impl Exchange {
    fn bytes_kept(&self) -> usize {
        // A value takes some three times the bytes of its text.
        3 * self.message_bytes + self.response.len() + bytes_of(&self.headers) + self.path.len() + 300
    }
}

impl Seen {
    fn bytes_kept(&self) -> usize {
        match self {
            Seen::Received(received) => received.bytes_kept(),
            Seen::Exchange(exchange) => exchange.bytes_kept(),
        }
    }
}

impl Event {
    fn bytes(&self) -> usize {
        let received = self.received.as_ref().map_or(0, Received::bytes_kept);
        let envelope = self.evidence.envelope.as_ref().map_or(0, String::len);
        // A letter has the envelope once more, as a value.
        let letters = self.evidence.letters.yes().map_or(0, Vec::len) * 3 * envelope;
        let lines = 1_000 * self.evidence.lines.yes().map_or(0, Vec::len);
        let rows = 200 * self.evidence.deliveries.yes().map_or(0, Vec::len);
        let exchanges: usize = self.exchanges.iter().map(Exchange::bytes_kept).sum();
        // Each name is here and in the index.
        let names: usize = self.names.iter().map(|name| 2 * name.len() + 200).sum();
        1_000 + received + envelope + letters + lines + rows + exchanges + names
    }
}

/// The events.
#[derive(Debug)]
pub struct Feed {
    /// A later feed has a later one: so a page notices that the stack was started anew.
    pub epoch: u64,
    events: Mutex<Events>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Events {
    by_id: HashMap<String, Event>,
    /// By version: the last change of each.
    changes: BTreeMap<u64, String>,
    /// In the order in which they came.
    arrivals: BTreeMap<u64, String>,
    version: u64,
    bytes: usize,
    /// Other names of events, with their ids.
    names: HashMap<String, String>,
    early: Early,
}

/// What was seen of events that are not known yet, by their other names.
#[derive(Debug, Default)]
struct Early {
    by_name: HashMap<String, VecDeque<(u64, Seen)>>,
    /// The names in the order in which something was seen.
    order: BTreeMap<u64, String>,
    count: u64,
    bytes: usize,
}

/// So much may be seen before its event is known: `ingest` takes 10,000 events in a request, and each is sent on.
const EARLY: usize = 20_000;
/// And so many bytes of it.
const EARLY_BYTES: usize = 40 * 1024 * 1024;

impl Early {
    fn add(&mut self, name: &str, seen: Seen) {
        self.count += 1;
        self.bytes += seen.bytes_kept() + 2 * name.len();
        self.order.insert(self.count, name.to_owned());
        self.by_name.entry(name.to_owned()).or_default().push_back((self.count, seen));
        while self.order.len() > EARLY || self.bytes > EARLY_BYTES {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            let Some(own) = self.by_name.get_mut(&oldest) else { continue };
            self.bytes -= own.pop_front().map_or(0, |(_, seen)| seen.bytes_kept() + 2 * oldest.len());
            if own.is_empty() {
                self.by_name.remove(&oldest);
            }
        }
    }

    fn take(&mut self, name: &str) -> Vec<Seen> {
        let own = self.by_name.remove(name).unwrap_or_default().into_iter();
        let own = own.map(|(place, seen)| {
            self.order.remove(&place);
            self.bytes -= seen.bytes_kept() + 2 * name.len();
            seen
        });
        own.collect()
    }
}

impl Default for Feed {
    fn default() -> Self {
        let epoch = At::now().ms().unsigned_abs();
        Feed { epoch, events: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Feed {
    /// Changes what is known of an event, which is a new one if it is not here yet. If nothing changes, `change` says
    /// false.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Event) -> bool) {
        let mut guard = self.events();
        let events = &mut *guard;
        let mut event = events.by_id.remove(id).unwrap_or_else(|| Event {
            evidence: Evidence::nothing(id),
            received: None,
            exchanges: Vec::new(),
            version: 0,
            names: Vec::new(),
        });
        let (before, is_new) = (event.bytes(), event.version == 0);
        if !change(&mut event) {
            if !is_new {
                events.by_id.insert(id.to_owned(), event);
            }
            return;
        }
        events.changes.remove(&event.version);
        events.version += 1;
        event.version = events.version;
        if is_new {
            events.arrivals.insert(events.version, id.to_owned());
            events.bytes += event.bytes();
        } else {
            events.bytes = (events.bytes + event.bytes()).saturating_sub(before);
        }
        events.changes.insert(event.version, id.to_owned());
        events.by_id.insert(id.to_owned(), event);
        while events.by_id.len() > 1 && (events.by_id.len() > EVENTS || events.bytes > BYTES) {
            let Some((_, oldest)) = events.arrivals.pop_first() else { break };
            if let Some(event) = events.by_id.remove(&oldest) {
                events.bytes = events.bytes.saturating_sub(event.bytes());
                events.changes.remove(&event.version);
                for name in event.names {
                    if events.names.get(&name) == Some(&oldest) {
                        events.names.remove(&name);
                    }
                }
            }
        }
        let version = events.version;
        drop(guard);
        self.changed.send_replace(version);
    }

    /// Adds what was seen of an event. Its sender or a destination may know it by another name, and it may not be known
    /// here yet.
    pub fn seen(&self, name: &str, seen: Seen) {
        let mut events = self.events();
        let id = events.names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        if !events.by_id.contains_key(&id) && At::of_id(&id).is_none() {
            events.early.add(name, seen);
            return;
        }
        drop(events);
        self.change(&id, |event| {
            match seen {
                Seen::Received(received) => event.received = Some(received),
                Seen::Exchange(exchange) => event.exchanges.push(exchange),
            }
            true
        });
    }

    /// Says by which other name an event is known. If another event had it, later ones are this one's.
    pub fn name(&self, id: &str, name: &str) {
        let mut guard = self.events();
        let events = &mut *guard;
        let Some(event) = events.by_id.get_mut(id) else { return };
        if !event.names.iter().any(|own| own == name) {
            let before = event.bytes();
            event.names.push(name.to_owned());
            events.bytes += event.bytes() - before;
        }
        events.names.insert(name.to_owned(), id.to_owned());
        let own = events.early.take(name);
        drop(guard);
        for seen in own {
            self.seen(name, seen);
        }
    }

    /// What is known of an event.
    pub fn event(&self, id: &str) -> Option<Event> {
        self.events().by_id.get(id).cloned()
    }

    /// An event's envelope.
    pub fn envelope(&self, id: &str) -> Option<String> {
        self.events().by_id.get(id)?.evidence.envelope.clone()
    }

    /// The events that changed after a version, at most `limit`, in the order of their changes.
    pub fn changed_since(&self, version: u64, limit: usize) -> Vec<Event> {
        let events = self.events();
        let changed = events.changes.range(version + 1..).take(limit);
        changed.filter_map(|(_, id)| events.by_id.get(id)).cloned().collect()
    }

    /// Gives something of each event.
    pub fn each<T>(&self, mut of: impl FnMut(&Event) -> T) -> Vec<T> {
        let events = self.events();
        events.arrivals.values().filter_map(|id| events.by_id.get(id)).map(&mut of).collect()
    }

    /// Tells of each change, by its version.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(feed: &Feed, since: u64) -> Vec<String> {
        feed.changed_since(since, 10).into_iter().map(|event| event.evidence.id).collect()
    }

    fn exchange() -> Exchange {
        Exchange {
            destination: "vero_track".to_owned(),
            at: At::from_ms(0),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            bytes: 2,
            events: 1,
            message: Value::Null,
            message_bytes: 4,
            status: Some(200),
            response: String::new(),
        }
    }

    #[test]
    fn a_whole_request_may_be_seen_early_and_memory_is_bounded_then_too() {
        let feed = Feed::default();
        for n in 0..EARLY + 1 {
            feed.seen(&format!("n{n}"), Seen::Exchange(exchange()));
        }
        for n in [0, 1, EARLY] {
            feed.change(&format!("e{n}"), |_| true);
            feed.name(&format!("e{n}"), &format!("n{n}"));
        }
        let exchanges = |n: usize| feed.event(&format!("e{n}")).map(|event| event.exchanges.len());
        assert_eq!([0, 1, EARLY].map(exchanges), [Some(0), Some(1), Some(1)]);
        for n in 0..3 {
            let response = "x".repeat(EARLY_BYTES / 2);
            feed.seen(&format!("large{n}"), Seen::Exchange(Exchange { response, ..exchange() }));
        }
        let early = &feed.events().early;
        assert!(early.by_name.len() == 1 && early.order.len() == 1 && early.bytes <= EARLY_BYTES);
    }

    #[test]
    fn each_change_is_told_once_and_the_last_one_counts() {
        let feed = Feed::default();
        for id in ["a", "b", "a"] {
            feed.change(id, |_| true);
        }
        feed.change("b", |_| false);
        feed.change("c", |_| false);
        assert_eq!(ids(&feed, 0), ["b", "a"]);
        assert_eq!(ids(&feed, 2), ["a"]);
        assert_eq!(ids(&feed, 3), [""; 0]);
        assert_eq!(feed.each(|event| event.evidence.id.clone()), ["a", "b"]);
    }

    #[test]
    fn a_destination_may_know_an_event_by_another_name_and_earlier() {
        let feed = Feed::default();
        let seen = Seen::Exchange(exchange());
        feed.seen("node-1", seen.clone());
        assert!(feed.event("node-1").is_none());
        feed.change("a", |_| true);
        feed.name("a", "node-1");
        feed.seen("node-1", seen.clone());
        let exchanges = |id: &str| feed.event(id).map(|event| event.exchanges.len());
        assert_eq!(exchanges("a"), Some(2));
        // The same name from another sender.
        feed.change("b", |_| true);
        feed.name("b", "node-1");
        feed.seen("node-1", seen);
        assert_eq!((exchanges("a"), exchanges("b")), (Some(2), Some(1)));
    }

    #[test]
    fn memory_is_bounded_by_events_and_by_bytes() {
        let feed = Feed::default();
        for n in 0..EVENTS + 5 {
            feed.change(&format!("e{n}"), |_| true);
        }
        assert_eq!(
            (feed.each(|_| ()).len(), feed.event("e4").is_none(), feed.event("e5").is_some()),
            (EVENTS, true, true)
        );
        let large = "x".repeat(BYTES / 3);
        for n in 0..5 {
            feed.change(&format!("large{n}"), |event| {
                event.evidence.envelope = Some(large.clone());
                true
            });
        }
        assert_eq!(feed.each(|event| event.evidence.id.clone()), ["large3", "large4"]);
        assert!(feed.events().bytes <= BYTES);
    }
}
