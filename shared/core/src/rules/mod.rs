//! Rules: which webhooks go to which destination, and in what form; at webhook endpoints first-party events, too. They are a
//! part of the blueprint.
//!
//! - `document`: the part as a user writes it, and what is wrong with one. `oddities`: what is odd about it.
//! - `event`: what rules look at. `condition`: which events a rule is for. `sample`: which share of them.
//! - `shape`: properties that are picked, left out, renamed, copied and set.
//! - `address`: addresses that are hashed or left out. `find_address`: where they stand in a text.
//! - `prefetcher`: opens by machines.
//!
//! A destination without rules is mapped as if this module did not exist.

mod address;
mod condition;
mod document;
mod event;
mod find_address;
mod oddities;
mod prefetcher;
mod sample;
mod shape;

use crate::delivery::DeliveryOutcome;
use crate::first_party::CallType;
use crate::json::{Json, Object, quote};
use crate::mapping::segment::{TooLarge, changed_messages, messages};
use crate::mapping::vero_track::{Skip, VeroRequest, from_webhook};
use crate::names::{Naming, normalised};

pub use address::AddressKey;
pub use document::{AddressPolicy, DestinationRules, Rule, WebhookRules};
pub use event::{RuledEvent, RuledWebhook};

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
            if let Some(data) = fields.open(&["data"]) {
                rules.shape(rule, event, data, true);
            }
            rules.leave_out(&mut fields);
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
                let rule = rules.map(|rules| rules.admit(event).map(|rule| (rules, rule))).transpose()?;
                let message = envelope.payload.text().to_owned();
                Ok(vec![match rule {
                    Some((rules, rule)) => rules.segment_message(rule, event, message, key),
                    None => message,
                }])
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
            let name = rule.rename.as_deref().map(quote);
            let mut fields = Object::parse(Json::written(&whole)).unwrap_or_default();
            match (event, fields.open(&["payload"])) {
                (RuledEvent::FirstParty { .. }, Some(call)) => {
                    rules.reshape(rule, event, name.as_deref(), call)
                }
                (RuledEvent::Webhook(_), Some(payload)) => rules.shape(rule, event, payload, false),
                (_, None) => (),
            }
            rules.leave_out(&mut fields);
            // A receiver finds it there, also when nothing of it is left.
            fields.open(&["payload"]).and_then(|payload| payload.rest()).unwrap_or_else(|| "{}".to_owned())
        } else {
            payload.to_owned()
        };
        let is_call = matches!(event, RuledEvent::FirstParty { .. });
        Ok(rules.without_addresses(payload, event, is_call, key))
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
            Some(sample) if !event.is_wish() && !sample.has(rule.sample_by, event) => {
                Err(Skip::NotSampled.into())
            }
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

    /// Gives the properties, the traits or the data of an event the form that a rule says.
    fn shape<'a>(
        &self,
        rule: &'a Rule,
        event: RuledEvent<'_, 'a>,
        content: &mut Object<'a>,
        takes_scalars_alone: bool,
    ) {
        rule.properties.apply(content, event.payload(), takes_scalars_alone);
        if self.is_hinted(event) {
            content.set("machine_open", Json::written("true"));
        }
    }

    fn leave_out(&self, message: &mut Object<'_>) {
        self.omit.iter().for_each(|path| path.take_from(message));
    }

    fn segment_message(
        &self,
        rule: &Rule,
        event: RuledEvent<'_, '_>,
        message: String,
        key: &AddressKey,
    ) -> String {
        let message = if self.changes(rule, event) { self.reshaped(rule, event, &message) } else { message };
        self.without_addresses(message, event, true, key)
    }

    /// `is_call`: the message is a call of Segment's spec.
    fn without_addresses(
        &self,
        message: String,
        event: RuledEvent<'_, '_>,
        is_call: bool,
        key: &AddressKey,
    ) -> String {
        match (self.address, is_call) {
            (AddressPolicy::Keep, _) => message,
            (AddressPolicy::Omit, true) => address::left_out_of_call(&message, &event.into(), key),
            (policy, _) => address::hidden(&message, &event.into(), policy, key),
        }
    }

    fn reshaped(&self, rule: &Rule, event: RuledEvent<'_, '_>, message: &str) -> String {
        let name = rule.rename.as_deref().map(quote);
        // It is an object: of our own making, or a first-party event.
        let Some(mut fields) = Object::parse(Json::written(message)) else { return message.to_owned() };
        self.reshape(rule, event, name.as_deref(), &mut fields);
        self.leave_out(&mut fields);
        fields.rest().unwrap_or_default()
    }

    /// Gives a call of Segment's spec the form that a rule says; `name` is the rule's, as JSON.
    fn reshape<'a>(
        &self,
        rule: &'a Rule,
        event: RuledEvent<'_, 'a>,
        name: Option<&'a str>,
        call: &mut Object<'a>,
    ) {
        if let Some(name) = name.filter(|_| event.is_renamed() && call.get("event").is_some()) {
            call.keep_last("event");
            call.set("event", Json::written(name));
        }
        let kind = call.get("type").and_then(|kind| CallType::named(kind.as_str()?.trim()));
        let content = match kind {
            Some(CallType::Identify | CallType::Group) => "traits",
            Some(CallType::Track | CallType::Page | CallType::Screen) => "properties",
            Some(CallType::Alias | CallType::Delete) | None => return,
        };
        if rule.properties.is_empty() && !self.is_hinted(event) {
            return;
        }
        call.keep_last(content);
        // What is no object is none to whoever reads it.
        if call.open(&[content]).is_none() {
            call.take(&[content]);
        }
        let is_bare = call.open(&[content]).is_none_or(|content| content.is_empty());
        // Some SDKs have an identify's traits in its context, and none of ours may stand in their way.
        if is_bare && kind == Some(CallType::Identify) && matches!(event, RuledEvent::FirstParty { .. }) {
            return;
        }
        if call.get(content).is_none() && rule.properties.adds() {
            call.set(content, Json::written("{}"));
        }
        if let Some(content) = call.open(&[content]) {
            self.shape(rule, event, content, false);
        }
    }
}
