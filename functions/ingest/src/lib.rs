//! `ingest` takes Vero's webhooks and first-party events behind a Lambda Function URL and puts them on SQS unchanged.
//!
//! Vero waits 5 seconds for an answer and never asks again, so the one question behind every line is: does the
//! webhook survive? It is on the queue before the answer says so, and in the log when SQS does not take it. Whoever
//! sends first-party events asks again: there the question is whether a second try makes the same events.
//!
//! # Layout
//! - [`http`]: the request, its route and encoding, the response, CORS.
//! - [`auth`]: tokens, write keys and signatures. A request becomes an `Authorized` value once.
//! - [`vero`], `segment`, `tracking`: one way in each. A handler authorises, decodes, makes entries, enqueues and
//!   answers.
//! - [`first_party`]: what `segment` and `tracking` have in common: the events of Segment's spec.
//! - [`queue_entry`]: an envelope, or a dead letter, on its way to SQS.
//! - `enqueue`: sends entries and reports; `unqueued`: the log, if SQS does not take a webhook.
//! - `limits`: what a request may cost.
//! - [`rejection`]: why a request is refused: status, code and words.

pub mod auth;
mod config;
mod enqueue;
pub mod first_party;
pub mod http;
mod id;
pub mod limits;
pub mod queue_entry;
pub mod rejection;
mod segment;
mod tracking;
mod unqueued;
pub mod vero;

use std::time::Duration;

use lambda_http::Request;
use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::{ConfigErrors, Environment};
use relay_platform::metrics::Metrics;
use relay_platform::world;
use tokio::time::Instant;

use crate::auth::verifier::Auth;
use crate::config::Config;
use crate::enqueue::{Queues, REFUSED, TRUNCATED, UNQUEUED};
use crate::http::cors::Origins;
use crate::http::request::InboundRequest;
use crate::http::response::{self, Response};
use crate::http::routes::Route;
use crate::rejection::Rejection;

/// The answer is out within 4 s whatever SQS does, of the 5 s that Vero waits: three attempts of a second if SQS
/// hangs, and as many as fit if it refuses at once.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_secs(1),
    operation: Duration::from_secs(3),
    attempts: 10,
};

/// A cold start's share of those 4 s.
const WARM_UP: Duration = Duration::from_millis(400);

const UNAUTHORIZED: &str = "Unauthorized";

/// All metrics of ingest, by their names in CloudWatch.
pub const METRICS: [&str; 4] = [UNQUEUED, REFUSED, TRUNCATED, UNAUTHORIZED];

/// The function, ready for requests.
#[derive(Debug)]
pub struct Ingest {
    auth: Auth,
    queues: Queues,
    origins: Origins,
    metrics: Metrics,
}

impl Ingest {
    /// Reads the configuration, makes the clients, and opens the connection to SQS while Lambda still grants the CPU of
    /// the init phase.
    ///
    /// # Errors
    /// What must be mended before a single event can be taken.
    pub async fn start(environment: &Environment) -> Result<Self, ConfigErrors> {
        let config = Config::read(environment)?;
        let aws = Aws::from_environment(environment, SQS);
        let queues = Queues::new(&aws, &config);
        queues.warm_up(WARM_UP).await;
        let Config { credentials, origins, metrics, .. } = config;
        Ok(Ingest { auth: Auth::new(credentials, aws), queues, origins, metrics })
    }

    /// Answers a request. Whatever happens has its answer.
    pub async fn handle(&self, request: Request) -> Response {
        let request = &InboundRequest::new(request, Instant::now() + SQS.operation);
        let route = Route::of(request, self.auth.enabled_routes());
        let response = match route {
            Route::Vero { token } => self.receive_webhooks(request, token).await,
            Route::Segment { token } => self.receive_from_segment(request, token).await,
            Route::Tracking(endpoint) => self.receive_from_sdk(request, endpoint).await,
            Route::Preflight => Ok(self.origins.preflight(request)),
            Route::Metrics => Ok(response::success()),
            Route::Health => Ok(response::healthy()),
            Route::WrongMethod { allowed } => Ok(response::rejected(Rejection::WrongMethod(allowed), None)),
            Route::Unknown => Ok(response::rejected(Rejection::NotFound, None)),
        };
        let response = response.unwrap_or_else(|rejection| self.reject(rejection));
        if route.is_for_browsers() { self.origins.expose(request, response) } else { response }
    }

    /// Refuses a request of which nothing is kept, with one line in the log that has nothing of the request in it.
    fn reject(&self, rejection: Rejection) -> Response {
        let metric = if rejection.is_unauthorized() { UNAUTHORIZED } else { REFUSED };
        self.metrics.line().count(metric, 1).field("reason", rejection.code()).warn("refused");
        response::rejected(rejection, None)
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(world::now())
}
