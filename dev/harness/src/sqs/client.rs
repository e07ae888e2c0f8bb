//! The server and its queues, as tests hold them: set up, read and changed past the protocol and its faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::error::ApiError;
use super::fault::Fault;
use super::logs;
use super::message::{Stored, draft};
use super::queue::{QueueState, ReceiveLimits, Redrive};
use super::server::{ApiCall, Services};
#[cfg(feature = "tls")]
use super::tls;
use crate::clock::Clock;
use crate::http::{self, Layer, Plain, Server};
use crate::sync::lock;
use crate::when::When;

/// How a queue is set up; 30 s of visibility and no dead-letter queue by default.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    pub visibility: Duration,
    /// After how many receives a message goes to the dead-letter queue.
    pub max_receive_count: u32,
    pub dead_letter: Option<String>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { visibility: Duration::from_secs(30), max_receive_count: 10, dead_letter: None }
    }
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// To be had by the next receive.
    Visible,
    /// Not yet visible for the first time.
    Delayed,
    /// Received, and neither deleted nor visible again.
    InFlight,
}

/// A message as it lies in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// The id that SQS gave it.
    pub id: String,
    /// The body as it was sent.
    pub body: String,
    /// The message attributes, binary ones in base64.
    pub attributes: BTreeMap<String, String>,
    /// X-Ray's trace header, the system attribute `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// The delay that it was sent with.
    pub delay: Duration,
    /// Where it is now.
    pub state: MessageState,
    /// How long it stays hidden from now; zero when it is visible.
    pub hidden_for: Duration,
    /// How often it was received.
    pub receive_count: u32,
    /// When it was sent, in milliseconds since 1970 by the queues' clock.
    pub sent_ms: u64,
}

impl Message {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The server, until it is dropped.
pub struct Sqs {
    server: Server,
    services: Arc<Services>,
    #[cfg(feature = "tls")]
    certificate: Option<tempfile::TempPath>,
}

impl Sqs {
    /// Without queues or parameters.
    pub async fn start() -> Result<Self> {
        let listener = http::listen().await?;
        let url = format!("http://{}", listener.local_addr()?);
        Self::serve(listener, url, Plain)
    }

    /// Behind TLS, with a certificate whose authority is in [`ca_file`](Self::ca_file).
    #[cfg(feature = "tls")]
    pub async fn start_tls() -> Result<Self> {
        let (layer, certificate) = tls::layer()?;
        let listener = http::listen().await?;
        let url = format!("https://{}", listener.local_addr()?);
        Ok(Self { certificate: Some(certificate), ..Self::serve(listener, url, layer)? })
    }

    /// The PEM file for `SSL_CERT_FILE`.
    #[cfg(feature = "tls")]
    pub fn ca_file(&self) -> Option<&std::path::Path> {
        self.certificate.as_deref()
    }

    fn serve(listener: TcpListener, url: String, layer: impl Layer) -> Result<Self> {
        let services = Arc::new(Services::new(url));
        let server = Server::serve(listener, Arc::default(), layer, Arc::clone(&services))?;
        Ok(Self {
            server,
            services,
            #[cfg(feature = "tls")]
            certificate: None,
        })
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        &self.services.url
    }

    /// Makes a queue; an existing one of the name is replaced.
    pub fn queue(&self, name: &str, settings: QueueSettings) -> Queue {
        let QueueSettings { visibility, max_receive_count, dead_letter } = settings;
        let redrive = dead_letter.map(|dead_letter| Redrive { dead_letter, max_receive_count });
        let visibility_ms = visibility.as_millis() as u64;
        let state = QueueState { visibility_ms, redrive, messages: Vec::new() };
        lock(&self.services.queues).insert(name, state);
        Queue { services: Arc::clone(&self.services), name: name.to_owned() }
    }

    /// Puts a SecureString into the parameter store.
    pub fn parameter(&self, name: &str, value: &str) {
        lock(&self.services.parameters).insert(name.to_owned(), value.to_owned());
    }

    /// Makes a delivery stream; an existing one of the name is replaced.
    pub fn stream(&self, name: &str) {
        lock(&self.services.streams).insert(name.to_owned(), Vec::new());
    }

    /// The records that a delivery stream has taken, in their order.
    pub fn records(&self, stream: &str) -> Vec<String> {
        lock(&self.services.streams).get(stream).cloned().unwrap_or_default()
    }

    /// Adds a line to the log group, at a time in milliseconds since 1970.
    pub fn log_line(&self, at_ms: i64, text: impl Into<String>) {
        lock(&self.services.log).push(logs::LogLine { at_ms, text: text.into() });
    }

