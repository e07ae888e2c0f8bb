//! Rules: which webhooks go to which destination, and in what form; at webhook endpoints first-party events, too. They are a
//! part of the blueprint.
//!
//! - `document`: the part as a user writes it, and what is wrong with one.
//! - `condition`: which events a rule is for. `sample`: which share of them.
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
use crate::first_party::{CallType, FirstParty};
use crate::identity::User;
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

/// An event that rules are applied to.
#[derive(Debug, Clone, Copy)]
pub enum RuledEvent<'e, 'a> {
    /// A webhook.
    Webhook(RuledWebhook<'e, 'a>),
    /// A first-party event, for which endpoints alone have rules.
    FirstParty {
        /// Its envelope, with the payload as it was received.
        envelope: &'e Envelope<'a>,
        /// The payload, read.
        event: &'e FirstParty<'a>,
    },
}

/// What of the document holds for an event at a destination.
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

impl<'e, 'a> From<RuledWebhook<'e, 'a>> for RuledEvent<'e, 'a> {
    fn from(webhook: RuledWebhook<'e, 'a>) -> Self {
        RuledEvent::Webhook(webhook)
    }
}

impl<'e, 'a> RuledEvent<'e, 'a> {
    /// Its envelope.
    pub fn envelope(self) -> &'e Envelope<'a> {
        match self {
            RuledEvent::Webhook(RuledWebhook { envelope, .. }) | RuledEvent::FirstParty { envelope, .. } => {
                envelope
            }
        }
    }

    fn payload(self) -> Option<Json<'a>> {
        match self.envelope().payload {
            Payload::Object(payload) => Some(payload),
            Payload::Base64(_) => None,
        }
    }

    /// The value of its `type`.
    fn kind(self) -> Option<&'e str> {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.kind.as_deref(),
            RuledEvent::FirstParty { event, .. } => Some(event.kind.as_str()),
        }
    }

    fn user(self) -> &'e User {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => &webhook.user,
            RuledEvent::FirstParty { event, .. } => &event.user,
        }
    }

    /// A property, by its name at Segment; of a webhook alone.
    fn property(self, name: &str) -> Option<Json<'e>> {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.property_json(name),
            RuledEvent::FirstParty { .. } => None,
        }
    }

    /// Whether an event of this type has a name of its own: a profile's changed tags keep theirs.
    fn is_renamed(self) -> bool {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.is_event(),
            RuledEvent::FirstParty { .. } => true,
        }
    }

    /// Whether the user has agreed to these categories, or need not. A webhook says nothing of it.
    fn has_consent(self, categories: &[String]) -> bool {
        match self {
            RuledEvent::Webhook(_) => true,
            RuledEvent::FirstParty { event, .. } => !event.needs_consent() || event.has_consent(categories),
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
        let webhook = event.webhook;
        let event = RuledEvent::from(event);
        let rule = rules.admit(event)?;
        let request = mapped()?;
        if naming.looks_for_loops() && webhook.trigger_event().is_some_and(|name| rules.sends_under(&name)) {
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
            rules.change(rule, event, &mut fields, Some("data"));
            fields.rest().unwrap_or_default()
        }))
    }

    /// What of the document holds for an event at a destination, named as envelopes name it; `None`: nothing.
    pub fn holding(&self, destination: &str, event: RuledEvent<'_, '_>) -> Option<Holding<'_>> {
        let name = destination.replace(':', ".");
        let rules = self.named(&name)?;
        let destination = format!("webhooks.{name}");
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

    /// The messages in Segment's form that an endpoint is sent, by the rules for it: one of a first-party event.
    ///
    /// # Errors
    /// What becomes of the event when nothing is sent.
    pub(crate) fn segment_at_endpoint(
        &self,
        endpoint: &str,
        event: RuledEvent<'_, '_>,
        naming: &Naming,
        key: &AddressKey,
    ) -> Result<Vec<String>, DeliveryOutcome> {
        let rules = self.webhook.get(endpoint);
        match event {
            RuledEvent::Webhook(webhook) => in_segment_s_form(rules, webhook, naming, key),
            RuledEvent::FirstParty { envelope, .. } => {
                let message = envelope.payload.text().to_owned();
                let Some(rules) = rules else { return Ok(vec![message]) };
                let rule = rules.admit(event)?;
                Ok(vec![rules.segment_message(rule, event, message, key)])
            }
        }
    }

    /// The payload of an event as an endpoint is sent it, by the rules for it; their paths call it `payload`.
    ///
    /// # Errors
    /// What becomes of the event when nothing is sent.
    pub(crate) fn received_at_endpoint(
        &self,
        endpoint: &str,
        event: RuledEvent<'_, '_>,
        key: &AddressKey,
    ) -> Result<String, DeliveryOutcome> {
        let payload = event.envelope().payload.text();
        let Some(rules) = self.webhook.get(endpoint) else { return Ok(payload.to_owned()) };
        let rule = rules.admit(event)?;
        let payload = if rules.changes(rule, event) {
            let whole = ["{\"payload\":", payload, "}"].concat();
            let mut fields = Object::parse(Json::written(&whole)).unwrap_or_default();
            rules.change(rule, event, &mut fields, Some("payload"));
            // A receiver finds it there, also when nothing of it is left.
            fields.open(&["payload"]).and_then(|payload| payload.rest()).unwrap_or_else(|| "{}".to_owned())
        } else {
            payload.to_owned()
        };
        Ok(rules.without_addresses(payload, &Subject::from(event), key))
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
            let event = RuledEvent::from(event);
            let rule = rules.admit(event)?;
            changed_messages(id, webhook, naming, &|message| rules.segment_message(rule, event, message, key))
        }
    };
    messages.map_err(|TooLarge| DeliveryOutcome::rejected("too_large"))
}

