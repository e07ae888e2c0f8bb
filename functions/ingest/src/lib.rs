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
mod write_key;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use relay_platform::metrics::Metrics;
use relay_platform::queue::{OutboundMessage, Queue, SendError};
use relay_platform::trace::TraceHeader;
use serde_json::value::RawValue;
use tokio::time::Instant;

pub use answer::Answer;
pub use config::Config;

use crate::answer::No;
use crate::encoding::Undecodable;
use crate::intake::Received;
use crate::intake::first_party::{self, Body, Intake, Problem, Scope};
use crate::intake::webhooks::Webhooks;
use crate::request::Request;
use crate::route::{EnabledRoutes, Events, Route};
use crate::signature::{Checked, Signatures};
use crate::token::Digest;

/// The answer is out within 4 s whatever SQS does, of the 5 s that Vero waits: three attempts of a second if SQS
/// hangs, and as many as fit if it refuses at once.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_secs(1),
    operation: Duration::from_secs(3),
    attempts: 10,
};

const UNQUEUED: &str = "Unqueued";
const REFUSED: &str = "Refused";
const TRUNCATED: &str = "Truncated";
const UNAUTHORIZED: &str = "Unauthorized";

/// All metrics of ingest, by their names in CloudWatch.
pub const METRICS: [&str; 4] = [UNQUEUED, REFUSED, TRUNCATED, UNAUTHORIZED];

/// A cold start's share of those 4 s.
const WARM_UP: Duration = Duration::from_millis(400);

/// The function, ready for requests.
#[derive(Debug)]
pub struct Ingest {
    config: Config,
    queue: Queue,
    dead_letters: Queue,
    signatures: Signatures,
    metrics: Metrics,
}

/// What goes along with the envelopes of a request on their way to the queues.
struct SendContext {
    trace: Option<TraceHeader>,
    deadline: Instant,
}

impl Ingest {
    /// Makes the clients; nothing is called yet.
    pub fn new(environment: &Environment, mut config: Config) -> Self {
        let aws = Aws::from_environment(environment, SQS);
        let sqs = aws.sqs();
        let queue = Queue::new(sqs.clone(), config.queue_url.clone());
        let dead_letters = Queue::new(sqs, config.dead_letter_queue_url.clone());
        let shared_secret = std::mem::replace(&mut config.shared_secret, signature::SharedSecret::Off);
        let (signatures, metrics) = (Signatures::new(shared_secret, aws), config.metrics.clone());
        Ingest { config, queue, dead_letters, signatures, metrics }
    }

    /// Opens the connection to SQS while Lambda still grants the CPU of the init phase.
    pub async fn warm_up(&self) {
        self.queue.warm_up(WARM_UP).await;
    }

    /// Answers a request. Whatever happens has its answer. `trace_header` is X-Ray's, as Lambda hands it over; what
    /// is queued carries it on.
    pub async fn handle(&self, event: &RawValue, trace_header: Option<&str>) -> Answer {
        let deadline = Instant::now() + SQS.operation;
        let context = SendContext { trace: trace_header.and_then(TraceHeader::parse), deadline };
        let request = Request::read(event);
        let Config { segment_tokens, write_keys, browser_keys, origins, .. } = &self.config;
        let enabled = EnabledRoutes {
            segment: segment_tokens.is_set(),
            tracking: write_keys.is_set() || browser_keys.is_set(),
        };
        match Route::of(&request.method, &request.path, request.parameter("token"), enabled) {
            Route::Vero { token } => match self.config.webhook_tokens.opened_by(token) {
                Some(_) => self.receive_webhooks(&request.body(), &context).await,
                None => {
                    self.report_unauthorized(No::Unauthorized);
                    Answer::unauthorized()
                }
            },
            Route::Segment { token } => self.receive_from_segment(token, &request, &context).await,
            Route::Tracking(events) => {
                origins.expose(&request, self.receive_from_sdk(events, &request, &context).await)
            }
            Route::Preflight => origins.preflight(&request),
            Route::Metrics => origins.expose(&request, Answer::success()),
            Route::Health => Answer::healthy(),
            Route::WrongMethod { allowed } => Answer::no(No::WrongMethod(allowed), None),
            Route::Unknown => Answer::no(No::NotFound, None),
        }
    }

