//! Queues in memory: what is where, until when, and what a receive does to it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::message::{Draft, MAX_BYTES, Stored};
use crate::aws::queue_arn;

#[derive(Clone, Debug)]
pub(crate) struct Redrive {
    pub(crate) dead_letter: String,
    pub(crate) max_receive_count: u32,
}

#[derive(Debug)]
pub(crate) struct QueueState {
    pub(crate) visibility_ms: u64,
    pub(crate) redrive: Option<Redrive>,
    pub(crate) messages: Vec<Stored>,
}

/// How much one receive may take.
pub(crate) struct ReceiveLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// In place of the queue's own.
    pub(crate) visibility_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_name: BTreeMap<String, QueueState>,
    serial: u64,
}

impl Queues {
    /// Its dead-letter queue is made too, unless it is there.
    pub(crate) fn insert(&mut self, name: &str, queue: QueueState) {
        if let Some(Redrive { dead_letter, .. }) = &queue.redrive {
            let plain = || QueueState { visibility_ms: 30_000, redrive: None, messages: Vec::new() };
            self.by_name.entry(dead_letter.clone()).or_insert_with(plain);
        }
        self.by_name.insert(name.to_owned(), queue);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&QueueState> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut QueueState, ApiError> {
        self.by_name.get_mut(name).ok_or_else(ApiError::no_queue)
    }

    /// Keeps a message and returns its id.
    pub(crate) fn put(&mut self, name: &str, draft: Draft, now_ms: u64) -> Result<String, ApiError> {
        self.serial += 1;
        let id = format!("5fea7756-0ea4-451a-a703-{:012x}", self.serial);
        self.get_mut(name)?.messages.push(Stored {
            id: id.clone(),
            body: draft.body,
            attributes: draft.attributes,
            trace_header: draft.trace_header,
            sent_ms: now_ms,
            delay_s: draft.delay_s,
            due_ms: now_ms + draft.delay_s * 1000,
            receive_count: 0,
            first_received_ms: 0,
            receipt: None,
            dead_letter_source: None,
        });
        Ok(id)
    }

    /// Sends every message of one queue to another, with a new id and nothing remembered, and deletes it.
    pub(crate) fn redrive(&mut self, from: &str, to: &str, now_ms: u64) -> Result<usize, ApiError> {
        let messages = std::mem::take(&mut self.get_mut(from)?.messages);
        let count = messages.len();
        for Stored { body, attributes, trace_header, .. } in messages {
            self.put(to, Draft { body, attributes, trace_header, delay_s: 0 }, now_ms)?;
        }
        Ok(count)
    }

    /// Hands out what is visible and hides it; what has been received too often goes to the dead-letter
    /// queue, and as on AWS it does so only now.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        take: &ReceiveLimits,
        now_ms: u64,
    ) -> Result<Vec<Stored>, ApiError> {
        let serial = &mut self.serial;
        let queue = self.by_name.get_mut(name).ok_or_else(ApiError::no_queue)?;
        let visibility_ms = take.visibility_ms.unwrap_or(queue.visibility_ms);
        let redrive = queue.redrive.clone();
        let (mut taken, mut dead, mut bytes) = (Vec::new(), Vec::new(), 0);
        queue.messages.retain_mut(|message| {
            if message.due_ms > now_ms || taken.len() == take.messages {
                return true;
            }
            if redrive.as_ref().is_some_and(|redrive| message.receive_count >= redrive.max_receive_count) {
                message.dead_letter_source = Some(name.to_owned());
                dead.push(message.clone());
                return false;
            }
            bytes += message.body.len();
            if bytes > take.bytes && !taken.is_empty() {
                return true;
            }
            *serial += 1;
            message.receive_count += 1;
            message.receipt = Some(format!("AQEB{serial:x}.{}", message.id));
            message.due_ms = now_ms + visibility_ms;
            if message.first_received_ms == 0 {
                message.first_received_ms = now_ms;
            }
            taken.push(message.clone());
            true
        });
        if let Some(Redrive { dead_letter, .. }) = redrive.filter(|_| !dead.is_empty()) {
            self.get_mut(&dead_letter)?.messages.append(&mut dead);
        }
        Ok(taken)
    }

    /// Deletes by receipt handle. With an outdated one nothing happens, and AWS does not say so.
    pub(crate) fn delete(&mut self, name: &str, receipt: &str) -> Result<(), ApiError> {
        let queue = self.get_mut(name)?;
        if !receipt.starts_with("AQEB") {
            return Err(ApiError::bad_receipt());
        }
        queue.messages.retain(|message| message.receipt() != receipt);
        Ok(())
    }

    /// Hides a message that was received for so long from now.
    pub(super) fn hide(
        &mut self,
        name: &str,
        receipt: &str,
        visibility_s: u64,
        now_ms: u64,
    ) -> Result<(), ApiError> {
        let queue = self.get_mut(name)?;
        if !receipt.starts_with("AQEB") {
            return Err(ApiError::bad_receipt());
        }
        let message = queue.messages.iter_mut().find(|message| message.receipt() == receipt);
        let message =
            message.filter(|message| message.due_ms > now_ms).ok_or_else(ApiError::not_in_flight)?;
        message.due_ms = now_ms + visibility_s * 1000;
        Ok(())
    }

    /// When the next message becomes visible; a time in the past when one is.
    pub(crate) fn next_due_ms(&self, name: Option<&str>) -> Option<u64> {
        let queues = self.by_name.iter().filter(|(queue, _)| name.is_none_or(|name| name == *queue));
        queues.flat_map(|(_, queue)| &queue.messages).map(|message| message.due_ms).min()
    }
}

impl QueueState {
    fn hidden(&self, now_ms: u64) -> impl Iterator<Item = &Stored> {
        self.messages.iter().filter(move |message| message.due_ms > now_ms)
    }

    /// How many messages were received and are hidden.
    pub(super) fn in_flight(&self, now_ms: u64) -> usize {
        self.hidden(now_ms).filter(|message| message.receive_count > 0).count()
    }

    pub(super) fn attributes(&self, name: &str, now_ms: u64) -> Map<String, Value> {
        let in_flight = self.in_flight(now_ms);
        let delayed = self.hidden(now_ms).count() - in_flight;
        let visible = self.messages.len() - in_flight - delayed;
        let mut all = Map::new();
        let mut put = |name: &str, value: String| all.insert(name.to_owned(), value.into());
        put("ApproximateNumberOfMessages", visible.to_string());
        put("ApproximateNumberOfMessagesDelayed", delayed.to_string());
        put("ApproximateNumberOfMessagesNotVisible", in_flight.to_string());
        put("MaximumMessageSize", MAX_BYTES.to_string());
        put("QueueArn", queue_arn(name));
        put("VisibilityTimeout", (self.visibility_ms / 1000).to_string());
        if let Some(Redrive { dead_letter, max_receive_count }) = &self.redrive {
            let policy = json!({
                "deadLetterTargetArn": queue_arn(dead_letter),
                "maxReceiveCount": max_receive_count,
            });
            put("RedrivePolicy", policy.to_string());
        }
        all
    }
}
