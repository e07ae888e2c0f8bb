//! An SQS queue, as far as this product sends to one.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
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

/// The longest that a queue holds a message back (API reference, SendMessage).
const MAX_DELAY_SECONDS: u64 = 900;

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
    /// SQS responded with a success that does not say that it has the message.
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
        let Entry { digest, body, delay_seconds, attributes, system_attributes } = Entry::of(message)?;
        let call = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .set_delay_seconds(delay_seconds)
            .set_message_attributes(attributes)
            .set_message_system_attributes(system_attributes);
        let tries = async {
            for round in 0..=RETRIES {
                if round > 0 {
                    sleep(PAUSE).await;
                }
                let sent = call.clone().send().await.map_err(explain)?;
                if is_acknowledged(sent.message_id(), sent.md5_of_message_body(), &digest) {
                    return Ok(());
                }
            }
            Err(SendError::Unacknowledged)
        };
        timeout_at(deadline, tries).await.unwrap_or(Err(SendError::Timeout))
    }

    /// Sends messages in as few calls as SQS allows, side by side; the result has their order. What is not
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
        // Making a request takes time, too.
        if Instant::now() >= deadline {
            return vec![Err(SendError::Timeout); messages.len()];
        }
        let mut call = BatchCall::of(messages);
        for round in 0..=RETRIES {
            if call.entries.is_empty() {
                break;
            }
            if round > 0 {
                sleep(PAUSE).await;
            }
            let request = self.client.send_message_batch().queue_url(&self.url);
            let request = request.set_entries(Some(call.entries.clone())).send();
            match timeout_at(deadline, request).await {
                Ok(Ok(response)) => call.record(&response),
                unsent => {
                    call.fail(&unsent.map_or(SendError::Timeout, |unsent| {
                        unsent.err().map_or(SendError::Unacknowledged, explain)
                    }));
                    break;
                }
            }
        }
        call.results
    }
}

/// The messages of one SendMessageBatch. An entry's id is its message's index.
struct BatchCall {
    digests: Vec<String>,
    /// Those that SQS is not known to have, and may yet take.
    entries: Vec<SendMessageBatchRequestEntry>,
    results: Vec<Result<(), SendError>>,
}

impl BatchCall {
    fn of(messages: Vec<OutboundMessage>) -> Self {
        let mut results = vec![Err(SendError::Timeout); messages.len()];
        let (mut digests, mut entries) = (Vec::new(), Vec::new());
        for (index, message) in messages.into_iter().enumerate() {
            digests.push(digest(&message.body));
            match Entry::of(message).and_then(|entry| entry.batched(index)) {
                Ok(entry) => entries.push(entry),
                Err(error) => results[index] = Err(error),
            }
        }
        BatchCall { digests, entries, results }
    }

    /// The whole call failed.
    fn fail(&mut self, error: &SendError) {
        for index in self.entries.iter().filter_map(|entry| index_of(entry.id())) {
            if let Some(result) = self.results.get_mut(index) {
                *result = Err(error.clone());
            }
        }
    }

    /// Takes down what SQS says of each entry. What it does not speak of is not sent.
    fn record(&mut self, response: &SendMessageBatchOutput) {
        self.fail(&SendError::Unacknowledged);
        for sent in response.successful() {
            let Some(index) = index_of(sent.id()) else { continue };
            let (id, digest) = (sent.message_id(), sent.md5_of_message_body());
            if self
                .digests
                .get(index)
                .is_some_and(|expected| is_acknowledged(Some(id), Some(digest), expected))
            {
                self.results[index] = Ok(());
            }
        }
        for failed in response.failed() {
            if let Some(result) = index_of(failed.id()).and_then(|index| self.results.get_mut(index)) {
                *result = Err(SendError::Refused(known::aws_code(failed.code()).to_owned()));
            }
        }
        // What SQS calls the sender's error will not get better by itself.
        let is_hopeless =
            |id: &str| response.failed().iter().any(|failed| failed.sender_fault() && failed.id() == id);
        self.entries.retain(|entry| {
            let is_sent = index_of(entry.id()).is_some_and(|index| self.results[index].is_ok());
            !is_sent && !is_hopeless(entry.id())
        });
    }
}

fn index_of(id: &str) -> Option<usize> {
    id.parse().ok()
}

/// A message as SQS's API takes it.
struct Entry {
    digest: String,
    body: String,
    delay_seconds: Option<i32>,
    attributes: Option<HashMap<String, MessageAttributeValue>>,
    system_attributes: Option<HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>>,
}

impl Entry {
    fn of(message: OutboundMessage) -> Result<Self, SendError> {
        let OutboundMessage { body, attributes, delay, trace } = message;
        let attributes: HashMap<_, _> = attributes
            .into_iter()
            .map(|(name, value)| Ok((name.to_owned(), text_attribute(value)?)))
            .collect::<Result<_, SendError>>()?;
        let trace = trace.map(trace_attribute).transpose()?;
        Ok(Entry {
            digest: digest(&body),
            body,
            delay_seconds: (!delay.is_zero()).then(|| delay.as_secs().min(MAX_DELAY_SECONDS) as i32),
            attributes: (!attributes.is_empty()).then_some(attributes),
            system_attributes: trace.map(|trace| HashMap::from([(TRACE_HEADER, trace)])),
        })
    }

    fn batched(self, index: usize) -> Result<SendMessageBatchRequestEntry, SendError> {
        SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(self.body)
            .set_delay_seconds(self.delay_seconds)
            .set_message_attributes(self.attributes)
            .set_message_system_attributes(self.system_attributes)
            .build()
            .map_err(|_| SendError::Refused("an incomplete entry".to_owned()))
    }
}

/// As in SQS's answers.
fn digest(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// Whether SQS says that it has a message, and the one that was sent: the digest may be missing, but not another.
fn is_acknowledged(id: Option<&str>, digest: Option<&str>, expected: &str) -> bool {
    let is_there = |text: &&str| !text.is_empty();
    id.filter(is_there).is_some()
        && digest.filter(is_there).is_none_or(|digest| digest.eq_ignore_ascii_case(expected))
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