    async fn receive_webhooks(&self, body: &[u8], context: &SendContext) -> Answer {
        let Webhooks { received, is_array, refusal } = Webhooks::of(body, now());
        let lost = self.queue_all(&received, 0, context).await;
        // Nobody sends them again.
        lost.iter().for_each(|lost| unqueued::log(lost));
        match refusal {
            _ if !lost.is_empty() => Answer::unavailable(&received, is_array),
            Some(refusal) => Answer::refused(refusal, &received, is_array),
            None => Answer::accepted(&received, is_array),
        }
    }

    async fn receive_from_segment(
        &self,
        token: &str,
        request: &Request<'_>,
        context: &SendContext,
    ) -> Answer {
        if !self.config.segment_tokens.is_usable() {
            return self.refuse(No::NotChecked);
        }
        let Some(key) = self.config.segment_tokens.opened_by(token) else {
            return self.unauthorized(No::Unauthorized);
        };
        let bytes = request.body();
        if bytes.len() > encoding::MAX_DECODED {
            return self.refuse(No::BodyTooLarge);
        }
        let body = Body::of_segment(&bytes);
        let signed = body.as_ref().ok().and_then(Body::signed_part).unwrap_or(&bytes);
        match self.signatures.check(signed, request.header("x-signature").as_deref()).await {
            Checked::Valid => (),
            Checked::Invalid => return self.unauthorized(No::BadSignature),
            Checked::Unknown => return self.refuse(No::NotChecked),
        }
        match body {
            Ok(body) => self.receive_events(&body, &key, Scope::Full, context).await,
            Err(unreadable) => self.keep(&bytes, No::Unreadable(unreadable), context).await,
        }
    }

    async fn receive_from_sdk(&self, events: Events, request: &Request<'_>, context: &SendContext) -> Answer {
        let Config { write_keys, browser_keys, .. } = &self.config;
        if !(write_keys.is_usable() || browser_keys.is_usable()) {
            return self.refuse(No::NotChecked);
        }
        // A key that stands in both lists is public.
        let opened = |key: &str| {
            let public = browser_keys.opened_by(key).map(|key| (key, Scope::TrackOnly));
            public.or_else(|| Some((write_keys.opened_by(key)?, Scope::Full)))
        };
        // Nothing is unpacked or parsed for whoever has no key, but what it takes to find one.
        let opened = match request.basic_user() {
            Some(key) => opened(&key),
            None => match encoding::head(request) {
                Ok(head) => match write_key::of(&head.bytes) {
                    Some(key) => opened(key.trim()),
                    None if head.is_cut => return self.unauthorized(No::KeyTooFar),
                    None => None,
                },
                Err(_) => return self.refuse(No::GzipAsText),
            },
        };
        let Some((key, scope)) = opened else { return self.unauthorized(No::Unauthorized) };
        let decoded = match encoding::decoded(request) {
            Ok(decoded) => decoded,
            Err(Undecodable::TooLarge) => return self.refuse(No::BodyTooLarge),
            Err(Undecodable::GzipAsText) => return self.refuse(No::GzipAsText),
            Err(Undecodable::BadGzip) => {
                return match scope {
                    Scope::Full => self.keep(&request.body(), No::BadGzip, context).await,
                    Scope::TrackOnly => self.refuse(No::BadGzip),
                };
            }
        };
        let body = Body::of_sdk(&decoded, events);
        match (body, scope) {
            (Ok(body), _) => self.receive_events(&body, &key, scope, context).await,
            (Err(unreadable), Scope::Full) => self.keep(&decoded, No::Unreadable(unreadable), context).await,
            (Err(unreadable), Scope::TrackOnly) => self.refuse(No::Unreadable(unreadable)),
        }
    }

