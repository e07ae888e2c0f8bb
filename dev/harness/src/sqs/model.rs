//! The services without a server and without a clock: whoever holds them says what time it is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::QueueSettings;
use super::error::ApiError;
use super::fault::Refusal;
use super::message::{Draft, Stored};
use super::queue::{QueueState, Queues, ReceiveLimits, Redrive};
use super::server::Api;
use super::{firehose, logs, protocol, ssm};
use crate::event_source::record;

/// SQS, SSM's parameters, Firehose and a log group, in memory. Times are in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct AwsModel {
    queues: Queues,
    parameters: BTreeMap<String, String>,
    streams: firehose::Streams,
    log: Vec<logs::LogLine>,
}

/// An answer of AWS's, as it goes over the wire.
#[derive(Debug, Clone)]
pub struct ApiAnswer {
    pub status: u16,
    pub body: Value,
    /// For the header `x-amzn-query-error`.
    pub query_error: Option<String>,
}

/// A message that a receive has handed out.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    pub id: String,
    pub receipt: String,
    pub body: String,
    pub receive_count: u32,
    /// As it stands in the event of an event source mapping.
    pub record: Value,
}

impl AwsModel {
    /// Its dead-letter queue is made too, unless it is there.
    pub fn add_queue(&mut self, name: &str, settings: QueueSettings) {
        let QueueSettings { visibility, max_receive_count, dead_letter } = settings;
        let redrive = dead_letter.map(|dead_letter| Redrive { dead_letter, max_receive_count });
        let visibility_ms = visibility.as_millis() as u64;
        self.queues.insert(name, QueueState { visibility_ms, redrive, messages: Vec::new() });
    }

    pub fn add_stream(&mut self, name: &str) {
        self.streams.insert(name.to_owned(), Vec::new());
    }

    pub fn set_parameter(&mut self, name: &str, value: &str) {
        self.parameters.insert(name.to_owned(), value.to_owned());
    }

    /// Adds a line to the log group.
    pub fn log(&mut self, text: String, now_ms: u64) {
        self.log.push(logs::LogLine { at_ms: now_ms as i64, text });
    }

    /// Takes the records out of a delivery stream.
    pub fn take_records(&mut self, stream: &str) -> Vec<String> {
        self.streams.get_mut(stream).map(std::mem::take).unwrap_or_default()
    }

    /// Answers a call. `target` is the header `x-amz-target`; of a batch, the entries at `refused` fail.
    pub fn answer(&mut self, target: &str, request: &Value, refused: &[usize], now_ms: u64) -> ApiAnswer {
        let (api, operation) = Api::of(target);
        let refusal = Refusal { entries: refused, sender_fault: false };
        let refusal = Some(&refusal).filter(|refusal| !refusal.entries.is_empty());
        let result = match api {
            Api::Sqs => protocol::perform(&mut self.queues, operation, request, refusal, now_ms),
            Api::Ssm => ssm::perform(&self.parameters, operation, request),
            Api::Firehose => firehose::perform(&mut self.streams, operation, request, refusal),
            Api::Logs => logs::perform(&self.log, operation, request),
        };
        result.map_or_else(
            |error| api.refuse(&error),
            |body| ApiAnswer { status: 200, body, query_error: None },
        )
    }

    /// What a service answers that has had enough, or that is broken.
    pub fn refusal(target: &str, is_throttled: bool) -> ApiAnswer {
        let (api, _) = Api::of(target);
        api.refuse(&if is_throttled { api.throttled() } else { ApiError::unavailable(503) })
    }

