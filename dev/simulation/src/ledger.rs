//! The account of every event, and what must hold of it at every step. `owed`: what the mapping makes of it.
//! `destinations`: what they are asked and get.

mod destinations;
mod owed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use relay_core::blueprint::Blueprint;
use relay_core::endpoints::Form;
use relay_core::envelope::Envelope;
use relay_core::mapping::vero_track::{Consent, FirstPartySettings};
use relay_core::names::Naming;
use relay_core::rules::AddressKey;
use serde_json::Value;
use tokio::sync::Notify;

use crate::scenario::{ADDRESS_SECRET, Clock, MINUTE, Place, SECOND, Scenario, at_place};

/// What the archive got so long ago, requeue finds there: Firehose takes up to five minutes.
const REQUEUED: u64 = 10 * MINUTE;

/// A request that broke over a kept connection is sent again within this time (docs/delivery.md, "Duplicates").
const AT_ONCE: u64 = 2 * SECOND;

pub const SEGMENT: &str = "segment";
pub const VERO: &str = "vero_track";
pub const TAGS: &str = "vero_tags";
pub const ARCHIVE: &str = "archive";
pub const ENDPOINT: &str = "webhook:crm";
/// The endpoint's name in its settings.
pub const CRM: &str = "crm";

/// One event, from when it was first on a queue.
#[derive(Debug, Default)]
pub struct Event {
    pub queued_at: u64,
    /// What each destination is to get, by its part.
    pub owed: BTreeSet<&'static str>,
    /// When each part got it.
    pub deliveries: BTreeMap<&'static str, Vec<u64>>,
    /// How often something happened after which it may come once more.
    excuses: usize,
    /// Answers about it that are still to come, or never will, by who owes them.
    unanswered: BTreeMap<Place, usize>,
    /// It says that a user wants messages, or that they do not.
    consent: Option<(String, Consent)>,
    /// By ingest's clock, in milliseconds since 1970.
    received_at: i64,
    /// How often a worker had it that may call the part.
    tries: BTreeMap<&'static str, u32>,
    /// How often a part was asked to take it.
    asked: BTreeMap<&'static str, u32>,
    /// How often a part has refused it, whatever the reason.
    refusals: BTreeMap<&'static str, u32>,
    /// Until when a part has asked to be left alone with it.
    waits: BTreeMap<&'static str, u64>,
    /// The parts of which the delivery log tells what became of it.
    pub logged: BTreeSet<&'static str>,
    /// How many messages a part gets of it, at once.
    messages: BTreeMap<&'static str, usize>,
    /// A worker has seen it together with a later withdrawal.
    is_withdrawn: bool,
}

/// Where a message's event is owed.
#[derive(Debug, Clone)]
struct Owed {
    event: String,
    parts: Vec<&'static str>,
    /// Of this message: a sender's second try comes later than the first.
    received_at: i64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub events: BTreeMap<String, Event>,
    /// By what is sent to a destination: the event and the part.
    requests: BTreeMap<String, (String, &'static str)>,
    /// By the message's id: those in the queue, in flight, or in the dead-letter queue.
    live: BTreeMap<String, Owed>,
    /// How many of those there are for an event and a part.
    copies: BTreeMap<(String, &'static str), usize>,
    /// How often a message was received for nothing.
    deaths: BTreeMap<String, usize>,
    /// Events of which a worker has sent something to SQS, and has not heard that it is there.
    untaken: BTreeSet<String>,
    /// The rows of the archive, as the mapping makes them.
    rows: BTreeSet<String>,
    /// The ids of messages that Segment gets from us.
    ours: BTreeSet<String>,
    pub violations: Vec<String>,
    /// There is a violation.
    pub failed: Arc<Notify>,
    /// Sums of the metrics.
    pub metrics: BTreeMap<String, u64>,
    /// Events whose acceptance the worker has heard of, by part.
    pub acknowledged: BTreeMap<&'static str, u64>,
    /// Events of SDKs, by their own ids: ours.
    message_ids: BTreeMap<String, String>,
    /// How often a sender sent an event again that may have been queued.
    sent_again: BTreeMap<String, usize>,
    /// Invocations of the worker without a response.
    pub failures: u64,
    /// Those among them that had begun: lines are missing in their logs.
    pub broken_off: u64,
    /// By event: the id of the endpoint's requests with nothing else in them.
    request_ids: BTreeMap<String, String>,
    /// Requests to a destination.
    pub calls: BTreeMap<Place, u64>,
    /// Messages that workers got and gave back, and dead letters that they wrote.
    pub handed_out: usize,
    pub returned: usize,
    pub letters: usize,
    /// Webhooks that only the log holds.
    pub logged: BTreeSet<String>,
    /// Whether there is an archive.
    has_archive: bool,
    endpoint: Option<Form>,
    naming: Naming,
    rules: FirstPartySettings,
    address_key: AddressKey,
    /// The log of what was applied at Vero of consent: the user, what, when it was received, and by which event.
    consents: BTreeMap<String, Vec<(Consent, i64, String)>>,
}

/// The part of this name, of those that the simulation knows.
pub fn part(name: &str) -> Option<&'static str> {
    [SEGMENT, VERO, TAGS, ARCHIVE, ENDPOINT].into_iter().find(|part| *part == name)
}

impl Event {
    /// How often a part may have got it more than once.
    fn excuses_at(&self, part: &str) -> usize {
        let at = |place| self.unanswered.get(&place).copied().unwrap_or_default();
        // Of SQS, a message that nobody knows of may be there besides.
        self.excuses + at(Place::Sqs) + at(at_place(part))
    }

