//! `ingest` takes Vero's webhooks and first-party events behind a Lambda Function URL and puts them on SQS unchanged.
//!
//! Vero waits 5 seconds for an answer and never asks again, so the one question behind every line is: does the
//! webhook survive? It is on the queue before the answer says so, and in the log when SQS does not take it. Whoever
//! sends first-party events asks again: there the question is whether a second try makes the same events.
//!
//! The way of a request: `request` → `route` → `token` (and `signature`) → `intake` (bytes to envelopes) → SQS →
//! `answer`.

mod answer;
mod config;
mod cors;
mod encoding;
pub mod intake;
pub mod request;
pub mod route;
mod signature;
pub mod token;
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

use crate::answer::No;
use crate::encoding::Undecodable;
use crate::intake::Received;
use crate::intake::first_party::{self, Body, Intake, Problem, Rights};
use crate::intake::webhooks::Webhooks;
use crate::request::Request;
use crate::route::{Doors, Events, Route};
use crate::signature::{Checked, Signatures};
use crate::token::Digest;

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
    signatures: Signatures,
}

impl Ingest {
    /// Makes the clients; nothing is called yet.
    pub fn new(environment: &Environment, mut config: Config) -> Self {
        let aws = Aws::from_environment(environment, SQS);
        let sqs = aws.sqs();
        let queue = Queue::new(sqs.clone(), config.queue_url.clone());
        let dead_letters = Queue::new(sqs, config.dead_letter_queue_url.clone());
        let shared_secret = std::mem::replace(&mut config.shared_secret, signature::SharedSecret::Off);
        Ingest { config, queue, dead_letters, signatures: Signatures::new(shared_secret, aws) }
    }

    /// Opens the connection to SQS while Lambda still grants the CPU of the init phase.
    pub async fn warm_up(&self) {
        self.queue.warm_up(WARM_UP).await;
    }

    /// Answers a request. Whatever happens has its answer.
    pub async fn handle(&self, event: &RawValue) -> Answer {
        let deadline = Instant::now() + SQS.operation;
        let request = Request::read(event);
        let Config { segment_tokens, write_keys, browser_keys, origins, .. } = &self.config;
        let doors = Doors {
            segment: segment_tokens.is_set(),
            tracking: write_keys.is_set() || browser_keys.is_set(),
        };
        match Route::of(&request.method, &request.path, request.parameter("token"), doors) {
            Route::Vero { token } => match self.config.webhook_tokens.opened_by(token) {
                Some(_) => self.receive_webhooks(&request.body, deadline).await,
                None => {
                    tracing::warn!("a request without a known token was refused");
                    Answer::unauthorized()
                }
            },
            Route::Segment { token } => self.receive_from_segment(token, &request, deadline).await,
            Route::Tracking(events) => {
                origins.expose(&request, self.receive_from_sdk(events, &request, deadline).await)
            }
            Route::Preflight => origins.preflight(&request),
            Route::Metrics => origins.expose(&request, Answer::success()),
            Route::Health => Answer::healthy(),
            Route::WrongMethod { allowed } => Answer::no(No::WrongMethod(allowed), None),
            Route::Unknown => Answer::no(No::NotFound, None),
        }
    }

    async fn receive_webhooks(&self, body: &[u8], deadline: Instant) -> Answer {
        let Webhooks { received, is_array, refusal } = Webhooks::of(body, now());
        let lost = self.queue_all(&received, deadline).await;
        for (lost, error) in &lost {
            // Nobody sends it again.
            tracing::warn!(id = %lost.id, %error, "not queued; the envelope follows");
            unqueued::log(lost);
        }
        match refusal {
            _ if !lost.is_empty() => Answer::unavailable(&received, is_array),
            Some(refusal) => Answer::refused(refusal, &received, is_array),
            None => Answer::accepted(&received, is_array),
        }
    }

    async fn receive_from_segment(&self, token: &str, request: &Request<'_>, deadline: Instant) -> Answer {
        if !self.config.segment_tokens.is_usable() {
            return Answer::no(No::NotChecked, None);
        }
        let Some(key) = self.config.segment_tokens.opened_by(token) else { return unauthorized() };
        if request.body.len() > encoding::MAX_DECODED {
            return Answer::no(No::BodyTooLarge, None);
        }
        let body = Body::of_segment(&request.body);
        let signed = body.as_ref().ok().and_then(Body::signed_part).unwrap_or(&request.body);
        match self.signatures.check(signed, request.header("x-signature").as_deref()).await {
            Checked::Valid => (),
            Checked::Invalid => {
                tracing::warn!("a request whose X-Signature does not fit was refused");
                return Answer::no(No::BadSignature, None);
            }
            Checked::Unknown => return Answer::no(No::NotChecked, None),
        }
        match body {
            Ok(body) => self.receive_events(&body, &key, Rights::All, deadline).await,
            Err(unreadable) => self.keep(&request.body, No::Unreadable(unreadable), deadline).await,
        }
    }

