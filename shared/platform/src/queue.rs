//! An SQS queue, as far as this product sends to one.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use futures_util::stream::{self, StreamExt};
use md5::{Digest, Md5};
use tokio::time::{Instant, sleep, timeout_at};

use crate::known;
use crate::trace::TraceHeader;

/// SQS takes up to 10 messages in one call (API reference, SendMessageBatch).
const MAX_ENTRIES: usize = 10;

/// SQS takes 1 MiB in one call, all messages and their attributes together; the margin is the attributes'.
const MAX_CALL_BYTES: usize = 1_000_000;

/// Calls in flight, each over a connection of its own: 160 messages at a time.
const IN_FLIGHT: usize = 16;

/// What SQS turned down by its own error within a 200, or did not acknowledge, is sent again this many times.
const RETRIES: u32 = 2;

const PAUSE: Duration = Duration::from_millis(100);

const TRACE_HEADER: MessageSystemAttributeNameForSends = MessageSystemAttributeNameForSends::AwsTraceHeader;

/// A message on its way to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundMessage {
    /// The message body, in characters that SQS takes.
    pub body: String,
    /// Attributes for the operator's eye, name and value. None decides anything.
    pub attributes: Vec<(&'static str, String)>,
    /// How long the queue holds it back; whole seconds up to 900.
    pub delay: Duration,
    /// The trace that it belongs to. SQS hands it on as a system attribute, whose bytes do not count.
    pub trace: Option<TraceHeader>,
}

/// Why a message is not on the queue, or not known to be. Never holds any of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// SQS did not answer in time.
    #[error("SQS did not answer in time")]
    Timeout,
    /// No connection, or a broken one.
    #[error("SQS could not be reached")]
    Unreachable,
    /// SQS answered with a success that does not say that it has the message.
    #[error("SQS answered without an acknowledgement")]
    Unacknowledged,
    /// SQS refused.
    #[error("SQS refused it: {0}")]
    Refused(String),
}

/// A queue to send to.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A queue by its URL.
    pub fn new(client: Client, url: String) -> Self {
        Queue { client, url }
    }

    /// Opens the connection, so that the first message need not wait for DNS, TCP and TLS. Whether SQS likes
    /// the call does not matter.
    pub async fn warm_up(&self, timeout: Duration) {
        let call = self.client.get_queue_attributes().queue_url(&self.url).send();
        if !matches!(tokio::time::timeout(timeout, call).await, Ok(Ok(_))) {
            tracing::debug!("the warm-up call to SQS did not succeed");
        }
    }

    /// Sends one message. What is not known to be sent at the deadline counts as not sent.
    ///
    /// # Errors
    /// [`SendError`]; then the message may still have reached the queue.
    pub async fn send(&self, message: OutboundMessage, deadline: Instant) -> Result<(), SendError> {
        let digest = digest(&message.body);
        let mut call = self.client.send_message().queue_url(&self.url).message_body(message.body);
        if !message.delay.is_zero() {
            call = call.delay_seconds(seconds(message.delay));
        }
        for (name, value) in message.attributes {
            call = call.message_attributes(name, text_attribute(value)?);
        }
        if let Some(trace) = message.trace {
            call = call.message_system_attributes(TRACE_HEADER, trace_attribute(trace)?);
        }
        let tries = async {
            for round in 0..=RETRIES {
                if round > 0 {
                    sleep(PAUSE).await;
                }
                let answer = call.clone().send().await.map_err(explain)?;
                if is_acknowledged(answer.message_id(), answer.md5_of_message_body(), &digest) {
                    return Ok(());
                }
            }
            Err(SendError::Unacknowledged)
        };
        timeout_at(deadline, tries).await.unwrap_or(Err(SendError::Timeout))
    }

    /// Sends messages in as few calls as SQS allows, side by side; the answer has their order. What is not
    /// known to be sent at the deadline counts as not sent.
    pub async fn send_all(
        &self,
        messages: Vec<OutboundMessage>,
        deadline: Instant,
    ) -> Vec<Result<(), SendError>> {
        let calls = packed(messages).into_iter().map(|call| self.send_call(call, deadline));
        stream::iter(calls).buffered(IN_FLIGHT).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn send_call(
        &self,
        messages: Vec<OutboundMessage>,
        deadline: Instant,
    ) -> Vec<Result<(), SendError>> {
        let count = messages.len();
        let mut results = vec![Err(SendError::Timeout); count];
        // Making a request takes time, too.
        if Instant::now() >= deadline {
            return results;
        }
        let digests: Vec<String> = messages.iter().map(|message| digest(&message.body)).collect();
        let mut entries = Vec::with_capacity(count);
        for (index, message) in messages.into_iter().enumerate() {
            match entry(index, message) {
                Ok(entry) => entries.push(entry),
                Err(error) => results[index] = Err(error),
            }
        }
        for round in 0..=RETRIES {
            if entries.is_empty() {
                break;
            }
            if round > 0 {
                sleep(PAUSE).await;
            }
            let call = self
                .client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.clone()))
                .send();
            let answer = match timeout_at(deadline, call).await.map(|answer| answer.map_err(explain)) {
                Ok(Ok(answer)) => answer,
                unsent => {
                    let error = unsent.ok().and_then(Result::err).unwrap_or(SendError::Timeout);
                    for result in index_of(entries.iter().map(SendMessageBatchRequestEntry::id), count) {
                        results[result] = Err(error.clone());
                    }
                    break;
                }
            };
            // What the answer does not speak of is not sent.
            for silent in index_of(entries.iter().map(SendMessageBatchRequestEntry::id), count) {
                results[silent] = Err(SendError::Unacknowledged);
            }
            for sent in answer.successful() {
                let Some(index) = index_of([sent.id()].into_iter(), count).next() else { continue };
                if is_acknowledged(Some(sent.message_id()), Some(sent.md5_of_message_body()), &digests[index])
                {
                    results[index] = Ok(());
                }
            }
            for failed in answer.failed() {
                if let Some(index) = index_of([failed.id()].into_iter(), count).next() {
                    results[index] = Err(SendError::Refused(known::aws_code(failed.code()).to_owned()));
                }
            }
            // What SQS calls the sender's error will not get better by itself.
            let hopeless: Vec<&str> =
                answer.failed().iter().filter(|entry| entry.sender_fault()).map(|entry| entry.id()).collect();
            entries.retain(|entry| {
                let sent = index_of([entry.id()].into_iter(), count).any(|index| results[index].is_ok());
                !sent && !hopeless.contains(&entry.id())
            });
        }
        results
    }
}

