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

use crate::answer::Rejection;
use crate::encoding::Undecodable;
use crate::intake::QueueEntry;
use crate::intake::first_party::{self, EventEntries, Events, Problem, Scope};
use crate::intake::webhooks::Webhooks;
use crate::request::Request;
use crate::route::{EnabledRoutes, Route, TrackingEndpoint};
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
            Route::Vero { token } => match self.config.webhook_tokens.verify(token) {
                Some(_) => self.receive_webhooks(&request.body(), &context).await,
                None => {
                    self.report_unauthorized(Rejection::Unauthorized);
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
            Route::WrongMethod { allowed } => Answer::rejected(Rejection::WrongMethod(allowed), None),
            Route::Unknown => Answer::rejected(Rejection::NotFound, None),
        }
    }

    async fn receive_webhooks(&self, body: &[u8], context: &SendContext) -> Answer {
        let Webhooks { entries, is_array, refusal } = Webhooks::of(body, now());
        let lost = self.queue_all(&entries, 0, context).await;
        // Nobody sends them again.
        lost.iter().for_each(|lost| unqueued::log(lost));
        match refusal {
            _ if !lost.is_empty() => Answer::unavailable(&entries, is_array),
            Some(refusal) => Answer::refused(refusal, &entries, is_array),
            None => Answer::accepted(&entries, is_array),
        }
    }

    async fn receive_from_segment(
        &self,
        token: &str,
        request: &Request<'_>,
        context: &SendContext,
    ) -> Answer {
        if !self.config.segment_tokens.is_usable() {
            return self.refuse(Rejection::NotChecked);
        }
        let Some(key) = self.config.segment_tokens.verify(token) else {
            return self.unauthorized(Rejection::Unauthorized);
        };
        let bytes = request.body();
        if bytes.len() > encoding::MAX_DECODED {
            return self.refuse(Rejection::BodyTooLarge);
        }
        let body = Events::of_segment(&bytes);
        let signed = body.as_ref().ok().and_then(Events::signed_part).unwrap_or(&bytes);
        match self.signatures.check(signed, request.header("x-signature").as_deref()).await {
            Checked::Valid => (),
            Checked::Invalid => return self.unauthorized(Rejection::BadSignature),
            Checked::Unknown => return self.refuse(Rejection::NotChecked),
        }
        match body {
            Ok(body) => self.receive_events(&body, &key, Scope::Full, context).await,
            Err(unreadable) => self.keep(&bytes, Rejection::Unreadable(unreadable), context).await,
        }
    }

    async fn receive_from_sdk(
        &self,
        endpoint: TrackingEndpoint,
        request: &Request<'_>,
        context: &SendContext,
    ) -> Answer {
        let Config { write_keys, browser_keys, .. } = &self.config;
        if !(write_keys.is_usable() || browser_keys.is_usable()) {
            return self.refuse(Rejection::NotChecked);
        }
        // A key that stands in both lists is public.
        let opened = |key: &str| {
            let public = browser_keys.verify(key).map(|key| (key, Scope::TrackOnly));
            public.or_else(|| Some((write_keys.verify(key)?, Scope::Full)))
        };
        // Nothing is unpacked or parsed for whoever has no key, but what it takes to find one.
        let opened = match request.basic_user() {
            Some(key) => opened(&key),
            None => match encoding::head(request) {
                Ok(head) => match write_key::of(&head.bytes) {
                    Some(key) => opened(key.trim()),
                    None if head.is_cut => return self.unauthorized(Rejection::KeyTooFar),
                    None => None,
                },
                Err(_) => return self.refuse(Rejection::GzipAsText),
            },
        };
        let Some((key, scope)) = opened else { return self.unauthorized(Rejection::Unauthorized) };
        let decoded = match encoding::decoded(request) {
            Ok(decoded) => decoded,
            Err(Undecodable::TooLarge) => return self.refuse(Rejection::BodyTooLarge),
            Err(Undecodable::GzipAsText) => return self.refuse(Rejection::GzipAsText),
            Err(Undecodable::BadGzip) => {
                return match scope {
                    Scope::Full => self.keep(&request.body(), Rejection::BadGzip, context).await,
                    Scope::TrackOnly => self.refuse(Rejection::BadGzip),
                };
            }
        };
        let body = Events::of_sdk(&decoded, endpoint);
        match (body, scope) {
            (Ok(body), _) => self.receive_events(&body, &key, scope, context).await,
            (Err(unreadable), Scope::Full) => {
                self.keep(&decoded, Rejection::Unreadable(unreadable), context).await
            }
            (Err(unreadable), Scope::TrackOnly) => self.refuse(Rejection::Unreadable(unreadable)),
        }
    }

    async fn receive_events(
        &self,
        body: &Events<'_>,
        key: &Digest,
        scope: Scope,
        context: &SendContext,
    ) -> Answer {
        let Ok(EventEntries { entries, forbidden, dropped, problem }) = body.take(key, scope, now()) else {
            return self.refuse(Rejection::BodyTooLarge);
        };
        if !self.queue_all(&entries, forbidden + dropped, context).await.is_empty() {
            return Answer::rejected(Rejection::NotQueued, None);
        }
        let id = entries.first().map(|entry| &entry.id);
        match problem {
            // Whoever sends a batch cannot do better with it.
            _ if body.is_batch && !entries.is_empty() => Answer::success(),
            _ if forbidden > 0 => Answer::rejected(Rejection::NotAllowed, None),
            Some(Problem::Invalid(invalid)) => Answer::rejected(Rejection::Invalid(invalid), id),
            Some(Problem::TooLarge) => Answer::rejected(Rejection::EventTooLarge, id),
            None => Answer::success(),
        }
    }

    /// Keeps a body that holds no events, and says why it does not.
    async fn keep(&self, body: &[u8], rejection: Rejection, context: &SendContext) -> Answer {
        let kept = [first_party::unreadable(body, rejection.code(), now())];
        match &*self.queue_all(&kept, 0, context).await {
            [] => Answer::rejected(rejection, Some(&kept[0].id)),
            _ => Answer::rejected(Rejection::NotQueued, None),
        }
    }

    /// Puts envelopes where they belong, and reports what did not go well; `unkept` counts events of the same request
    /// that a public key sent in vain. Envelopes that could not be put anywhere come back.
    async fn queue_all<'r>(
        &self,
        entries: &'r [QueueEntry],
        unkept: usize,
        context: &SendContext,
    ) -> Vec<&'r QueueEntry> {
        let (dead, live): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.dead_letter_reason.is_some());
        let (live, dead) =
            tokio::join!(send(&self.queue, live, context), send(&self.dead_letters, dead, context));
        let lost: Vec<_> = live.into_iter().chain(dead).collect();
        self.report(entries, unkept, &lost);
        lost.into_iter().map(|(lost, _)| lost).collect()
    }

    /// One line of a request that did not go well, however many events it has: no sender must be able to fill the
    /// log. The dead-letter queue tells of each.
    fn report(&self, entries: &[QueueEntry], unkept: usize, lost: &[(&QueueEntry, SendError)]) {
        let mut reasons: Vec<&str> = entries.iter().filter_map(|entry| entry.dead_letter_reason).collect();
        let truncated = reasons.iter().filter(|reason| **reason == intake::TOO_LARGE).count();
        reasons.extend(std::iter::repeat_n(Rejection::NotAllowed.code(), unkept));
        if reasons.is_empty() && lost.is_empty() {
            return;
        }
        let mut line = self.metrics.line().count(REFUSED, reasons.len()).count(TRUNCATED, truncated);
        if !reasons.is_empty() {
            let reasons: Vec<&str> = reasons.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            line = line.field("reason", reasons.join(","));
        }
        let refused = entries.iter().find(|entry| entry.dead_letter_reason.is_some());
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
    fn report_unauthorized(&self, rejection: Rejection) {
        self.metrics.line().count(UNAUTHORIZED, 1).field("reason", rejection.code()).warn("refused");
    }

    fn unauthorized(&self, rejection: Rejection) -> Answer {
        self.report_unauthorized(rejection);
        Answer::rejected(rejection, None)
    }

    /// Refuses a body of which nothing can be kept.
    fn refuse(&self, rejection: Rejection) -> Answer {
        self.metrics.line().count(REFUSED, 1).field("reason", rejection.code()).warn("refused");
        Answer::rejected(rejection, None)
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Sends envelopes to a queue; what could not be sent comes back with the reason.
async fn send<'r>(
    queue: &Queue,
    entries: Vec<&'r QueueEntry>,
    SendContext { trace, deadline }: &SendContext,
) -> Vec<(&'r QueueEntry, SendError)> {
    let outbound = |entry: &QueueEntry| OutboundMessage {
        body: entry.body.clone(),
        attributes: entry.attributes.clone(),
        delay: Duration::ZERO,
        trace: trace.clone(),
    };
    let results = match entries[..] {
        [] => return Vec::new(),
        [one] => vec![queue.send(outbound(one), *deadline).await],
        _ => queue.send_all(entries.iter().copied().map(outbound).collect(), *deadline).await,
    };
    entries.into_iter().zip(results).filter_map(|(entry, result)| Some((entry, result.err()?))).collect()
}
