//! What Segment and Vero remember: by it they drop what comes again.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::{HOUR, MINUTE, Place};

/// Segment knows a message's id for so long (Segment, "Handling duplicate data").
const SEGMENT: u64 = 24 * HOUR;

/// Vero knows an event's name, identity and data for so long (Track API reference, "Deduplication"; an older page has three
/// minutes).
const VERO: u64 = 5 * MINUTE;

#[derive(Debug, Default)]
pub struct Memory {
    /// By what a destination compares: when it came, and of which event.
    seen: BTreeMap<(Place, String), (u64, String)>,
    /// The users that Vero has.
    users: BTreeSet<String>,
    /// How often something came again, and was taken for new.
    pub doubled: usize,
}

/// What a destination takes something for.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    New,
    /// It came before, and is dropped.
    Known,
    /// It is dropped, because this other event looked the same.
    Mistaken(String),
}

impl Memory {
    /// Something comes that a destination compares by `key`.
    pub fn take(&mut self, place: Place, key: String, event: &str, now: u64) -> Taken {
        let lasts = if place == Place::Segment { SEGMENT } else { VERO };
        let key = (place, key);
        match self.seen.get(&key) {
            Some((at, of)) if now < at + lasts && of == event => return Taken::Known,
            Some((at, of)) if now < at + lasts => return Taken::Mistaken(of.clone()),
            Some((_, of)) => self.doubled += usize::from(of == event),
            None => (),
        }
        self.seen.insert(key, (now, event.to_owned()));
        Taken::New
    }

    /// Vero has a user now.
    pub fn meet(&mut self, user: &str) {
        self.users.insert(user.to_owned());
    }

    /// Whether Vero has a user: it takes tags of others, too, and does nothing.
    pub fn has(&self, user: &str) -> bool {
        self.users.contains(user)
    }
}
