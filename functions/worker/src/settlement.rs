//! Carries out what was decided: what is owed is on a queue before the received message is acknowledged.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{Burial, MAX_DELAY, Settlement};
use relay_core::envelope::{DeadLetter, DeathCause, Envelope};
use relay_platform::queue::{Outgoing, Queue, SendError};

use crate::batch::{Message, MessageId};
use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;
use crate::tally::Tally;

/// A cold start need not wait longer than this for a connection.
const WARM_UP: Duration = Duration::from_secs(1);

/// `ChangeMessageVisibilityBatch` takes up to 10 entries (API reference).
const MAX_ENTRIES: usize = 10;

/// Such calls in flight, each over a connection of its own.
const IN_FLIGHT: usize = 16;

/// What is to happen to a message.
#[derive(Debug)]
pub struct Decision<'a> {
    message: &'a Message<'a>,
    /// The message itself comes back at once, and nothing is sent.
    comes_back: bool,
    resend: Vec<Outgoing>,
    dead: Vec<Outgoing>,
}

impl<'a> Decision<'a> {
    /// Poison goes to the dead-letter queue as it is.
    pub fn poison(message: &'a Message<'a>, reason: &'static str) -> Self {
        tracing::error!(message_id = %message.id, reason, "to the dead-letter queue");
        let attributes = vec![("reason", reason.to_owned())];
        let dead = outgoing(message, message.body.to_string(), attributes, Duration::ZERO);
        Decision { message, comes_back: false, resend: Vec::new(), dead: vec![dead] }
    }

    /// An event that is none goes to the dead-letter queue with the reason.
    pub fn invalid(message: &'a Message<'a>, envelope: &Envelope<'_>, reason: &'static str) -> Self {
        tracing::error!(id = %envelope.id, reason, "to the dead-letter queue");
        let cause = DeathCause { reason, ..DeathCause::default() };
        let letter = DeadLetter { envelope, destinations: None, cause };
        let attributes = vec![("source", envelope.source.as_str().to_owned()), ("reason", reason.to_owned())];
        let dead = outgoing(message, letter.to_json(), attributes, Duration::ZERO);
        Decision { message, comes_back: false, resend: Vec::new(), dead: vec![dead] }
    }

    /// A later release's envelope waits for it, as it is.
    pub fn later(message: &'a Message<'a>) -> Self {
        tracing::warn!(message_id = %message.id, "an envelope of a later release is put back to wait");
        let copy = outgoing(message, message.body.to_string(), Vec::new(), MAX_DELAY);
        Decision { message, comes_back: false, resend: vec![copy], dead: Vec::new() }
    }

    /// What was decided for an event.
    pub fn settled(event: &Event<'a>, settlement: Settlement) -> Self {
        let message = event.message;
        let Settlement::Acknowledge { resend, dead } = settlement else {
            return Decision { message, comes_back: true, resend: Vec::new(), dead: Vec::new() };
        };
        let envelope = &event.envelope;
        let mut attributes = vec![("source", envelope.source.as_str().to_owned())];
        attributes.extend(envelope.type_attribute().map(|kind| ("type", kind)));
        let copies = resend.into_iter().map(|copy| {
            let envelope =
                Envelope { destinations: Some(copy.destinations), attempt: copy.attempt, ..envelope.clone() };
            outgoing(message, envelope.to_json(), attributes.clone(), copy.delay)
        });
        let letters = dead.into_iter().map(|Burial { destination, cause, attempt }| {
            let mut attributes = attributes.clone();
            attributes.push(("reason", cause.reason.to_owned()));
            let envelope = &Envelope { attempt, ..envelope.clone() };
            let named = event.named_as(&destination);
            let letter = DeadLetter { envelope, destinations: Some(&named), cause };
            outgoing(message, letter.to_json(), attributes, Duration::ZERO)
        });
        Decision { message, comes_back: false, resend: copies.collect(), dead: letters.collect() }
    }
}

