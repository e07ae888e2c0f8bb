//! Rules: which webhooks go to which destination, and in what form. They are a part of the blueprint.
//!
//! - `document`: the part as a user writes it, and what is wrong with one.
//! - `condition`: which webhooks a rule is for. `sample`: which share of them.
//! - `shape`: properties that are picked, left out, renamed, copied and set.
//! - `address`: addresses that are hashed or left out. `find_address`: where they stand in a text.
//! - `prefetcher`: opens by machines.
//!
//! A destination without rules is mapped as if this module did not exist.

mod address;
mod condition;
mod document;
mod find_address;
mod prefetcher;
mod sample;
mod shape;

use crate::delivery::DeliveryOutcome;
use crate::envelope::{Envelope, Payload};
use crate::first_party::FirstParty;
use crate::json::{Json, Object, quote};
use crate::mapping::segment::{TooLarge, changed_messages, messages};
use crate::mapping::vero_track::{Skip, VeroRequest, from_webhook};
use crate::names::{Naming, normalised};
use crate::webhook::Webhook;

use address::Subject;

pub use address::AddressKey;
pub use document::{AddressPolicy, DestinationRules, Rule, WebhookRules};

/// A webhook that rules are applied to.
#[derive(Debug, Clone, Copy)]
pub struct RuledWebhook<'e, 'a> {
    /// Its envelope, with the payload as it was received.
    pub envelope: &'e Envelope<'a>,
    /// The payload, read.
    pub webhook: &'e Webhook<'a>,
}

/// What of the document holds for a webhook at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding<'r> {
    /// The destination's part: `webhooks.segment`.
    pub destination: String,
    /// The rule in it: `webhooks.segment.rules[0]`, or the default.
    pub rule: String,
    /// What the rule's author notes.
    pub note: Option<&'r str>,
}

/// A field of a destination that holds after whichever rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRules {
    /// `address`
    Address,
    /// `omit`
    Omit,
    /// `machine_open`
    MachineOpen,
}

impl AfterRules {
    /// All of them.
    pub const ALL: [AfterRules; 3] = [AfterRules::Address, AfterRules::Omit, AfterRules::MachineOpen];

    /// As the document names it.
    pub fn name(self) -> &'static str {
        match self {
            AfterRules::Address => "address",
            AfterRules::Omit => "omit",
            AfterRules::MachineOpen => "machine_open",
        }
    }
}

impl<'a> RuledWebhook<'_, 'a> {
    fn payload(&self) -> Option<Json<'a>> {
        match self.envelope.payload {
            Payload::Object(payload) => Some(payload),
            Payload::Base64(_) => None,
        }
    }
}

impl WebhookRules {
    /// The messages that Segment is sent, as [`messages`] makes them and these rules change them.
    ///
    /// # Errors
    /// What becomes of the webhook when nothing is sent: a rule leaves it out, or it is too large.
    pub fn to_segment(
        &self,
        event: RuledWebhook<'_, '_>,
        naming: &Naming,
        key: &AddressKey,
    ) -> Result<Vec<String>, DeliveryOutcome> {
        in_segment_s_form(self.segment.as_ref(), event, naming, key)
    }

    /// The request that Vero is sent, as [`from_webhook`] makes it and these rules change it.
    ///
    /// # Errors
    /// What becomes of the webhook when nothing is sent.
    pub fn to_vero(
        &self,
        event: RuledWebhook<'_, '_>,
        naming: &Naming,
    ) -> Result<VeroRequest, DeliveryOutcome> {
        let mapped = || from_webhook(&event.envelope.id, event.webhook, naming);
        let Some(rules) = &self.vero_track else { return mapped() };
        if !naming.is_tracked(event.webhook.kind.as_deref()) {
            return Err(Skip::TypeNotTracked.into());
        }
        let rule = rules.admit(event)?;
        let request = mapped()?;
        if naming.looks_for_loops()
            && event.webhook.trigger_event().is_some_and(|name| rules.sends_under(&name))
        {
            return Err(Skip::Loop.into());
        }
        if !rules.changes(rule, event) {
            return Ok(request);
        }
        Ok(request.with_fields(|fields| {
            let name = rule.rename.as_deref().map(quote);
            let mut fields = fields;
            if let Some(name) = &name {
                fields.set("event_name", Json::written(name));
            }
            rules.change(rule, event, &mut fields, "data");
            fields.rest().unwrap_or_default()
        }))
    }

