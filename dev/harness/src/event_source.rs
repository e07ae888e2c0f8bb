//! The SQS event source mapping: polls a queue, invokes the function, and deletes what went well.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::events::sqs_record;
use crate::function::{Deadline, Function, FunctionError};
use crate::sqs::Queue;
use crate::sqs::message::{Attribute, Stored};

/// Lambda stops filling a batch here, so that the event stays under its 6 MB.
const MAX_BATCH_BYTES: usize = 5 * 1024 * 1024;

/// A mapping with `ReportBatchItemFailures`, and how long it may run.
#[derive(Clone, Copy, Debug)]
pub struct EventSource {
    /// At most so many messages an invocation.
    pub batch_size: usize,
    /// The function's timeout.
    pub deadline: Deadline,
    /// Puts the queue's clock forward to the next hidden message in place of stopping.
    pub advance: bool,
    /// Stops after so many invocations.
    pub max_invocations: usize,
    /// Starts no invocation after so long.
    pub limit: Duration,
}

impl Default for EventSource {
    fn default() -> Self {
        Self {
            batch_size: 10,
            deadline: Deadline::default(),
            advance: false,
            max_invocations: 100,
            limit: Duration::from_secs(60),
        }
    }
}

/// What one batch came to.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The event as the function got it.
    pub event: Value,
    /// The function's response, null when it is empty or no JSON.
    pub result: Result<Value, FunctionError>,
    /// The ids of the messages that stay in the queue; the others were deleted.
    pub kept: Vec<String>,
    pub took: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Drained {
    /// In order.
    pub invocations: Vec<Invocation>,
    /// Whether the queue holds nothing any more: no hidden message either.
    pub empty: bool,
}

impl EventSource {
    /// For messages that wait for a delay or a visibility timeout too: the queue's clock is put forward.
    pub fn through_time() -> Self {
        Self { advance: true, ..Self::default() }
    }

    /// Invokes the function until the queue has no more visible messages (with `advance`: no messages), or
    /// a limit is reached.
    pub async fn drain(&self, function: &Function, queue: &Queue) -> Drained {
        let started = Instant::now();
        let mut invocations = Vec::new();
        while invocations.len() < self.max_invocations && started.elapsed() < self.limit {
            let batch = queue.receive(self.batch_size, MAX_BATCH_BYTES);
            if !batch.is_empty() {
                invocations.push(self.invoke(function, queue, &batch).await);
                continue;
            }
            match queue.next_due() {
                // A poll that only moved messages to the dead-letter queue may have left visible ones.
                Some(Duration::ZERO) => {}
                Some(due) if self.advance => queue.advance(due),
                _ => break,
            }
        }
        Drained { invocations, empty: queue.next_due().is_none() }
    }

    async fn invoke(&self, function: &Function, queue: &Queue, batch: &[Stored]) -> Invocation {
        let records: Vec<Value> = batch.iter().map(|message| record(message, queue.name())).collect();
        let event = json!({ "Records": records });
        let started = Instant::now();
        let response = function.invoke_raw(event.to_string(), self.deadline).await;
        let took = started.elapsed();
        let ids: Vec<&str> = batch.iter().map(|message| message.id.as_str()).collect();
        let kept = kept_after(response.as_deref().ok(), &ids);
        for message in batch.iter().filter(|message| !kept.contains(&message.id)) {
            queue.delete(message.receipt());
        }
        let result = response.map(|response: Bytes| serde_json::from_slice(&response).unwrap_or_default());
        Invocation { event, result, kept, took }
    }
}

/// The ids of a batch that stay in the queue after this response, as Lambda reads it; none as the response
/// is an invocation that failed.
pub fn kept_after(response: Option<&[u8]>, ids: &[&str]) -> Vec<String> {
    let all = || ids.iter().map(|id| (*id).to_owned()).collect();
    let response = match response {
        None => return all(),
        Some([]) => Value::Null,
        Some(response) => match serde_json::from_slice(response) {
            Ok(response) => response,
            Err(_) => return all(),
        },
    };
    match &response["batchItemFailures"] {
        // A misspelt outer key is no different from none.
        Value::Null => Vec::new(),
        Value::Array(failures) => {
            let failed: Option<HashSet<&str>> = failures
                .iter()
                .map(|failure| failure["itemIdentifier"].as_str().filter(|id| ids.contains(id)))
                .collect();
            match failed {
                Some(failed) => failed.into_iter().map(str::to_owned).collect(),
                None => all(),
            }
        }
        _ => all(),
    }
}

pub(crate) fn record(message: &Stored, queue: &str) -> Value {
    let attributes: Map<String, Value> =
        message.attributes.iter().map(|(name, attribute)| (name.clone(), lambda_form(attribute))).collect();
    sqs_record(
        &message.id,
        message.receipt(),
        &message.body,
        message.system_attributes().into(),
        attributes.into(),
        queue,
    )
}

fn lambda_form(attribute: &Attribute) -> Value {
    let mut form = json!({
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.data_type,
    });
    if let Some(text) = &attribute.string_value {
        form["stringValue"] = text.as_str().into();
    }
    if let Some(binary) = &attribute.binary_value {
        form["binaryValue"] = binary.as_str().into();
    }
    form
}