    /// Whether a part got it more than once for its own answers alone, but for what was sent again at once: that is dropped
    /// there. What SQS, ingest or a sender did twice, no worker can count.
    pub fn is_doubled(&self, part: &str) -> bool {
        let is_alone = self.excuses == 0 && self.unanswered.get(&Place::Sqs).is_none_or(|count| *count == 0);
        let times = self.deliveries.get(part).map(Vec::as_slice).unwrap_or_default();
        is_alone && times.windows(2).any(|pair| pair[1] > pair[0] + AT_ONCE)
    }
}

impl Ledger {
    /// The account of a world that has all this.
    pub fn of(scenario: &Scenario) -> Self {
        let blueprint = scenario.rules.and_then(|rules| Blueprint::parse(rules).ok()).unwrap_or_default();
        Ledger {
            has_archive: scenario.has_archive,
            endpoint: scenario.endpoint.map(|endpoint| endpoint.form),
            rules: FirstPartySettings { blueprint, ..FirstPartySettings::default() },
            address_key: AddressKey::new(ADDRESS_SECRET),
            ..Ledger::default()
        }
    }

    pub fn violation(&mut self, now: u64, what: String) {
        self.violations.push(format!("{} {what}", Clock(now)));
        self.failed.notify_one();
    }

    /// A message is on the queue, or in the dead-letter queue.
    pub fn put(&mut self, message: &str, body: &str, now: u64) {
        let Ok(envelope) = Envelope::parse(body) else {
            // What a later release has written, or what was no event.
            return;
        };
        let event = envelope.id.as_str().to_owned();
        if envelope.destinations.is_none() {
            self.enter(&envelope, now);
        }
        let owed = self.events.get(&event).map(|event| event.owed.clone()).unwrap_or_default();
        let parts: Vec<&'static str> = match &envelope.destinations {
            Some(names) => names.iter().filter_map(|name| part(name)).collect(),
            None => owed.iter().copied().collect(),
        };
        // The tags come after the event's own request.
        let implied = parts.contains(&VERO) && owed.contains(&TAGS) && !parts.contains(&TAGS);
        let parts: Vec<&'static str> = parts.into_iter().chain(implied.then_some(TAGS)).collect();
        for part in &parts {
            let copies = self.copies.entry((event.clone(), part)).or_default();
            *copies += 1;
            // It lies there once, and once more for each reason; its copy may lie beside each.
            let most = 2 * (1 + self.events.get(&event).map_or(0, |event| event.excuses_at(part)));
            if *copies > most {
                let what = format!("{event} is owed to {part} by {copies} messages");
                self.violation(now, what);
            }
        }
        let received_at = envelope.received_at.milliseconds();
        self.live.insert(message.to_owned(), Owed { event, parts, received_at });
    }

    /// A copy goes back to the queue: it counts the tries, and only those.
    pub fn check_attempt(&mut self, envelope: &Envelope<'_>, now: u64) {
        let id = envelope.id.as_str();
        let Some(event) = self.events.get(id) else { return };
        let parts = envelope.destinations.iter().flatten().filter_map(|name| part(name));
        let tries =
            parts.map(|part| event.tries.get(part).copied().unwrap_or_default()).max().unwrap_or_default();
        if envelope.attempt > tries {
            self.violation(now, format!("{id} counts {} attempts, after {tries} tries", envelope.attempt));
        }
    }

