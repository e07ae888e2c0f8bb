//! An event that rules are applied to, be it a webhook or a first-party event.

use crate::envelope::{Envelope, Payload};
use crate::first_party::{Call, CallType, FirstParty};
use crate::identity::{self, User};
use crate::json::{Json, Object};
use crate::webhook::Webhook;

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

    pub(super) fn payload(self) -> Option<Json<'a>> {
        match self.envelope().payload {
            Payload::Object(payload) => Some(payload),
            Payload::Base64(_) => None,
        }
    }

    /// Its type: a first-party event's as Segment's spec spells it.
    pub(super) fn kind(self) -> Option<&'e str> {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.kind.as_deref(),
            RuledEvent::FirstParty { event, .. } => Some(event.kind.as_str()),
        }
    }

    pub(super) fn user(self) -> &'e User {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => &webhook.user,
            RuledEvent::FirstParty { event, .. } => &event.user,
        }
    }

    /// The id of the device that an event of nobody comes from.
    pub(super) fn anonymous_id(self) -> Option<String> {
        Object::parse(self.payload()?)?.get("anonymousId").and_then(identity::id)
    }

    /// A property, by its name at Segment; of a webhook alone.
    pub(super) fn property(self, name: &str) -> Option<Json<'e>> {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.property_json(name),
            RuledEvent::FirstParty { .. } => None,
        }
    }

    /// Whether it has a name that can be another: not a profile's changed tags, and not a call such as `unsubscribe`.
    pub(super) fn is_renamed(self) -> bool {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => webhook.is_event(),
            RuledEvent::FirstParty { event, .. } => matches!(event.call, Call::Track { .. }),
        }
    }

    /// Whether neither a lack of consent nor a share keeps it back. A webhook is none: Vero says nothing of consent.
    pub(super) fn is_withdrawal(self) -> bool {
        match self {
            RuledEvent::Webhook(_) => false,
            RuledEvent::FirstParty { event, .. } => event.is_withdrawal(),
        }
    }

    /// Whether the user has agreed to these categories. A webhook says nothing of it, and goes.
    pub(super) fn has_consent(self, categories: &[String]) -> bool {
        match self {
            RuledEvent::Webhook(_) => true,
            RuledEvent::FirstParty { event, .. } => event.has_consent(categories),
        }
    }
}

/// What call of Segment's spec a message is, if it is one.
pub(super) fn call_type(message: &Object<'_>) -> Option<CallType> {
    message.get("type").and_then(|kind| CallType::named(kind.as_str()?.trim()))
}
