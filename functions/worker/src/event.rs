//! From a message to an event.

use std::panic::{AssertUnwindSafe, catch_unwind};

use relay_core::destinations::part;
use relay_core::envelope::{Envelope, EnvelopeError, Payload, Source};
use relay_core::first_party::FirstParty;
use relay_core::webhook::Webhook;

use crate::batch::Message;

/// Stands for all destinations of an envelope that nobody knows: however many there are, they share one dead letter,
/// and none of their names reaches the log.
pub const UNKNOWN: &str = "unknown";

/// An event with the message that brought it.
#[derive(Debug)]
pub struct Event<'a> {
    pub message: &'a Message<'a>,
    pub envelope: Envelope<'a>,
    /// What the envelope's payload says.
    pub payload: ParsedPayload<'a>,
}

/// What an envelope's payload says, by the envelope's source.
#[derive(Debug)]
pub enum ParsedPayload<'a> {
    Webhook(Webhook<'a>),
    FirstParty(FirstParty<'a>),
}

/// What a message turns out to be.
#[derive(Debug)]
pub enum ParsedMessage<'a> {
    Event(Event<'a>),
    /// Never to be processed, and why: for the dead-letter queue as it is.
    Poison(&'static str),
    /// An event that is none of its source, and why: for the dead-letter queue.
    Invalid(Envelope<'a>, &'static str),
    /// Of a later release: put back to wait for it.
    Later,
}

impl<'a> Event<'a> {
    pub fn parse(message: &'a Message<'a>) -> ParsedMessage<'a> {
        let envelope = match Envelope::parse(&message.body) {
            Ok(envelope) => envelope,
            Err(EnvelopeError::NotAnEnvelope(_)) => return ParsedMessage::Poison("not_an_envelope"),
            Err(EnvelopeError::Later(_)) => return ParsedMessage::Later,
        };
        let Payload::Object(payload) = envelope.payload else { return ParsedMessage::Poison("not_an_event") };
        let read = || match envelope.source {
            Source::Vero => Ok(ParsedPayload::Webhook(Webhook::read(payload, envelope.received_at))),
            Source::Segment => FirstParty::read(payload, envelope.received_at, envelope.through_segment)
                .map(ParsedPayload::FirstParty),
        };
        // Reading is total; should that ever be wrong, one event pays and not its batch.
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(payload)) => ParsedMessage::Event(Event { message, envelope, payload }),
            Ok(Err(invalid)) => ParsedMessage::Invalid(envelope, invalid.as_str()),
            Err(_) => ParsedMessage::Poison("panicked"),
        }
    }

    /// Whether the envelope names this destination among those still owed; `None` when it names none at all,
    /// before the first try.
    pub fn names(&self, destination: &str) -> Option<bool> {
        let owed = self.envelope.destinations.as_ref()?;
        Some(owed.iter().any(|name| name == destination))
    }

    /// The destinations that the envelope names, those that nobody knows as one: [`UNKNOWN`].
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        let names = || self.envelope.destinations.iter().flatten().map(String::as_str);
        let unknown = names().any(|name| !is_known(name)).then_some(UNKNOWN);
        names().filter(|name| is_known(name)).chain(unknown)
    }

    /// What the envelope calls one of [`Event::destinations`].
    pub fn named_as(&self, destination: &str) -> Vec<String> {
        if destination == UNKNOWN {
            let names = self.envelope.destinations.iter().flatten();
            return names.filter(|name| !is_known(name)).cloned().collect();
        }
        vec![destination.to_owned()]
    }
}

fn is_known(name: &str) -> bool {
    part(name).is_some()
}