    /// A worker gets these messages at once. It does not call the part that is paused.
    pub fn batched(&mut self, messages: &[&str], paused: &str) {
        self.handed_out += messages.len();
        for Owed { event, parts, .. } in messages.iter().filter_map(|message| self.live.get(*message)) {
            let Some(event) = self.events.get_mut(event) else { continue };
            for part in parts.iter().filter(|part| **part != paused) {
                *event.tries.entry(part).or_default() += 1;
            }
        }
        let consents: Vec<(String, String, Consent, i64)> = messages
            .iter()
            .filter_map(|message| {
                let Owed { event: id, parts, received_at } = self.live.get(*message)?;
                let (user, consent) = self.events.get(id)?.consent.clone()?;
                // A copy that Vero is not owed subscribes nobody again.
                let counts = consent == Consent::Withdrawn || parts.contains(&VERO);
                counts.then(|| (id.clone(), user, consent, *received_at))
            })
            .collect();
        for (id, user, _, at) in consents.iter().filter(|(_, _, consent, _)| *consent == Consent::Given) {
            // Of the same time either may be the later one, and the worker may fail safe.
            let takes_back = |(_, whose, what, when): &&(String, String, Consent, i64)| {
                whose == user && *what == Consent::Withdrawn && when >= at
            };
            if let (Some(_), Some(event)) = (consents.iter().find(takes_back), self.events.get_mut(id)) {
                event.is_withdrawn = true;
            }
        }
    }

