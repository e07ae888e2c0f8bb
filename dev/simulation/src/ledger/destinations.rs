//! What destinations are asked, what they answer, and what they get.

use std::collections::BTreeMap;

use relay_core::mapping::vero_track::Consent;

use super::{ARCHIVE, Event, Ledger, TAGS, VERO};
use crate::scenario::{MINUTE, SECOND};
use crate::state::EPOCH;

/// The longest wait that SQS can keep, in seconds.
const LONGEST_WAIT: u64 = 900;

/// In one try a part may refuse an event so often: twice at once, and again in the halves of its batch.
const REFUSALS: u32 = 4;

/// A resubscribe of this age is not carried out, plus what clocks may be apart.
const STALE: i64 = (16 * MINUTE) as i64;

/// A younger one is not given up for its age: less what clocks may be apart.
const NEARLY_STALE: i64 = (15 * MINUTE - SECOND) as i64;

/// In one try a part may be asked about an event so often: twice at once, each over a second connection if the first is
/// gone, and then without the address, or in ever smaller halves of its batch.
const ASKED: u32 = 10;

impl Ledger {
    /// A destination is asked to take what the mapping makes of events: which, and as what part.
    pub fn asked(&mut self, requests: &[&str], now: u64) -> Vec<(String, &'static str)> {
        let mut about = Vec::new();
        for request in requests {
            let Some((id, part)) = self.requests.get(*request).cloned() else {
                self.violation(now, format!("nothing that the mapping makes: {request}"));
                continue;
            };
            let event = self.events.get(&id);
            // A second copy of it does not know what the first was told.
            let waits =
                event.filter(|event| event.excuses_at(part) == 0).and_then(|event| event.waits.get(part));
            if waits.is_some_and(|until| now + SECOND < *until) {
                self.violation(now, format!("{part} is asked about {id} sooner than it said"));
            }
            if let Some(event) = self.events.get_mut(&id) {
                let asked = event.asked.entry(part).or_default();
                *asked += 1;
                let messages = event.messages.get(part).copied().unwrap_or(1) as u32;
                let tries = event.tries.get(part).copied().unwrap_or_default();
                if *asked > tries * messages * ASKED {
                    let what = format!("{part} is asked about {id} {asked} times in {tries} tries");
                    self.violation(now, what);
                }
            }
            about.push((id, part));
        }
        about
    }

    /// The endpoint is asked by this id: it knows by it what it has.
    pub fn asked_by(
        &mut self,
        request_id: &str,
        events: &[(String, &'static str)],
        keys: &[String],
        now: u64,
    ) {
        let ([(id, _)], [key]) = (events, keys) else { return };
        let before = self.request_ids.entry(key.clone()).or_insert_with(|| request_id.to_owned());
        if before != request_id {
            let what = format!("{id} comes to the endpoint as {before} and as {request_id}");
            self.violation(now, what);
        }
    }

    /// A destination has refused events, and may have said for how many seconds.
    pub fn refused(&mut self, events: &[(String, &'static str)], retry_after: Option<u64>, now: u64) {
        for (id, part) in events {
            let Some(event) = self.events.get_mut(id) else { continue };
            if let Some(seconds) = retry_after {
                event.waits.insert(part, now + seconds.min(LONGEST_WAIT) * SECOND);
            }
            let refusals = event.refusals.entry(part).or_default();
            *refusals += 1;
            let tries = event.tries.get(part).copied().unwrap_or_default();
            if *refusals > tries * REFUSALS {
                let what = format!("{part} refused {id} {refusals} times in {tries} tries");
                self.violation(now, what);
            }
        }
    }

    /// A destination has taken events, of which it gets all messages at once.
    pub fn delivered_whole(&mut self, events: &[(String, &'static str)], now: u64) -> Vec<String> {
        let mut counts: BTreeMap<&(String, &'static str), usize> = BTreeMap::new();
        for event in events {
            *counts.entry(event).or_default() += 1;
        }
        for ((id, part), count) in &counts {
            let messages =
                self.events.get(id).and_then(|event| event.messages.get(part)).copied().unwrap_or(1);
            if !count.is_multiple_of(messages) {
                self.violation(now, format!("{part} gets {count} of {messages} messages of {id}"));
            }
            for _ in 0..count.div_ceil(messages) {
                self.delivered(id, part, now);
            }
        }
        counts.into_keys().map(|(id, _)| id.clone()).collect()
    }

    /// Whether a resubscribe may be given up: it is old, or was seen together with a later withdrawal.
    pub fn is_stale(&self, id: &str, now: u64) -> bool {
        let is_old = |event: &Event| (EPOCH + now) as i64 - event.received_at > NEARLY_STALE;
        self.events.get(id).is_some_and(|event| event.is_withdrawn || is_old(event))
    }

    /// Whether Vero is owed tags of an event.
    pub fn has_tags(&self, id: &str) -> bool {
        self.events.get(id).is_some_and(|event| event.owed.contains(TAGS))
    }

    /// The archive has a row.
    pub fn archived(&mut self, id: &str, row: &str, now: u64) {
        if !self.rows.contains(row) {
            self.violation(now, format!("no row that the mapping makes: {row}"));
        }
        self.delivered(id, ARCHIVE, now);
    }

    /// The delivery log has a row.
    pub fn logged_delivery(&mut self, id: &str, part: &'static str, outcome: &str, now: u64) {
        let Some(event) = self.events.get_mut(id) else {
            return self.violation(now, format!("{id} is in the delivery log, and nobody sent it"));
        };
        event.logged.insert(part);
        if outcome == "accepted" && !event.deliveries.contains_key(part) {
            self.violation(now, format!("{part} has accepted {id}, says the delivery log"));
        }
    }

    /// A part has got an event.
    pub fn delivered(&mut self, id: &str, part: &'static str, now: u64) {
        let Some(event) = self.events.get_mut(id) else {
            self.violation(now, format!("{part} got {id}, which nobody sent"));
            return;
        };
        let times = event.deliveries.entry(part).or_default();
        times.push(now);
        let extra = times.len() - 1;
        let excuses = event.excuses_at(part);
        let consent = event.consent.clone().filter(|_| part == VERO);
        let (received_at, is_doubt) = (event.received_at, excuses > 0);
        let is_withdrawn = event.is_withdrawn;
        if extra > excuses {
            self.violation(now, format!("{part} got {id} {} times, with {excuses} reasons", extra + 1));
        }
        if let Some((user, consent)) = consent {
            let log = self.consents.entry(user.clone()).or_default();
            let is_newer =
                |(what, at, _): &&(Consent, i64, String)| *what == Consent::Withdrawn && *at > received_at;
            let newer: Vec<String> = log.iter().filter(is_newer).map(|(.., id)| id.clone()).collect();
            log.push((consent, received_at, id.to_owned()));
            // Within a quarter of an hour a worker that does not know of the withdrawal may do so (docs/first-party.md).
            let is_old = (EPOCH + now) as i64 - received_at > STALE;
            // A second copy of either may come in a batch of its own, and that of the withdrawal after this.
            let is_doubted =
                |id: &String| self.events.get(id).is_some_and(|event| event.excuses_at(VERO) > 0);
            let is_known = is_withdrawn && !is_doubt && !newer.iter().any(is_doubted);
            if consent == Consent::Given && !newer.is_empty() && (is_known || is_old) {
                self.violation(now, format!("{user} is subscribed again by {id}, older than the withdrawal"));
            }
        }
    }
}
