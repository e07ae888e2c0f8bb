//! Carries out what was decided: what is owed is on a queue before the received message is acknowledged.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{DeliveryOutcome, MAX_DELAY, Resend, Settlement, Tries, Undeliverable, settle};
use relay_core::envelope::{DeadLetter, DeadLetterReason, Envelope};
use relay_platform::queue::{OutboundMessage, Queue, SendError};
use relay_platform::world;

use crate::batch::{Message, MessageId};
use crate::batch_metrics::BatchMetrics;
use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;

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
    resend: Vec<FollowUp>,
    dead: Vec<FollowUp>,
    /// The destinations that have accepted the event: they get it twice should the message come back after all.
    accepted: Vec<String>,
    /// The destinations at which the event is already counted as one that may be doubled.
    counted: Vec<String>,
}

/// A message that follows a received one.
#[derive(Debug)]
struct FollowUp {
    outbound: OutboundMessage,
    /// The destinations that it is about.
    destinations: Vec<String>,
}

impl FollowUp {
    /// Part of the same trace.
    fn of(
        received: &Message<'_>,
        body: String,
        attributes: Vec<(&'static str, String)>,
        delay: Duration,
        destinations: Vec<String>,
    ) -> Self {
        let trace = received.trace.clone();
        FollowUp { outbound: OutboundMessage { body, attributes, delay, trace }, destinations }
    }

    fn letter(received: &Message<'_>, letter: &DeadLetter<'_, '_>, destinations: Vec<String>) -> Self {
        FollowUp::of(received, letter.to_json(), letter.attributes(), Duration::ZERO, destinations)
    }
}

impl<'a> Decision<'a> {
    /// The message comes back, and nothing is sent.
    fn comes_back(message: &'a Message<'a>) -> Self {
        Decision { comes_back: true, ..Decision::send(message, Vec::new(), Vec::new()) }
    }

    /// Something is sent, and then the message is acknowledged.
    fn send(message: &'a Message<'a>, resend: Vec<FollowUp>, dead: Vec<FollowUp>) -> Self {
        Decision { message, comes_back: false, resend, dead, accepted: Vec::new(), counted: Vec::new() }
    }

    /// Poison goes to the dead-letter queue as it is.
    pub fn poison(message: &'a Message<'a>, reason: &'static str) -> Self {
        tracing::error!(message_id = %message.id, reason, "to the dead-letter queue");
        let (body, attributes) = (message.body.to_string(), vec![("reason", reason.to_owned())]);
        let letter = FollowUp::of(message, body, attributes, Duration::ZERO, Vec::new());
        Decision::send(message, Vec::new(), vec![letter])
    }

    /// An event that is none goes to the dead-letter queue with the reason.
    pub fn invalid(message: &'a Message<'a>, envelope: &Envelope<'_>, reason: &'static str) -> Self {
        tracing::error!(id = %envelope.id, reason, "to the dead-letter queue");
        let cause = DeadLetterReason::new(reason);
        let letter = DeadLetter { envelope, destinations: None, cause };
        Decision::send(message, Vec::new(), vec![FollowUp::letter(message, &letter, Vec::new())])
    }

    /// A later release's envelope waits for it, as it is.
    pub fn later(message: &'a Message<'a>) -> Self {
        tracing::warn!(message_id = %message.id, "an envelope of a later release is put back to wait");
        let copy = FollowUp::of(message, message.body.to_string(), Vec::new(), MAX_DELAY, Vec::new());
        Decision::send(message, vec![copy], Vec::new())
    }

    /// What is decided by the outcomes of an event.
    pub fn of(event: &Event<'a>, outcomes: &[(String, DeliveryOutcome)]) -> Self {
        let (message, envelope) = (event.message, &event.envelope);
        let tries = Tries { attempt: envelope.attempt, receives: message.receive_count };
        let (resend, dead) = match settle(tries, outcomes.to_vec(), world::fraction()) {
            Settlement::Acknowledge { resend, dead } => (resend, dead),
            Settlement::Return => return Decision::comes_back(message),
        };
        let copies = resend.into_iter().map(|Resend { destinations, attempt, delay }| {
            let copy = Envelope { destinations: Some(destinations.clone()), attempt, ..envelope.clone() };
            FollowUp::of(message, copy.to_json(), copy.attributes(), delay, destinations)
        });
        let letters = dead.into_iter().map(|Undeliverable { destination, cause, attempt }| {
            let envelope = &Envelope { attempt, ..envelope.clone() };
            let named = event.named_as(&destination);
            let letter = DeadLetter { envelope, destinations: Some(&named), cause };
            FollowUp::letter(message, &letter, vec![destination])
        });
        let names = |of: fn(&DeliveryOutcome) -> bool| -> Vec<String> {
            outcomes.iter().filter(|(_, outcome)| of(outcome)).map(|(name, _)| name.clone()).collect()
        };
        Decision {
            accepted: names(|outcome| matches!(outcome, DeliveryOutcome::Accepted { .. })),
            counted: names(DeliveryOutcome::is_maybe_doubled),
            ..Decision::send(message, copies.collect(), letters.collect())
        }
    }
}

#[derive(Debug)]
pub struct Settler {
    client: Client,
    queue_url: String,
    queue: Queue,
    dead_letters: Queue,
}

impl Settler {
    pub fn new(client: Client, config: &Config) -> Self {
        Settler {
            queue: Queue::new(client.clone(), config.queue_url.clone()),
            dead_letters: Queue::new(client.clone(), config.dead_letter_queue_url.clone()),
            queue_url: config.queue_url.clone(),
            client,
        }
    }