    /// Something happened after which these events may come once more.
    pub fn excuse<'e>(&mut self, events: impl IntoIterator<Item = &'e String>) {
        for id in events {
            if let Some(event) = self.events.get_mut(id) {
                event.excuses += 1;
            }
        }
    }

    /// Somebody has done what was asked for these events, and the caller does not know yet.
    pub fn unanswered(&mut self, place: Place, events: &[String]) {
        for id in events {
            if let Some(event) = self.events.get_mut(id) {
                *event.unanswered.entry(place).or_default() += 1;
            }
        }
    }

    /// The caller has the answer about these events. `part` has them, of a destination.
    pub fn answered(&mut self, place: Place, events: &[String], part: Option<&'static str>) {
        if let Some(part) = part {
            *self.acknowledged.entry(part).or_default() += events.len() as u64;
        }
        for id in events {
            if let Some(event) = self.events.get_mut(id) {
                *event.unanswered.entry(place).or_default() -= 1;
            }
        }
    }

    /// The sender of a webhook was told that it is safe.
    pub fn accepted(&mut self, id: &str, now: u64) {
        if !self.events.contains_key(id) {
            self.violation(now, format!("{id} was answered 202 and is on no queue"));
        }
    }

    /// The sender of an event was told that it is safe, by the event's own id.
    pub fn accepted_message(&mut self, message_id: &str, now: u64) {
        match self.message_ids.get(message_id).cloned() {
            Some(id) => self.accepted(&id, now),
            None => self.violation(now, format!("{message_id} was answered 200 and is on no queue")),
        }
    }

    /// Replay sends an event again: from the archive, or what only the log was thought to have.
    pub fn replayed(&mut self, body: &str, now: u64) {
        let Ok(envelope) = Envelope::parse(body) else { return };
        let id = envelope.id.as_str().to_owned();
        let archived_at =
            self.events.get(&id).and_then(|event| event.deliveries.get(ARCHIVE)?.first().copied());
        if envelope.destinations.is_none() && archived_at.is_some_and(|at| at + REQUEUED < now) {
            self.violation(now, format!("{id} is requeued, although the archive has it"));
        }
        self.excuse(&[id]);
    }

    /// A sender sends an event again, since it has no answer.
    pub fn sent_again(&mut self, message_id: &str) {
        *self.sent_again.entry(message_id.to_owned()).or_default() += 1;
        let id = self.message_ids.get(message_id).cloned();
        self.excuse(&id);
    }

    /// Segment passes an event on again, since it has no answer.
    pub fn passed_again(&mut self, event: &str) {
        if let Some(message_id) = message_id(event) {
            self.sent_again(&message_id);
        }
    }

    /// Whether an event is on a queue or in the log.
    pub fn is_known(&self, id: &str) -> bool {
        self.events.contains_key(id) || self.logged.contains(id)
    }

    /// An invocation of the worker had no response.
    pub fn count_failure(&mut self, has_begun: bool) {
        self.failures += 1;
        self.broken_off += u64::from(has_begun);
    }

    /// The event that a message brings.
    pub fn event_of(&self, message: &str) -> Option<&String> {
        self.live.get(message).map(|owed| &owed.event)
    }

    /// A message is gone from its queue: what it was owed must have been delivered, or lie somewhere else.
    pub fn deleted(&mut self, message: &str, now: u64) {
        let Some(Owed { event, parts, .. }) = self.live.remove(message) else { return };
        for part in parts {
            let copies = self.copies.entry((event.clone(), part)).or_default();
            *copies -= 1;
            let has_copy = *copies > 0;
            if !has_copy && !self.is_settled(&event, part) {
                self.violation(now, format!("{event} is lost: nobody owes it to {part} any more"));
            }
        }
    }

    /// Whether a part has what it was owed of an event.
    fn is_settled(&self, id: &str, part: &'static str) -> bool {
        let Some(event) = self.events.get(id) else { return true };
        // A dead letter of the event's own request takes the tags along.
        let waits = part == TAGS && self.copies.get(&(id.to_owned(), VERO)).is_some_and(|copies| *copies > 0);
        !event.owed.contains(part) || event.deliveries.contains_key(part) || waits
    }

    /// A message has another id now.
    pub fn moved(&mut self, old: &str, new: &str, body: &str, now: u64) {
        self.put(new, body, now);
        let id = self.event_of(new).cloned();
        self.excuse(&id);
        if let Some(event) = id.and_then(|id| self.events.get_mut(&id)) {
            event.is_withdrawn = false;
        }
        self.deleted(old, now);
    }

    /// A worker is about to send something of these events to SQS.
    pub fn untaken<'e>(&mut self, events: impl Iterator<Item = &'e String>) {
        self.untaken.extend(events.cloned());
    }

    /// SQS has told the worker that it has all of that.
    pub fn taken<'e>(&mut self, events: impl Iterator<Item = &'e String>) {
        events.for_each(|event| {
            self.untaken.remove(event);
        });
    }

    /// A worker lets a message come back. All of it does so if SQS did not take what was to follow; else nobody had a try
    /// at it.
    pub fn returned(&mut self, message: &str, body: &str) {
        self.returned += 1;
        // What has no id is no event, and goes to the dead-letter queue if SQS takes it.
        if text_in(body, "id").is_none_or(|event| self.untaken.contains(&event)) {
            self.came_back(message);
        }
    }

    /// A message was received, and no worker saw it.
    pub fn received_in_vain(&mut self, message: &str) {
        *self.deaths.entry(message.to_owned()).or_default() += 1;
    }

    /// A message comes back with all that it is owed: its worker died over it, or SQS did not take what follows, or has
    /// not deleted it, or shows it again.
    pub fn came_back(&mut self, message: &str) {
        self.received_in_vain(message);
        let event = self.event_of(message).cloned();
        self.excuse(&event);
    }

    /// SQS has moved a message to the dead-letter queue for its receives alone.
    pub fn given_up(&mut self, message: &str, now: u64) {
        let deaths = self.deaths.get(message).copied().unwrap_or_default();
        // Each receive is a death, an invocation that could not begin, or a message that SQS showed again.
        if deaths < 8 {
            let event = self.event_of(message).cloned().unwrap_or_default();
            self.violation(now, format!("{event} is a dead letter by receives, after {deaths} deaths"));
        }
    }

    /// What must hold when all is settled.
    pub fn settle(&mut self, now: u64, left: usize) {
        if left > 0 {
            self.violation(now, format!("{left} messages are still on the queue"));
        }
        let mut missing = Vec::new();
        // Without an archive the operator looks for them (docs/runbook.md).
        for id in self.logged.iter().filter(|id| self.has_archive && !self.events.contains_key(*id)) {
            missing.push(format!("{id} is in the log alone"));
        }
        for (id, event) in &self.events {
            // By now every answer that still comes is there.
            for (part, times) in &event.deliveries {
                let excuses = event.excuses_at(part);
                if times.len() > excuses + 1 {
                    missing.push(format!("{part} got {id} {} times, with {excuses} reasons", times.len()));
                }
            }
            for part in &event.owed {
                let lies = self.copies.get(&(id.clone(), part)).is_some_and(|copies| *copies > 0);
                if !lies && !self.is_settled(id, part) {
                    missing.push(format!("{id} never came to {part}"));
                }
            }
        }
        for what in missing {
            self.violation(now, what);
        }
    }
}

/// By which an event at the endpoint is known among all requests.
pub fn endpoint_key(event: &str) -> String {
    format!("webhook {event}")
}

/// What Segment knows a message by.
fn message_id(message: &str) -> Option<String> {
    text_in(message, "messageId")
}

/// A text in a JSON object.
pub fn text_in(object: &str, key: &str) -> Option<String> {
    serde_json::from_str::<Value>(object).ok()?[key].as_str().map(str::to_owned)
}
