//! An HTTP client for one destination.

use std::time::{Duration, SystemTime};

use relay_core::delivery::{Addressed, Answer, Outcome, TransportError, retry_after};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, redirect};

use super::caller::{Caller, Refused};
use super::turn::Turn;
use crate::secrets::Secrets;
use crate::start::StartError;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Idle connections are closed before the other side does it.
const IDLE: Duration = Duration::from_secs(15);

/// How much of an answer is read, in bytes and in time: none is needed to tell success from failure, but Vero may
/// say no in the body of a 200.
const MAX_BODY: usize = 16 * 1024;
const BODY: Duration = Duration::from_secs(1);

/// Calls one destination over HTTP.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    caller: Caller,
    /// Some destinations tell of refusals in the body of a 200.
    status_in_body: bool,
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
        Ok(Client { http, caller: Caller::default(), status_in_body })
    }

    /// Begins a request with JSON.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).header(reqwest::header::CONTENT_TYPE, "application/json")
    }

    /// Whether the next call would be the one that tries whether the destination is back.
    pub fn is_on_trial(&self) -> bool {
        self.caller.is_on_trial()
    }

    /// Makes a call of which `make` makes each try's request; else as [`Caller::call`].
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
        let send = |patience| {
            let request = make().timeout(patience);
            async move {
                let answer = send(request, turn.secrets).await;
                if self.status_in_body { answer.with_status_of_body() } else { answer }
            }
        };
        self.caller.call(turn, name, addressed, send).await
    }
}

async fn send(request: RequestBuilder, secrets: &Secrets) -> Answer {
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