impl DestinationRules {
    /// The rule for an event, if it is sent at all.
    fn admit(&self, event: RuledEvent<'_, '_>) -> Result<&Rule, DeliveryOutcome> {
        let rule = self.rule_for(event).map_or(&self.default, |at| &self.rules[at]);
        if !rule.send {
            return Err(Skip::Dropped.into());
        }
        if !event.has_consent(&rule.consent) {
            return Err(Skip::NoConsent.into());
        }
        match &rule.sample {
            Some(sample) if !sample.has(rule.sample_by, event) => Err(Skip::NotSampled.into()),
            _ => Ok(rule),
        }
    }

    /// The place of the first rule that an event meets; `None`: the default holds.
    fn rule_for(&self, event: RuledEvent<'_, '_>) -> Option<usize> {
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

    fn is_hinted(&self, event: RuledEvent<'_, '_>) -> bool {
        match event {
            RuledEvent::Webhook(event) => self.machine_open && prefetcher::opened(event.webhook),
            RuledEvent::FirstParty { .. } => false,
        }
    }

    fn changes(&self, rule: &Rule, event: RuledEvent<'_, '_>) -> bool {
        let keeps = rule.rename.is_none() && rule.properties.is_empty() && self.omit.is_empty();
        !keeps || self.is_hinted(event)
    }

    fn change<'a>(
        &'a self,
        rule: &'a Rule,
        event: RuledEvent<'_, 'a>,
        message: &mut Object<'a>,
        content_name: Option<&str>,
    ) {
        if let Some(content) = content_name.and_then(|name| message.open(&[name])) {
            rule.properties.apply(content, event.payload(), content_name == Some("data"));
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
        event: RuledEvent<'_, '_>,
        message: String,
        key: &AddressKey,
    ) -> String {
        let message = if self.changes(rule, event) { self.reshaped(rule, event, &message) } else { message };
        self.without_addresses(message, &Subject::from(event), key)
    }

    fn without_addresses(&self, message: String, subject: &Subject<'_>, key: &AddressKey) -> String {
        match self.address {
            AddressPolicy::Keep => message,
            policy => address::hidden(&message, subject, policy, key),
        }
    }

    fn reshaped(&self, rule: &Rule, event: RuledEvent<'_, '_>, message: &str) -> String {
        // It is an object: of our own making, or a first-party event.
        let Some(mut fields) = Object::parse(Json::written(message)) else { return message.to_owned() };
        let kind = fields.get("type").and_then(|kind| CallType::named(kind.as_str()?.trim()));
        let name = rule.rename.as_deref().map(quote);
        if let Some(name) = name.as_deref().filter(|_| kind == Some(CallType::Track) && event.is_renamed()) {
            fields.set("event", Json::written(name));
        }
        let content = match kind {
            Some(CallType::Identify | CallType::Group) => Some("traits"),
            Some(CallType::Track | CallType::Page | CallType::Screen) => Some("properties"),
            Some(CallType::Alias | CallType::Delete) | None => None,
        };
        if let Some(content) =
            content.filter(|content| rule.properties.adds() && fields.get(content).is_none())
        {
            fields.set(content, Json::written("{}"));
        }
        self.change(rule, event, &mut fields, content);
        fields.rest().unwrap_or_default()
    }
}