    async fn receive_events(
        &self,
        body: &Body<'_>,
        key: &Digest,
        scope: Scope,
        context: &SendContext,
    ) -> Answer {
        let Ok(Intake { received, forbidden, dropped, problem }) = body.take(key, scope, now()) else {
            return self.refuse(No::BodyTooLarge);
        };
        if !self.queue_all(&received, forbidden + dropped, context).await.is_empty() {
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
    async fn keep(&self, body: &[u8], no: No, context: &SendContext) -> Answer {
        let kept = [first_party::unreadable(body, no.code(), now())];
        match &*self.queue_all(&kept, 0, context).await {
            [] => Answer::no(no, Some(&kept[0].id)),
            _ => Answer::no(No::NotQueued, None),
        }
    }

    /// Puts envelopes where they belong, and reports what did not go well; `unkept` counts events of the same request
    /// that a public key sent in vain. Envelopes that could not be put anywhere come back.
    async fn queue_all<'r>(
        &self,
        received: &'r [Received],
        unkept: usize,
        context: &SendContext,
    ) -> Vec<&'r Received> {
        let (dead, live): (Vec<_>, Vec<_>) = received.iter().partition(|received| received.dead.is_some());
        let (live, dead) =
            tokio::join!(send(&self.queue, live, context), send(&self.dead_letters, dead, context));
        let lost: Vec<_> = live.into_iter().chain(dead).collect();
        self.report(received, unkept, &lost);
        lost.into_iter().map(|(lost, _)| lost).collect()
    }

    /// One line of a request that did not go well, however many events it has: no sender must be able to fill the
    /// log. The dead-letter queue tells of each.
    fn report(&self, received: &[Received], unkept: usize, lost: &[(&Received, SendError)]) {
        let mut reasons: Vec<&str> = received.iter().filter_map(|received| received.dead).collect();
        let truncated = reasons.iter().filter(|reason| **reason == intake::TOO_LARGE).count();
        reasons.extend(std::iter::repeat_n(No::NotAllowed.code(), unkept));
        if reasons.is_empty() && lost.is_empty() {
            return;
        }
        let mut line = self.metrics.line().count(REFUSED, reasons.len()).count(TRUNCATED, truncated);
        if !reasons.is_empty() {
            let reasons: Vec<&str> = reasons.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            line = line.field("reason", reasons.join(","));
        }
        let refused = received.iter().find(|received| received.dead.is_some());
        if let Some(first) = lost.first().map(|(lost, _)| *lost).or(refused) {
            line = line.field("id", first.id.as_str());
        }
        match lost {
            [] => line.warn("refused"),
            [(_, error), ..] => {
                line.count(UNQUEUED, lost.len()).field("error", error.to_string()).warn("not queued");
            }
        }
    }

    /// The one line of a request by somebody whom we do not know. Nothing of the request is in it.
    fn report_unauthorized(&self, no: No) {
        self.metrics.line().count(UNAUTHORIZED, 1).field("reason", no.code()).warn("refused");
    }

    fn unauthorized(&self, no: No) -> Answer {
        self.report_unauthorized(no);
        Answer::no(no, None)
    }

    /// Refuses a body of which nothing can be kept.
    fn refuse(&self, no: No) -> Answer {
        self.metrics.line().count(REFUSED, 1).field("reason", no.code()).warn("refused");
        Answer::no(no, None)
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Sends envelopes to a queue; what could not be sent comes back with the reason.
async fn send<'r>(
    queue: &Queue,
    received: Vec<&'r Received>,
    SendContext { trace, deadline }: &SendContext,
) -> Vec<(&'r Received, SendError)> {
    let outbound = |received: &Received| OutboundMessage {
        body: received.body.clone(),
        attributes: received.attributes.clone(),
        delay: Duration::ZERO,
        trace: trace.clone(),
    };
    let results = match received[..] {
        [] => return Vec::new(),
        [one] => vec![queue.send(outbound(one), *deadline).await],
        _ => queue.send_all(received.iter().copied().map(outbound).collect(), *deadline).await,
    };
    received
        .into_iter()
        .zip(results)
        .filter_map(|(received, result)| Some((received, result.err()?)))
        .collect()
}