/// What follows a received message, as part of the same trace.
fn outgoing(
    received: &Message<'_>,
    body: String,
    attributes: Vec<(&'static str, String)>,
    delay: Duration,
) -> Outgoing {
    Outgoing { body, attributes, delay, trace: received.trace.clone() }
}

/// Where messages are settled.
#[derive(Debug)]
pub struct Desk {
    client: Client,
    queue_url: String,
    queue: Queue,
    dead_letters: Queue,
}

impl Desk {
    /// Makes the queues' clients.
    pub fn new(client: Client, config: &Config) -> Self {
        Desk {
            queue: Queue::new(client.clone(), config.queue_url.clone()),
            dead_letters: Queue::new(client.clone(), config.dead_letter_queue_url.clone()),
            queue_url: config.queue_url.clone(),
            client,
        }
    }

    /// Opens the connection to SQS.
    pub async fn warm_up(&self) {
        self.queue.warm_up(WARM_UP).await;
    }

    /// Sends what is dead and what is owed; the answer names the messages that must come back, be it because
    /// there was no time for them or because something of theirs could not be sent.
    ///
    /// Dead letters go first: of a message that comes back because of one, no copy may be under way as well.
    pub async fn carry_out<'a>(
        &self,
        decisions: Vec<Decision<'a>>,
        budget: &Budget,
        tally: &mut Tally,
    ) -> Vec<MessageId<'a>> {
        let deadline = tokio::time::Instant::from_std(budget.ends);
        let mut comes_back: Vec<bool> = decisions.iter().map(|decision| decision.comes_back).collect();
        let mut messages = Vec::with_capacity(decisions.len());
        let (mut dead, mut resend) = (Vec::new(), Vec::new());
        for (index, decision) in decisions.into_iter().enumerate() {
            messages.push(decision.message);
            dead.extend(decision.dead.into_iter().map(|letter| (index, letter)));
            resend.extend(decision.resend.into_iter().map(|copy| (index, copy)));
        }
        let unstarted: Vec<&Message<'_>> = messages
            .iter()
            .zip(&comes_back)
            .filter(|(_, back)| **back)
            .map(|(message, _)| *message)
            .collect();
        let letters_then_copies = async {
            let mut unsent = send(&self.dead_letters, dead, deadline).await;
            resend.retain(|(owner, _)| unsent.iter().all(|(index, _)| index != owner));
            unsent.extend(send(&self.queue, resend, deadline).await);
            unsent
        };
        let ((), unsent) = tokio::join!(self.show_again(&unstarted, deadline), letters_then_copies);
        for (index, error) in unsent {
            tracing::error!(message_id = %messages[index].id, %error, "could not be put back: the message returns");
            tally.add("unsent", 1);
            comes_back[index] = true;
        }
        messages
            .iter()
            .zip(comes_back)
            .filter(|(_, back)| *back)
            .map(|(message, _)| message.id.clone())
            .collect()
    }

    /// Makes messages visible at once. If that fails they come back later, by the queue's visibility timeout.
    async fn show_again(&self, messages: &[&Message<'_>], deadline: tokio::time::Instant) {
        let entry = |(index, message): (usize, &&Message<'_>)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(message.receipt_handle.as_deref()?)
                .visibility_timeout(0)
                .build()
                .ok()
        };
        let calls = messages.chunks(MAX_ENTRIES).map(|messages| {
            let entries = messages.iter().enumerate().filter_map(entry).collect();
            let call = self.client.change_message_visibility_batch().queue_url(&self.queue_url);
            tokio::time::timeout_at(deadline, call.set_entries(Some(entries)).send())
        });
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT).collect().await;
        let failed = answers.iter().filter(|call| !matches!(call, Ok(Ok(_)))).count();
        if failed > 0 {
            tracing::warn!(
                calls = failed,
                "some messages will come back late: their visibility could not be changed"
            );
        }
    }
}

/// Sends messages with their owners' indices; the owners of what could not be sent come back with the reason.
async fn send(
    queue: &Queue,
    messages: Vec<(usize, Outgoing)>,
    deadline: tokio::time::Instant,
) -> Vec<(usize, SendError)> {
    let (owners, messages): (Vec<usize>, Vec<Outgoing>) = messages.into_iter().unzip();
    let results = queue.send_all(messages, deadline).await;
    owners.into_iter().zip(results).filter_map(|(owner, result)| Some((owner, result.err()?))).collect()
}
