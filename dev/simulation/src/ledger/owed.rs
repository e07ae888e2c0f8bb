//! What an event is owed, by the mapping alone.

use std::time::Duration;

use relay_core::archive::{About, row};
use relay_core::endpoints::Form;
use relay_core::envelope::{Envelope, Payload, Source};
use relay_core::first_party::FirstParty;
use relay_core::mapping::vero_track::{Consent, Tags, VeroRequest, from_event};
use relay_core::rules::{RuledEvent, RuledWebhook};
use relay_core::webhook::Webhook;

use super::{ARCHIVE, CRM, ENDPOINT, Event, Ledger, SEGMENT, TAGS, VERO, endpoint_key, message_id};

impl Ledger {
    /// What an event is owed by the mapping alone.
    pub(super) fn enter(&mut self, envelope: &Envelope<'_>, now: u64) {
        let id = envelope.id.as_str();
        let received_at = envelope.received_at.milliseconds();
        let mut event = Event { queued_at: now, received_at, ..Event::default() };
        let Payload::Object(payload) = envelope.payload else { return };
        event.owed.extend(self.has_archive.then_some(ARCHIVE));
        let rules = self.rules.blueprint.webhooks().clone();
        match envelope.source {
            Source::Vero => {
                let webhook = Webhook::read(payload, envelope.received_at);
                self.rows.insert(row(envelope, &About::from(&webhook)));
                let ruled = RuledWebhook { envelope, webhook: &webhook };
                let messages = rules.to_segment(ruled, &self.naming, &self.address_key);
                for message in messages.unwrap_or_default() {
                    event.owed.insert(SEGMENT);
                    *event.messages.entry(SEGMENT).or_default() += 1;
                    self.ours.extend(message_id(&message));
                    self.requests.insert(message, (id.to_owned(), SEGMENT));
                }
                self.expect_at_endpoint(&mut event, ruled.into());
                if let Ok(request) = rules.to_vero(ruled, &self.naming) {
                    event.owed.insert(VERO);
                    self.expect(id, VERO, &request);
                }
            }
            Source::Segment => {
                let read = FirstParty::read(payload, envelope.received_at, envelope.through_segment);
                if read.is_err() {
                    // No event: a dead letter and nothing else.
                    event.owed.clear();
                }
                let mut is_ours = false;
                if let Ok(read) = &read {
                    self.expect_at_endpoint(&mut event, RuledEvent::FirstParty { envelope, event: read });
                    self.rows.insert(row(envelope, &About::from(read)));
                }
                if let Some(message_id) = read.as_ref().ok().and_then(|read| read.message_id.clone()) {
                    event.excuses += self.sent_again.get(&message_id).copied().unwrap_or_default();
                    is_ours = self.ours.contains(&message_id);
                    let before = self.message_ids.insert(message_id.clone(), id.to_owned());
                    if before.is_some_and(|before| before != id) {
                        self.violation(now, format!("{message_id} has two ids, and one is {id}"));
                    }
                }
                let requests = read
                    .ok()
                    .and_then(|read| from_event(&envelope.id, &read, &self.rules, Duration::ZERO).ok());
                if let Some(requests) = requests {
                    if is_ours {
                        self.violation(now, format!("{id} goes from Vero to Segment and back"));
                    }
                    event.owed.insert(VERO);
                    event.consent = requests.request.consent().zip(requests.users.first().cloned()).map(swap);
                    self.expect(id, VERO, &requests.request);
                    if let Tags::Edit(tags) = &requests.tags {
                        event.owed.insert(TAGS);
                        self.expect(id, TAGS, tags);
                    }
                }
            }
        }
        // A sender's second try is the same event, though its time of receipt is another.
        self.events.entry(id.to_owned()).or_insert(event);
    }

    fn expect_at_endpoint(&mut self, entry: &mut Event, event: RuledEvent<'_, '_>) {
        let (rules, naming, key) = (self.rules.blueprint.webhooks(), &self.naming, &self.address_key);
        let of_event = |form: Form| form.of_event(CRM, event, rules, naming, key).ok();
        let Some(at_endpoint) = self.endpoint.and_then(of_event) else { return };
        entry.owed.insert(ENDPOINT);
        entry.messages.insert(ENDPOINT, at_endpoint.messages.len());
        let keys = at_endpoint.messages.iter().map(|message| endpoint_key(message));
        let id = event.envelope().id.as_str();
        self.requests.extend(keys.map(|key| (key, (id.to_owned(), ENDPOINT))));
    }

    fn expect(&mut self, id: &str, part: &'static str, request: &VeroRequest) {
        for request in [Some(request.clone()), request.without_email()].into_iter().flatten() {
            let key = format!("{} {}", request.endpoint.path(), request.body(""));
            self.requests.insert(key, (id.to_owned(), part));
        }
    }
}

fn swap((consent, user): (Consent, String)) -> (String, Consent) {
    (user, consent)
}
