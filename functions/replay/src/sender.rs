//! Envelopes on their way to the queue, in batches and at a limited rate.

use std::time::Duration;

use relay_core::envelope::Envelope;
use relay_platform::queue::{OutboundMessage, Queue, SendError};
use tokio::time::{Instant, sleep};

use crate::rate_limiter::RateLimiter;

/// What [`Queue::send_all`] has in flight at once.
const MAX_BATCH: usize = 160;

/// Envelopes have 256 KiB at most. A batch of the largest must not fill the memory.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Timeout for all calls of a batch, which go side by side.
const CALL: Duration = Duration::from_millis(3_500);

/// What SQS did not take is sent again after these pauses. With [`CALL`] a batch is over within 12 s.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

pub trait MessageQueue {
    /// Sends messages. The results have their order.
    fn send(&self, messages: Vec<OutboundMessage>) -> impl Future<Output = Vec<Result<(), SendError>>>;
}

impl MessageQueue for Queue {
    async fn send(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), SendError>> {
        self.send_all(messages, Instant::now() + CALL).await
    }
}

/// An envelope as a message, with the attributes that `ingest` gives it.
pub fn message(envelope: &Envelope<'_>) -> OutboundMessage {
    let (body, attributes) = (envelope.to_json(), envelope.attributes());
    OutboundMessage { body, attributes, delay: Duration::ZERO, trace: None }
}

/// Sends messages, and after each pause again those that SQS has not acknowledged.
///
/// # Errors
/// Why a message is not known to be sent. Others may be.
pub async fn send_with_retries(
    queue: &impl MessageQueue,
    messages: Vec<OutboundMessage>,
) -> Result<(), SendError> {
    let mut left = messages;
    let mut pauses = PAUSES.into_iter();
    loop {
        let results = queue.send(left.clone()).await;
        let mut error = None;
        let mut results = results.into_iter();
        // A message without a result counts as not sent.
        left.retain(|_| match results.next().unwrap_or(Err(SendError::Timeout)) {
            Ok(()) => false,
            Err(why) => {
                error = Some(why);
                true
            }
        });
        match (error, pauses.next()) {
            (None, _) => return Ok(()),
            (Some(error), None) => return Err(error),
            (Some(_), Some(pause)) => sleep(pause).await,
        }
    }
}

/// Collects messages to batches, and sends these at a limited rate.
#[derive(Debug)]
pub struct QueueSender<'q, Q> {
    queue: &'q Q,
    rate_limiter: RateLimiter,
    batch: Vec<OutboundMessage>,
    bytes: usize,
}

impl<'q, Q: MessageQueue> QueueSender<'q, Q> {
    pub fn new(queue: &'q Q, per_second: u32) -> Self {
        QueueSender { queue, rate_limiter: RateLimiter::new(per_second), batch: Vec::new(), bytes: 0 }
    }

    pub fn add(&mut self, message: OutboundMessage) {
        self.bytes += message.body.len();
        self.batch.push(message);
    }

    /// Whether the batch has to be sent before another message is added.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= MAX_BATCH.min(self.rate_limiter.burst()) || self.bytes >= MAX_BYTES
    }

    /// Sends the batch, and returns how many messages it had.
    ///
    /// # Errors
    /// As [`send_with_retries`].
    pub async fn flush(&mut self) -> Result<usize, SendError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let count = batch.len();
        if count > 0 {
            self.rate_limiter.turn(count).await;
            send_with_retries(self.queue, batch).await?;
        }
        Ok(count)
    }

    /// Waits until the next invocation may go on sending at the same rate.
    pub async fn rest(&self) {
        self.rate_limiter.rest().await;
    }
}

#[cfg(test)]
pub mod fake {
    //! A queue in memory.

    use std::cell::RefCell;

    use super::*;

    /// Takes everything except what `refusals` says.
    #[derive(Debug, Default)]
    pub struct InMemoryQueue {
        /// What it took, with the time.
        pub taken: RefCell<Vec<(Instant, String)>>,
        /// For each call to come, how many of its last messages are refused.
        pub refusals: RefCell<Vec<usize>>,
    }

    impl MessageQueue for InMemoryQueue {
        async fn send(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), SendError>> {
            let refused = self.refusals.borrow_mut().pop().unwrap_or(0);
            let taken = messages.len().saturating_sub(refused);
            let results = messages.into_iter().enumerate().map(|(index, message)| {
                if index >= taken {
                    return Err(SendError::Refused("ServiceUnavailable".to_owned()));
                }
                self.taken.borrow_mut().push((Instant::now(), message.body));
                Ok(())
            });
            results.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(count: usize) -> Vec<OutboundMessage> {
        let message = |n: usize| OutboundMessage {
            body: n.to_string(),
            attributes: Vec::new(),
            delay: Duration::ZERO,
            trace: None,
        };
        (0..count).map(message).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_sqs_did_not_take_is_sent_again() {
        let memory = fake::InMemoryQueue::default();
        *memory.refusals.borrow_mut() = vec![1, 2];
        send_with_retries(&memory, messages(3)).await.unwrap();
        let taken: Vec<String> = memory.taken.take().into_iter().map(|(_, body)| body).collect();
        assert_eq!(taken, ["0", "1", "2"]);
        *memory.refusals.borrow_mut() = vec![1, 1, 1];
        let error = send_with_retries(&memory, messages(3)).await.unwrap_err();
        assert_eq!(error, SendError::Refused("ServiceUnavailable".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_no_more_than_a_second_s_worth() {
        let memory = fake::InMemoryQueue::default();
        let mut sender = QueueSender::new(&memory, 30);
        for message in messages(95) {
            sender.add(message);
            if sender.is_full() {
                assert_eq!(sender.flush().await.unwrap(), 30);
            }
        }
        assert_eq!(sender.flush().await.unwrap(), 5);
        assert_eq!(sender.flush().await.unwrap(), 0);
        let taken = memory.taken.take();
        assert_eq!(taken.len(), 95);
        assert_eq!(taken[94].0 - taken[0].0, Duration::from_secs(3));
    }
}
