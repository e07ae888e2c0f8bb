//! An HTTP client for one destination, with the patience and the breaker that go with it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use relay_core::delivery::{
    Admission, Answer, Breaker, Outcome, TransportError, Trouble, Verdict, retry_after,
};
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, redirect};

use crate::budget::Budget;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

/// For one request and its answer. Two of them and the pause between stay under the 10 s for which a failing
/// destination may hold an invocation.
const REQUEST: Duration = Duration::from_secs(4);

/// Idle connections are closed before the other side does it.
const IDLE: Duration = Duration::from_secs(15);

/// Quick tries after the first. All further ones go through the queue.
const QUICK_TRIES: u32 = 1;

/// The longest `Retry-After` that is waited for within an invocation.
const SHORT_WAIT: Duration = Duration::from_millis(300);

/// How much of an answer is read, in bytes and in time: none is needed to tell success from failure, but Vero may
/// say no in the body of a 200.
const MAX_BODY: usize = 16 * 1024;
const BODY: Duration = Duration::from_secs(1);

/// Calls one destination.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    health: Mutex<Health>,
    /// Some destinations tell of refusals in the body of a 200.
    status_in_body: bool,
}

#[derive(Debug, Default)]
struct Health {
    breaker: Breaker,
    /// The outage that the breaker remembers, for the events that it holds back.
    last: Option<Trouble>,
}

impl Client {
    /// A client with a connection pool of its own.
    pub fn new(status_in_body: bool) -> Self {
        // Ring, as in the AWS SDK's client: one TLS stack in the binary. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("vero-relay/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .build()
            .unwrap_or_default();
        Client { http, health: Mutex::default(), status_in_body }
    }

    /// Begins a POST of JSON.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.http.post(url).header(reqwest::header::CONTENT_TYPE, "application/json")
    }

    /// Whether the next call would be the one that tries whether the destination is back.
    pub fn is_on_trial(&self) -> bool {
        self.health().breaker.peek(Instant::now()) == Admission::Trial
    }

    /// The outcome of an event that the breaker holds back: owed, and for the reason that opened it.
    fn held_back(&self) -> Outcome {
        let last = self.health().last.clone();
        Outcome::Owed(Trouble {
            maybe_taken: false,
            ..last.unwrap_or_else(|| Trouble::internal("breaker_open"))
        })
    }

    /// Sends a request, with a quick second try if that is worth it. `make` makes each try's request.
    ///
    /// # Errors
    /// The outcome for all events of a request that was not made.
    pub async fn call(&self, budget: &Budget, make: impl Fn() -> RequestBuilder) -> Result<Verdict, Outcome> {
        let mut verdict: Option<Verdict> = None;
        for _ in 0..=QUICK_TRIES {
            let patience = REQUEST.min(budget.longest_call);
            if !budget.allows(patience) {
                return verdict.ok_or(Outcome::NotStarted);
            }
            let admission = self.health().breaker.admit(Instant::now());
            if admission == Admission::Paused {
                return verdict.ok_or_else(|| self.held_back());
            }
            let answer = self.send(make().timeout(patience)).await;
            let answered = if self.status_in_body { answer.with_status_of_body() } else { answer }.verdict();
            self.record(&answered);
            let pause = match &answered {
                Verdict::Again(trouble) => trouble.retry_after.unwrap_or(SHORT_WAIT),
                _ => return Ok(answered),
            };
            verdict = Some(answered);
            if pause > SHORT_WAIT {
                break;
            }
            tokio::time::sleep(pause.mul_f64(0.3 + 0.7 * fastrand::f64())).await;
        }
        verdict.ok_or(Outcome::NotStarted)
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = header.and_then(|value| retry_after(value, SystemTime::now()));
                Answer::Response { status, retry_after, body: read_head(response).await }
            }
            Err(error) if error.is_connect() => Answer::Failed(TransportError::Connect),
            Err(error) if error.is_timeout() => Answer::Failed(TransportError::Timeout),
            Err(_) => Answer::Failed(TransportError::Broken),
        }
    }

    fn record(&self, verdict: &Verdict) {
        let mut health = self.health();
        match verdict {
            Verdict::Again(trouble) | Verdict::Operator(trouble) if trouble.is_outage => {
                health.breaker.failed(Instant::now(), trouble.retry_after);
                health.last = Some(Trouble { excerpt: None, ..trouble.clone() });
            }
            _ => health.breaker.succeeded(),
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head of an answer's body, as far as it comes in time.
async fn read_head(mut response: Response) -> String {
    let mut head = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            head.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - head.len())]);
            if head.len() == MAX_BODY {
                break;
            }
        }
    };
    // Late or endless, the status has said what matters.
    let _ = tokio::time::timeout(BODY, read).await;
    String::from_utf8_lossy(&head).into_owned()
}