    /// From now on requests that `when` picks meet this fault; a later fault comes before an earlier one.
    pub fn fail(&self, fault: Fault, when: When) {
        self.services.faults.add(fault, when);
    }

    /// Forgets all faults; requests that hang already keep hanging.
    pub fn recover(&self) {
        self.services.faults.clear();
    }

    /// Every request so far.
    pub fn calls(&self) -> Vec<ApiCall> {
        lock(&self.services.calls).clone()
    }

    /// Forgets them, so that a long run need not remember them all.
    pub fn forget_calls(&self) {
        lock(&self.services.calls).clear();
    }

    /// How many requests for this operation there were.
    pub fn called(&self, operation: &str) -> usize {
        lock(&self.services.calls).iter().filter(|call| call.operation == operation).count()
    }

    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// From now on the connections that are open now are reset at their next request, unseen: as if they had been
    /// closed while their client was frozen.
    pub fn go_stale(&self) {
        self.server.go_stale();
    }

    pub fn clock(&self) -> &Clock {
        &self.services.clock
    }

    /// Puts the clock forward, and wakes whoever waits in a long poll.
    pub fn advance(&self, by: Duration) {
        self.services.advance(by);
    }

    /// How long until the next message of any queue becomes visible; zero when one is, none when all
    /// queues are empty.
    pub fn next_due(&self) -> Option<Duration> {
        self.services.next_due(None)
    }
}

/// A queue of the stand-in, reached past its protocol and its faults.
#[derive(Clone)]
pub struct Queue {
    services: Arc<Services>,
    name: String,
}

impl Queue {
    /// For `QUEUE_URL`.
    pub fn url(&self) -> String {
        self.services.queue_url(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bodies in it as JSON, in the order of arrival; null for one that is none.
    pub fn bodies(&self) -> Vec<Value> {
        self.messages().iter().map(Message::json).collect()
    }

    /// What lies in it, in the order of arrival.
    pub fn messages(&self) -> Vec<Message> {
        let now_ms = self.services.clock.now_ms();
        let queues = lock(&self.services.queues);
        let messages = queues.get(&self.name).map(|queue| queue.messages.as_slice()).unwrap_or_default();
        messages.iter().map(|stored| message(stored, now_ms)).collect()
    }

    /// Sends a message; an error where SQS would refuse it. Returns its id.
    pub fn send(&self, body: impl Into<String>) -> Result<String> {
        let refused = |error: ApiError| anyhow!(error.message);
        let draft = draft(&json!({ "MessageBody": body.into() })).map_err(refused)?;
        let sent = lock(&self.services.queues).put(&self.name, draft, self.services.clock.now_ms());
        self.services.changed.notify_waiters();
        sent.map_err(refused)
    }

    /// Moves all of its messages to another queue, where they are new: a redrive. Returns how many.
    pub fn redrive_to(&self, target: &Queue) -> Result<usize> {
        let moved =
            lock(&self.services.queues).redrive(&self.name, &target.name, self.services.clock.now_ms());
        self.services.changed.notify_waiters();
        moved.map_err(|error| anyhow!(error.message))
    }

    /// How long until its next message becomes visible; zero when one is, none when it is empty.
    pub fn next_due(&self) -> Option<Duration> {
        self.services.next_due(Some(&self.name))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.services.advance(by);
    }

    pub(crate) fn receive(&self, messages: usize, bytes: usize) -> Vec<Stored> {
        let take = ReceiveLimits { messages, bytes, visibility_ms: None };
        let now_ms = self.services.clock.now_ms();
        // This handle exists, so its queue does.
        lock(&self.services.queues).receive(&self.name, &take, now_ms).unwrap_or_default()
    }

    pub(crate) fn delete(&self, receipt: &str) {
        // It fails only without a queue.
        let _ = lock(&self.services.queues).delete(&self.name, receipt);
    }
}

fn message(stored: &Stored, now_ms: u64) -> Message {
    let hidden_ms = stored.due_ms.saturating_sub(now_ms);
    let state = match (hidden_ms, stored.receive_count) {
        (0, _) => MessageState::Visible,
        (_, 0) => MessageState::Delayed,
        _ => MessageState::InFlight,
    };
    let attributes = stored.attributes.iter().filter_map(|(name, attribute)| {
        let value = attribute.string_value.as_ref().or(attribute.binary_value.as_ref())?;
        Some((name.clone(), value.clone()))
    });
    Message {
        id: stored.id.clone(),
        body: stored.body.clone(),
        attributes: attributes.collect(),
        trace_header: stored.trace_header.clone(),
        delay: Duration::from_secs(stored.delay_s),
        state,
        hidden_for: Duration::from_millis(hidden_ms),
        receive_count: stored.receive_count,
        sent_ms: stored.sent_ms,
    }
}
