//! `ingest` takes Vero's webhooks behind a Lambda Function URL and puts them on SQS unchanged.
//!
//! Vero waits 5 seconds for an answer and never asks again, so the one question behind every line is: does the
//! webhook survive? It is on the queue before the answer says so, and in the log when SQS does not take it.
//!
//! The way of a request: `request` → `route` → `token` → `intake` (bytes to envelopes) → SQS → `answer`.

mod answer;
mod config;
pub mod intake;
pub mod request;
mod route;
mod token;
mod unqueued;

use std::time::{Duration, SystemTime};

use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Patience};
use relay_platform::environment::Environment;
use relay_platform::queue::{Outgoing, Queue, SendError};
use serde_json::value::RawValue;
use tokio::time::Instant;

pub use answer::Answer;
pub use config::Config;

use crate::intake::{Intake, Received};
use crate::request::Request;
use crate::route::Route;

/// The answer is out within 4 s whatever SQS does, of the 5 s that Vero waits: three attempts of a second if SQS
/// hangs, and as many as fit if it refuses at once.
const SQS: Patience = Patience {
    connect: Duration::from_millis(800),
    attempt: Duration::from_secs(1),
    operation: Duration::from_secs(3),
    attempts: 10,
};

/// A cold start's share of those 4 s.
const WARM_UP: Duration = Duration::from_millis(400);

/// The function, ready for requests.
#[derive(Debug)]
pub struct Ingest {
    config: Config,
    queue: Queue,
    dead_letters: Queue,
}

impl Ingest {
    /// Makes the clients; nothing is called yet.
    pub fn new(environment: &Environment, config: Config) -> Self {
        let sqs = Aws::from_environment(environment, SQS).sqs();
        let queue = Queue::new(sqs.clone(), config.queue_url.clone());
        let dead_letters = Queue::new(sqs, config.dead_letter_queue_url.clone());
        Ingest { config, queue, dead_letters }
    }

    /// Opens the connection to SQS while Lambda still grants the CPU of the init phase.
    pub async fn warm_up(&self) {
        self.queue.warm_up(WARM_UP).await;
    }

    /// Answers a request. Whatever happens has its answer.
    pub async fn handle(&self, event: &RawValue) -> Answer {
        let request = Request::read(event);
        match Route::of(&request.method, &request.path, request.parameter("token")) {
            Route::Vero { token } if self.config.webhook_tokens.open_for(token) => {
                self.receive(&request.body).await
            }
            Route::Vero { .. } => {
                tracing::warn!("a request without a known token was refused");
                Answer::unauthorized()
            }
            Route::Health => Answer::healthy(),
            Route::WrongMethod { allowed } => Answer::wrong_method(allowed),
            Route::Unknown => Answer::not_found(),
        }
    }

    async fn receive(&self, body: &[u8]) -> Answer {
        let deadline = Instant::now() + SQS.operation;
        let received_at = Timestamp::from_system(SystemTime::now());
        let Intake { received, is_array, refusal } = Intake::of(body, received_at);
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        for received in &received {
            if let Some(reason) = received.dead {
                tracing::warn!(id = %received.id, reason, "kept in the dead-letter queue");
                dead.push(received);
            } else {
                live.push(received);
            }
        }
        let (live, dead) =
            tokio::join!(send(&self.queue, live, deadline), send(&self.dead_letters, dead, deadline));
        for (lost, error) in live.iter().chain(&dead) {
            tracing::warn!(id = %lost.id, %error, "not queued; the envelope follows");
            unqueued::log(lost);
        }
        match refusal {
            _ if !(live.is_empty() && dead.is_empty()) => Answer::unavailable(&received, is_array),
            Some(refusal) => Answer::refused(refusal, &received, is_array),
            None => Answer::accepted(&received, is_array),
        }
    }
}

/// Sends envelopes to a queue; what could not be sent comes back with the reason.
async fn send<'r>(
    queue: &Queue,
    received: Vec<&'r Received>,
    deadline: Instant,
) -> Vec<(&'r Received, SendError)> {
    let outgoing = |received: &Received| Outgoing {
        body: received.body.clone(),
        attributes: received.attributes.clone(),
        delay: Duration::ZERO,
    };
    let results = match received[..] {
        [] => return Vec::new(),
        [one] => vec![queue.send(outgoing(one)).await],
        _ => queue.send_all(received.iter().copied().map(outgoing).collect(), deadline).await,
    };
    received
        .into_iter()
        .zip(results)
        .filter_map(|(received, result)| Some((received, result.err()?)))
        .collect()
}
