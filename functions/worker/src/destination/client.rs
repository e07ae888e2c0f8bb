//! An HTTP client for one destination, with the patience and the breaker that go with it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use relay_core::delivery::{
    Addressed, Admission, Answer, Breaker, Outcome, TransportError, Trouble, Verdict, retry_after,
};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, redirect};

use super::turn::Turn;
use crate::secrets::Secrets;
use crate::start::StartError;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

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

/// The destination will not have the request as it is.
#[derive(Debug)]
pub struct Refused(pub Trouble);

#[derive(Debug, Default)]
struct Health {
    breaker: Breaker,
    /// The outage that the breaker remembers, for the events that it holds back.
    last: Option<Trouble>,
}

impl Client {
    /// A client with a connection pool of its own.
    ///
    /// # Errors
    /// If the system's certificates cannot be read.
    pub fn new(status_in_body: bool) -> Result<Self, StartError> {
        // Ring, as in the AWS SDK's client: one TLS stack in the binary. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("vero-relay/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .no_proxy()
            .build()
            .map_err(StartError::Client)?;
        Ok(Client { http, health: Mutex::default(), status_in_body })
    }

    /// Begins a request with JSON.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).header(reqwest::header::CONTENT_TYPE, "application/json")
    }

    /// Whether the next call would be the one that tries whether the destination is back.
    pub fn is_on_trial(&self) -> bool {
        self.health().breaker.peek(Instant::now()) == Admission::Trial
    }

    /// Sends a request, with a quick second try if that is worth it. `make` makes each try's request, `name` is
    /// the destination's name under which it is counted, and `addressed` says what it means that there is nothing
    /// at its path.
    ///
    /// # Errors
    /// [`Refused`]: what to make of it is the caller's to say.
    pub async fn call(
        &self,
        turn: &Turn<'_>,
        name: &'static str,
        addressed: Addressed,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Outcome, Refused> {
        let mut owed: Option<Trouble> = None;
        for quick_try in 0..=QUICK_TRIES {
            if let Some(obstacle) = self.obstacle(turn) {
                return Ok(owed.map_or(obstacle, Outcome::Owed));
            }
            turn.count(name);
            let answer = self.send(make().timeout(turn.patience()), turn.secrets).await;
            let answer = if self.status_in_body { answer.with_status_of_body() } else { answer };
            let verdict = answer.verdict(addressed);
            self.record(&verdict);
            let maybe_doubled = owed.as_ref().is_some_and(|earlier| earlier.maybe_taken);
            let trouble = match verdict {
                Verdict::Accepted => return Ok(Outcome::Accepted { maybe_doubled, at: SystemTime::now() }),
                Verdict::Refused(trouble) => return Err(Refused(trouble)),
                Verdict::Operator(trouble) => {
                    turn.note(&trouble);
                    if matches!(trouble.status, Some(401 | 403)) {
                        turn.count_unauthorized(name);
                    }
                    let maybe_taken = trouble.maybe_taken || maybe_doubled;
                    return Ok(Outcome::Owed(Trouble { maybe_taken, ..trouble }));
                }
                Verdict::Again(trouble) => trouble,
            };
            turn.note(&trouble);
            let pause = trouble.retry_after.unwrap_or(SHORT_WAIT);
            owed = Some(Trouble { maybe_taken: trouble.maybe_taken || maybe_doubled, ..trouble });
            if pause > SHORT_WAIT || quick_try == QUICK_TRIES {
                break;
            }
            tokio::time::sleep(pause.mul_f64(0.3 + 0.7 * fastrand::f64())).await;
        }
        Ok(owed.map_or(Outcome::NotStarted, Outcome::Owed))
    }

    /// Why a call cannot be made now, as the outcome of its events.
    fn obstacle(&self, turn: &Turn<'_>) -> Option<Outcome> {
        let now = Instant::now();
        let mut health = self.health();
        if health.breaker.peek(now) == Admission::Paused {
            let last = health.last.clone().unwrap_or_else(|| Trouble::internal("breaker_open"));
            return Some(Outcome::Owed(Trouble { maybe_taken: false, ..last }));
        }
        turn.is_over().or_else(|| {
            health.breaker.admit(now);
            None
        })
    }

    async fn send(&self, request: RequestBuilder, secrets: &Secrets) -> Answer {
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = header.and_then(|value| retry_after(value, SystemTime::now()));
                Answer::Response { status, retry_after, body: secrets.redacted(read_head(response).await) }
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