    pub async fn warm_up(&self) {
        self.queue.warm_up(WARM_UP).await;
    }

    /// Sends what is dead and what is owed; the result names the messages that must come back, be it because
    /// there was no time for them or because something of theirs could not be sent.
    ///
    /// Of one message dead letters go first: where it comes back because of one, no copy may be under way as well. A
    /// message without any does not wait for those of others.
    pub async fn settle<'a>(
        &self,
        decisions: Vec<Decision<'a>>,
        budget: &Budget,
        batch_metrics: &mut BatchMetrics,
    ) -> Vec<MessageId<'a>> {
        let deadline = budget.ends;
        let Sorted { mut owners, dead, mut after_dead, resend } = Sorted::of(decisions);
        let unstarted: Vec<&Message<'_>> =
            owners.iter().filter(|owner| owner.comes_back).map(|owner| owner.message).collect();
        let letters_then_copies = async {
            let mut sent = send(&self.dead_letters, dead, deadline).await;
            let unsent: HashSet<usize> =
                sent.iter().filter(|sent| sent.result.is_err()).map(|sent| sent.owner).collect();
            after_dead.retain(|(owner, _)| !unsent.contains(owner));
            sent.extend(send(&self.queue, after_dead, deadline).await);
            sent
        };
        let ((), letters, copies) = tokio::join!(
            self.show_again(&unstarted, deadline),
            letters_then_copies,
            send(&self.queue, resend, deadline),
        );
        for sent in letters.into_iter().chain(copies) {
            owners[sent.owner].take_down(sent, batch_metrics);
        }
        for owner in owners.iter().filter(|owner| owner.is_unsent) {
            // It returns as it was, owed to these too.
            for destination in owner.done.iter().filter(|name| !owner.counted.contains(name)) {
                batch_metrics.count_doubling(destination);
            }
        }
        let comes_back = owners.into_iter().filter(|owner| owner.comes_back || owner.is_unsent);
        comes_back.map(|owner| owner.message.id.clone()).collect()
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
            let call = call.set_entries(Some(entries)).send();
            async move {
                // Making a request takes time, too.
                let is_late = tokio::time::Instant::now() >= deadline;
                !is_late && matches!(tokio::time::timeout_at(deadline, call).await, Ok(Ok(_)))
            }
        });
        let results: Vec<bool> = stream::iter(calls).buffer_unordered(IN_FLIGHT).collect().await;
        let failed = results.iter().filter(|has_succeeded| !**has_succeeded).count();
        if failed > 0 {
            tracing::warn!(
                calls = failed,
                "some messages will come back late: their visibility could not be changed"
            );
        }
    }
}

/// A message while what follows it is sent.
struct Owner<'a> {
    message: &'a Message<'a>,
    comes_back: bool,
    /// Something of it is not known to be sent: it comes back.
    is_unsent: bool,
    /// The destinations that have the event, or for which it lies or may lie in a queue besides.
    done: Vec<String>,
    counted: Vec<String>,
}

impl Owner<'_> {
    /// What became of one of its follow-ups.
    fn take_down(&mut self, Sent { destinations, result, .. }: Sent, batch_metrics: &mut BatchMetrics) {
        let may_be_there = match result {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(message_id = %self.message.id, %error, "could not be put back: the message returns");
                batch_metrics.count_unsent();
                self.is_unsent = true;
                !matches!(error, SendError::Refused(_))
            }
        };
        if may_be_there {
            self.done.extend(destinations);
        }
    }
}

/// What is sent of all messages, each with its owner's index.
struct Sorted<'a> {
    owners: Vec<Owner<'a>>,
    dead: Vec<(usize, FollowUp)>,
    /// Copies of messages of which dead letters are sent first.
    after_dead: Vec<(usize, FollowUp)>,
    resend: Vec<(usize, FollowUp)>,
}

impl<'a> Sorted<'a> {
    fn of(decisions: Vec<Decision<'a>>) -> Self {
        let mut owners = Vec::with_capacity(decisions.len());
        let (mut dead, mut after_dead, mut resend) = (Vec::new(), Vec::new(), Vec::new());
        for (index, decision) in decisions.into_iter().enumerate() {
            let Decision { message, comes_back, accepted: done, counted, .. } = decision;
            let copies = if decision.dead.is_empty() { &mut resend } else { &mut after_dead };
            copies.extend(decision.resend.into_iter().map(|copy| (index, copy)));
            dead.extend(decision.dead.into_iter().map(|letter| (index, letter)));
            owners.push(Owner { message, comes_back, is_unsent: false, done, counted });
        }
        Sorted { owners, dead, after_dead, resend }
    }
}

struct Sent {
    owner: usize,
    destinations: Vec<String>,
    result: Result<(), SendError>,
}

/// Sends follow-ups, each with its owner's index; the result has their order.
async fn send(
    queue: &Queue,
    follow_ups: Vec<(usize, FollowUp)>,
    deadline: tokio::time::Instant,
) -> Vec<Sent> {
    let (about, messages): (Vec<_>, Vec<_>) = follow_ups
        .into_iter()
        .map(|(owner, FollowUp { outbound, destinations })| ((owner, destinations), outbound))
        .unzip();
    let results = queue.send_all(messages, deadline).await;
    let sent = about.into_iter().zip(results);
    sent.map(|((owner, destinations), result)| Sent { owner, destinations, result }).collect()
}