    async fn receive_from_sdk(&self, events: Events, request: &Request<'_>, deadline: Instant) -> Answer {
        let Config { write_keys, browser_keys, .. } = &self.config;
        if !(write_keys.is_usable() || browser_keys.is_usable()) {
            return Answer::no(No::NotChecked, None);
        }
        // A key that stands in both lists is public.
        let opened = |key: &str| {
            let public = browser_keys.opened_by(key).map(|key| (key, Rights::OnlyTell));
            public.or_else(|| Some((write_keys.opened_by(key)?, Rights::All)))
        };
        let by_header = match request.basic_user().as_deref().map(opened) {
            Some(None) => return unauthorized(),
            Some(opened) => opened,
            None => None,
        };
        let decoded = match encoding::decoded(request) {
            Ok(decoded) => decoded,
            Err(Undecodable::TooLarge) => return Answer::no(No::BodyTooLarge, None),
            Err(Undecodable::GzipAsText) => return Answer::no(No::GzipAsText, None),
            Err(Undecodable::BadGzip) => {
                return match by_header {
                    Some((_, Rights::All)) => self.keep(&request.body, No::BadGzip, deadline).await,
                    Some((_, Rights::OnlyTell)) => Answer::no(No::BadGzip, None),
                    None => unauthorized(),
                };
            }
        };
        let body = Body::of_sdk(&decoded, events);
        let by_body = || opened(&body.as_ref().ok()?.write_key()?);
        let Some((key, rights)) = by_header.or_else(by_body) else { return unauthorized() };
        match (body, rights) {
            (Ok(body), _) => self.receive_events(&body, &key, rights, deadline).await,
            (Err(unreadable), Rights::All) => self.keep(&decoded, No::Unreadable(unreadable), deadline).await,
            (Err(unreadable), Rights::OnlyTell) => Answer::no(No::Unreadable(unreadable), None),
        }
    }

    async fn receive_events(
        &self,
        body: &Body<'_>,
        key: &Digest,
        rights: Rights,
        deadline: Instant,
    ) -> Answer {
        let Ok(Intake { received, forbidden, dropped, problem }) = body.take(key, rights, now()) else {
            return Answer::no(No::BodyTooLarge, None);
        };
        if forbidden + dropped > 0 {
            tracing::warn!(forbidden, bad = dropped, "events of a public write key were refused");
        }
        let lost = self.queue_all(&received, deadline).await;
        if let Some((first, error)) = lost.first() {
            tracing::warn!(events = lost.len(), id = %first.id, %error, "not queued: their sender is asked again");
            return Answer::no(No::NotQueued, None);
        }
        let id = received.first().map(|received| &received.id);
        match problem {
            // Whoever sends a batch cannot do better with it.
            _ if body.is_batch && !received.is_empty() => Answer::success(),
            _ if forbidden > 0 => Answer::no(No::NotAllowed, None),
            Some(Problem::Invalid(invalid)) => Answer::no(No::Invalid(invalid), id),
            Some(Problem::TooLarge) => Answer::no(No::EventTooLarge, id),
            None => Answer::success(),
        }
    }

    /// Keeps a body that holds no events, and says why it does not.
    async fn keep(&self, body: &[u8], no: No, deadline: Instant) -> Answer {
        let kept = [first_party::unreadable(body, no.code(), now())];
        match self.queue_all(&kept, deadline).await.first() {
            None => Answer::no(no, Some(&kept[0].id)),
            Some((lost, error)) => {
                tracing::warn!(id = %lost.id, %error, "not queued: its sender is asked again");
                Answer::no(No::NotQueued, None)
            }
        }
    }

    /// Puts envelopes where they belong; those that could not be put there come back with the reason.
    async fn queue_all<'r>(
        &self,
        received: &'r [Received],
        deadline: Instant,
    ) -> Vec<(&'r Received, SendError)> {
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        for received in received {
            if let Some(reason) = received.dead {
                tracing::warn!(id = %received.id, reason, "kept in the dead-letter queue");
                dead.push(received);
            } else {
                live.push(received);
            }
        }
        let (live, dead) =
            tokio::join!(send(&self.queue, live, deadline), send(&self.dead_letters, dead, deadline));
        live.into_iter().chain(dead).collect()
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

fn unauthorized() -> Answer {
    tracing::warn!("a request without a known token or write key was refused");
    Answer::no(No::Unauthorized, None)
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
        [one] => vec![queue.send(outgoing(one), deadline).await],
        _ => queue.send_all(received.iter().copied().map(outgoing).collect(), deadline).await,
    };
    received
        .into_iter()
        .zip(results)
        .filter_map(|(received, result)| Some((received, result.err()?)))
        .collect()
}