    /// The part of the document for a destination, named as envelopes name it: `webhooks.segment`; `None`: there is none.
    pub fn scope(&self, destination: &str) -> Option<String> {
        let name = destination.replace(':', ".");
        self.named(&name).map(|_| format!("webhooks.{name}"))
    }

    /// What of the document holds for a webhook at a destination, named as envelopes name it; `None`: nothing.
    pub fn holding(&self, destination: &str, event: RuledWebhook<'_, '_>) -> Option<Holding<'_>> {
        let rules = self.named(&destination.replace(':', "."))?;
        let destination = self.scope(destination)?;
        let (rule, path) = match rules.rule_for(event) {
            Some(place) => (&rules.rules[place], format!("{destination}.rules[{place}]")),
            None => (&rules.default, format!("{destination}.default")),
        };
        Some(Holding { destination, rule: path, note: rule.note.as_deref() })
    }

    /// The same rules without one of the fields that hold after whichever rule.
    #[must_use]
    pub fn without(&self, field: AfterRules) -> Self {
        let mut rules = self.clone();
        let all = rules.segment.iter_mut().chain(&mut rules.vero_track).chain(rules.webhook.values_mut());
        all.for_each(|destination| match field {
            AfterRules::Address => destination.address = AddressPolicy::Keep,
            AfterRules::Omit => destination.omit.clear(),
            AfterRules::MachineOpen => destination.machine_open = false,
        });
        rules
    }

    /// Whether Segment gets no address.
    pub fn hides_addresses(&self) -> bool {
        self.segment.as_ref().is_some_and(|rules| rules.address != AddressPolicy::Keep)
    }

    /// The messages in Segment's form that an endpoint is sent, by the rules for it.
    ///
    /// # Errors
    /// What becomes of the webhook when nothing is sent.
    pub(crate) fn segment_at_endpoint(
        &self,
        endpoint: &str,
        event: RuledWebhook<'_, '_>,
        naming: &Naming,
        key: &AddressKey,
    ) -> Result<Vec<String>, DeliveryOutcome> {
        in_segment_s_form(self.webhook.get(endpoint), event, naming, key)
    }

    /// A webhook as an endpoint is sent it, by the rules for it; `message` has it as `payload`.
    ///
    /// # Errors
    /// What becomes of the webhook when nothing is sent.
    pub(crate) fn received_at_endpoint(
        &self,
        endpoint: &str,
        event: RuledWebhook<'_, '_>,
        message: String,
        key: &AddressKey,
    ) -> Result<String, DeliveryOutcome> {
        let Some(rules) = self.webhook.get(endpoint) else { return Ok(message) };
        let rule = rules.admit(event)?;
        let message = match Object::parse(Json::written(&message)) {
            Some(mut fields) if rules.changes(rule, event) => {
                rules.change(rule, event, &mut fields, "payload");
                // A receiver finds it there, also when nothing of it is left.
                if fields.open(&["payload"]).is_none_or(|payload| payload.rest().is_none()) {
                    fields.set("payload", Json::written("{}"));
                }
                fields.rest().unwrap_or_default()
            }
            _ => message,
        };
        Ok(rules.without_addresses(message, &Subject::from(event), key))
    }

    /// The payload of a first-party event as an endpoint is sent it: of the rules for it those about addresses and about fields
    /// that never go hold. `is_within`: it stands in a field `payload`, by which paths call it.
    pub(crate) fn first_party_at_endpoint(
        &self,
        endpoint: &str,
        envelope: &Envelope<'_>,
        event: &FirstParty<'_>,
        is_within: bool,
        key: &AddressKey,
    ) -> String {
        let payload = envelope.payload.text().to_owned();
        let Some(rules) = self.webhook.get(endpoint) else { return payload };
        let payload = if rules.omit.is_empty() { payload } else { rules.without_fields(payload, is_within) };
        rules.without_addresses(payload, &Subject::of_first_party(envelope, event), key)
    }
}