    /// Hands out what is visible, at most so many messages, and hides it. The second list has the ids of those that
    /// were received too often, and lie in the dead-letter queue now.
    pub fn receive(
        &mut self,
        queue: &str,
        messages: usize,
        now_ms: u64,
    ) -> (Vec<ReceivedMessage>, Vec<String>) {
        let dead_letter = self.queues.get(queue).and_then(|queue| queue.redrive.clone());
        let dead = |queues: &Queues| -> Vec<String> {
            let queue = dead_letter.as_ref().and_then(|redrive| queues.get(&redrive.dead_letter));
            queue.iter().flat_map(|queue| &queue.messages).map(|message| message.id.clone()).collect()
        };
        let before = dead(&self.queues).len();
        let limits = ReceiveLimits { messages, bytes: usize::MAX, visibility_ms: None };
        let received = self.queues.receive(queue, &limits, now_ms).unwrap_or_default();
        let given_up = dead(&self.queues).split_off(before);
        let handed_out = |message: &Stored| ReceivedMessage {
            id: message.id.clone(),
            receipt: message.receipt().to_owned(),
            body: message.body.clone(),
            receive_count: message.receive_count,
            record: record(message, queue),
        };
        (received.iter().map(handed_out).collect(), given_up)
    }

    /// Deletes a message that was received, unless it has been received again since; whether it did.
    pub fn delete(&mut self, queue: &str, receipt: &str) -> bool {
        let count = |queues: &Queues| queues.get(queue).map_or(0, |queue| queue.messages.len());
        let before = count(&self.queues);
        // A receipt of ours is never malformed.
        let _ = self.queues.delete(queue, receipt);
        count(&self.queues) < before
    }

    /// Deletes what was sent before a time: SQS keeps a message for so long and no longer. The ids of what is gone.
    pub fn expire(&mut self, queue: &str, sent_before_ms: u64) -> Vec<String> {
        let messages = self.queues.get_mut(queue).map(|queue| &mut queue.messages);
        let expired = messages
            .into_iter()
            .flat_map(|messages| messages.extract_if(.., |message| message.sent_ms < sent_before_ms));
        expired.map(|message| message.id).collect()
    }

    /// Puts the messages of a queue into another order: SQS knows none. `below` gives a number below another.
    pub fn shuffle(&mut self, queue: &str, mut below: impl FnMut(usize) -> usize) {
        let Ok(queue) = self.queues.get_mut(queue) else { return };
        for place in (1..queue.messages.len()).rev() {
            queue.messages.swap(place, below(place + 1));
        }
    }

    /// Shows a message again although it was received: SQS delivers at least once.
    pub fn show_again(&mut self, queue: &str, id: &str, now_ms: u64) {
        let messages = self.queues.get_mut(queue).map(|queue| &mut queue.messages);
        let message = messages.into_iter().flatten().find(|message| message.id == id);
        if let Some(message) = message {
            message.due_ms = now_ms;
        }
    }

    /// Puts a message on a queue past the protocol; its id.
    pub fn put(&mut self, queue: &str, body: &str, now_ms: u64) -> Option<String> {
        let draft =
            Draft { body: body.to_owned(), attributes: BTreeMap::new(), trace_header: None, delay_s: 0 };
        self.queues.put(queue, draft, now_ms).ok()
    }

    /// Takes all messages out of a queue: ids and bodies.
    pub fn take_all(&mut self, queue: &str) -> Vec<(String, String)> {
        let messages = self.queues.get_mut(queue).map(|queue| std::mem::take(&mut queue.messages));
        messages.unwrap_or_default().into_iter().map(|message| (message.id, message.body)).collect()
    }

    /// The messages of a queue, hidden ones too: ids and bodies.
    pub fn messages(&self, queue: &str) -> impl Iterator<Item = (&str, &str)> {
        let queue = self.queues.get(queue);
        queue.into_iter().flat_map(|queue| &queue.messages).map(|message| (&*message.id, &*message.body))
    }

    /// How many messages of a queue a receive would find.
    pub fn visible(&self, queue: &str, now_ms: u64) -> usize {
        let messages = self.queues.get(queue).into_iter().flat_map(|queue| &queue.messages);
        messages.filter(|message| message.due_ms <= now_ms).count()
    }

    /// How many messages of a queue were received and are hidden.
    pub fn in_flight(&self, queue: &str, now_ms: u64) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.in_flight(now_ms))
    }

    /// When the next message of a queue becomes visible; a time in the past when one is.
    pub fn next_due_ms(&self, queue: &str) -> Option<u64> {
        self.queues.next_due_ms(Some(queue))
    }
}