fn index_of<'a>(ids: impl Iterator<Item = &'a str>, count: usize) -> impl Iterator<Item = usize> {
    ids.filter_map(|id| id.parse().ok()).filter(move |index| *index < count)
}

/// As in SQS's answers.
fn digest(body: &str) -> String {
    Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether SQS says that it has a message, and the one that was sent: the digest may be missing, but not another.
fn is_acknowledged(id: Option<&str>, told: Option<&str>, digest: &str) -> bool {
    let is_told = |text: &&str| !text.is_empty();
    id.filter(is_told).is_some() && told.filter(is_told).is_none_or(|told| told.eq_ignore_ascii_case(digest))
}

fn entry(index: usize, message: OutboundMessage) -> Result<SendMessageBatchRequestEntry, SendError> {
    let mut entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(message.body);
    if !message.delay.is_zero() {
        entry = entry.delay_seconds(seconds(message.delay));
    }
    for (name, value) in message.attributes {
        entry = entry.message_attributes(name, text_attribute(value)?);
    }
    if let Some(trace) = message.trace {
        entry = entry.message_system_attributes(TRACE_HEADER, trace_attribute(trace)?);
    }
    entry.build().map_err(|_| SendError::Refused("an incomplete entry".to_owned()))
}

fn text_attribute(value: String) -> Result<MessageAttributeValue, SendError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|_| SendError::Refused("an incomplete attribute".to_owned()))
}

fn trace_attribute(trace: TraceHeader) -> Result<MessageSystemAttributeValue, SendError> {
    MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(trace.as_str())
        .build()
        .map_err(|_| SendError::Refused("an incomplete attribute".to_owned()))
}

fn seconds(delay: Duration) -> i32 {
    delay.as_secs().min(900) as i32
}

/// Groups messages, in order, into calls that SQS takes.
fn packed(messages: Vec<OutboundMessage>) -> Vec<Vec<OutboundMessage>> {
    let mut calls: Vec<Vec<OutboundMessage>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        match calls.last_mut() {
            Some(call) if call.len() < MAX_ENTRIES && bytes + message.body.len() <= MAX_CALL_BYTES => {
                bytes += message.body.len();
                call.push(message);
            }
            _ => {
                bytes = message.body.len();
                calls.push(vec![message]);
            }
        }
    }
    calls
}

fn explain<E: ProvideErrorMetadata, R>(error: SdkError<E, R>) -> SendError {
    match &error {
        SdkError::TimeoutError(_) => SendError::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => SendError::Timeout,
        SdkError::ServiceError(service) => {
            // The code only: AWS's messages may quote the request.
            SendError::Refused(service.err().code().map_or("without a code", known::aws_code).to_owned())
        }
        _ => SendError::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_has_an_id_and_no_other_digest() {
        let (digest, other) = (digest("hello"), digest("world"));
        assert_eq!(digest, "5d41402abc4b2a76b9719d911017c592");
        for (id, told, is_one) in [
            (Some("m"), Some(&*digest), true),
            (Some("m"), Some(&*digest.to_uppercase()), true),
            (Some("m"), None, true),
            (Some("m"), Some(""), true),
            (Some("m"), Some(&*other), false),
            (Some(""), Some(&*digest), false),
            (None, Some(&*digest), false),
            (None, None, false),
        ] {
            assert_eq!(is_acknowledged(id, told, &digest), is_one, "{id:?} {told:?}");
        }
    }

    #[test]
    fn calls_keep_to_both_limits() {
        let message = |bytes| OutboundMessage {
            body: "x".repeat(bytes),
            attributes: vec![],
            delay: Duration::ZERO,
            trace: None,
        };
        let lengths =
            |messages: Vec<OutboundMessage>| packed(messages).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(vec![]), Vec::<usize>::new());
        assert_eq!(lengths(vec![message(10); 25]), [10, 10, 5]);
        assert_eq!(lengths(vec![message(262_144); 7]), [3, 3, 1]);
    }
}
