//! An event that rules are applied to, be it a webhook or a first-party event.

use crate::envelope::{Envelope, Payload};
use crate::first_party::{Call, FirstParty, RESUBSCRIBE, UNSUBSCRIBE};
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

    /// Its types: a first-party event's as Segment's spec spells it, and what a track of a name of its own asks for.
    pub(super) fn kinds(self) -> (Option<&'e str>, Option<&'static str>) {
        match self {
            RuledEvent::Webhook(RuledWebhook { webhook, .. }) => (webhook.kind.as_deref(), None),
            RuledEvent::FirstParty { event, .. } => {
                let asked = match event.call {
                    Call::Unsubscribe => Some(UNSUBSCRIBE),
                    Call::Resubscribe => Some(RESUBSCRIBE),
                    _ => None,
                };
                (Some(event.kind.as_str()), asked)
            }
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
        match self {
            RuledEvent::Webhook(_) => None,
            RuledEvent::FirstParty { .. } => {
                Object::parse(self.payload()?)?.get("anonymousId").and_then(identity::id)
            }
        }
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

    /// Whether the user has agreed to these categories, or need not. A webhook says nothing of it, and goes.
    pub(super) fn has_consent(self, categories: &[String]) -> bool {
        match self {
            RuledEvent::Webhook(_) => true,
            RuledEvent::FirstParty { event, .. } => event.is_withdrawal() || event.has_consent(categories),
        }
    }

    /// Whether it is in every share: what a user wants done is not for chance to decide.
    pub(super) fn is_wish(self) -> bool {
        match self {
            RuledEvent::Webhook(_) => false,
            RuledEvent::FirstParty { event, .. } => {
                matches!(event.call, Call::Unsubscribe | Call::Resubscribe | Call::Delete)
            }
        }
    }
}