fn in_segment_s_form(
    rules: Option<&DestinationRules>,
    event: RuledWebhook<'_, '_>,
    naming: &Naming,
    key: &AddressKey,
) -> Result<Vec<String>, DeliveryOutcome> {
    let (id, webhook) = (&event.envelope.id, event.webhook);
    let messages = match rules {
        None => messages(id, webhook, naming),
        Some(rules) => {
            let rule = rules.admit(event)?;
            changed_messages(id, webhook, naming, &|message| rules.segment_message(rule, event, message, key))
        }
    };
    messages.map_err(|TooLarge| DeliveryOutcome::rejected("too_large"))
}

impl DestinationRules {
    /// The rule for a webhook, if it is sent at all.
    fn admit(&self, event: RuledWebhook<'_, '_>) -> Result<&Rule, DeliveryOutcome> {
        let rule = self.rule_for(event).map_or(&self.default, |at| &self.rules[at]);
        if !rule.send {
            return Err(Skip::Dropped.into());
        }
        match &rule.sample {
            Some(sample) if !sample.has(rule.sample_by, event) => Err(Skip::NotSampled.into()),
            _ => Ok(rule),
        }
    }

    /// The place of the first rule that a webhook meets; `None`: the default holds.
    fn rule_for(&self, event: RuledWebhook<'_, '_>) -> Option<usize> {
        let mut payload = None;
        self.rules.iter().position(|rule| {
            rule.when.iter().all(|(field, test)| condition::holds(field, test, event, &mut payload))
        })
    }

    /// Whether a name at the destination is one that a rule gives.
    fn sends_under(&self, name: &str) -> bool {
        let name = normalised(name);
        let rules = self.rules.iter().chain([&self.default]);
        { rules }
            .any(|rule| rule.send && rule.rename.as_deref().is_some_and(|rename| normalised(rename) == name))
    }

    fn is_hinted(&self, event: RuledWebhook<'_, '_>) -> bool {
        self.machine_open && prefetcher::opened(event.webhook)
    }

    fn changes(&self, rule: &Rule, event: RuledWebhook<'_, '_>) -> bool {
        let keeps = rule.rename.is_none() && rule.properties.is_empty() && self.omit.is_empty();
        !keeps || self.is_hinted(event)
    }

    fn change<'a>(
        &'a self,
        rule: &'a Rule,
        event: RuledWebhook<'_, 'a>,
        message: &mut Object<'a>,
        content_name: &str,
    ) {
        if let Some(content) = message.open(&[content_name]) {
            rule.properties.apply(content, event.payload(), content_name == "data");
            if self.is_hinted(event) {
                content.set("machine_open", Json::written("true"));
            }
        }
        for path in &self.omit {
            path.take_from(message);
        }
    }

    fn segment_message(
        &self,
        rule: &Rule,
        event: RuledWebhook<'_, '_>,
        message: String,
        key: &AddressKey,
    ) -> String {
        let message = if self.changes(rule, event) { self.reshaped(rule, event, &message) } else { message };
        self.without_addresses(message, &Subject::from(event), key)
    }

    fn without_fields(&self, payload: String, is_within: bool) -> String {
        let whole = if is_within { ["{\"payload\":", &payload, "}"].concat() } else { payload };
        let Some(mut fields) = Object::parse(Json::written(&whole)) else { return whole };
        for path in &self.omit {
            path.take_from(&mut fields);
        }
        let payload = if is_within { fields.open(&["payload"]) } else { Some(&mut fields) };
        payload.and_then(|payload| payload.rest()).unwrap_or_else(|| "{}".to_owned())
    }

    fn without_addresses(&self, message: String, subject: &Subject<'_>, key: &AddressKey) -> String {
        match self.address {
            AddressPolicy::Keep => message,
            policy => address::hidden(&message, subject, policy, key),
        }
    }

    fn reshaped(&self, rule: &Rule, event: RuledWebhook<'_, '_>, message: &str) -> String {
        // It is of our own making, and so an object.
        let Some(mut fields) = Object::parse(Json::written(message)) else { return message.to_owned() };
        let name = rule.rename.as_deref().map(quote);
        let is_event = event.webhook.is_event() && fields.get("event").is_some();
        if let Some(name) = name.as_deref().filter(|_| is_event) {
            fields.set("event", Json::written(name));
        }
        let content = if fields.get("traits").is_some() { "traits" } else { "properties" };
        self.change(rule, event, &mut fields, content);
        fields.rest().unwrap_or_default()
    }
}
