//! From a message to an event that destinations can be told of.

use std::panic::{AssertUnwindSafe, catch_unwind};

use relay_core::envelope::{Envelope, Payload, Unreadable};
use relay_core::webhook::Webhook;

use crate::batch::Message;

/// An event with the message that brought it.
#[derive(Debug)]
pub struct Event<'a> {
    /// The message.
    pub message: &'a Message<'a>,
    /// What it held.
    pub envelope: Envelope<'a>,
    /// The webhook in it.
    pub webhook: Webhook<'a>,
}

/// What a message turns out to be.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once; nearly every one is work")]
pub enum Sorted<'a> {
    /// Work.
    Event(Event<'a>),
    /// Never to be processed, and why: for the dead-letter queue as it is.
    Poison(&'static str),
    /// Of a later release: put back to wait for it.
    Later,
}

impl<'a> Event<'a> {
    /// Reads a message.
    pub fn read(message: &'a Message<'a>) -> Sorted<'a> {
        let envelope = match Envelope::parse(&message.body) {
            Ok(envelope) => envelope,
            Err(Unreadable::NotAnEnvelope(_)) => return Sorted::Poison("not_an_envelope"),
            Err(Unreadable::Later { .. }) => return Sorted::Later,
        };
        let Payload::Object(payload) = envelope.payload else { return Sorted::Poison("not_a_webhook") };
        // Reading is total; should that ever be wrong, one event pays and not its batch.
        match catch_unwind(AssertUnwindSafe(|| Webhook::read(payload, envelope.received_at))) {
            Ok(webhook) => Sorted::Event(Event { message, envelope, webhook }),
            Err(_) => Sorted::Poison("panicked"),
        }
    }

    /// Whether a destination that is on is owed this event.
    pub fn is_owed_to(&self, destination: &str) -> bool {
        self.envelope.destinations.as_ref().is_none_or(|owed| owed.iter().any(|name| name == destination))
    }
}
