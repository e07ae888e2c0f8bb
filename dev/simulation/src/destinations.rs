//! Segment and Vero, and the network to them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use relay_platform::world::{Incoming, Network, NoResponse, Over};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::scenario::{Mishap, Place};
use crate::services::unpacked;
use crate::state::{Simulation, State};

/// The network of one process.
pub struct Destinations {
    simulation: Arc<Simulation>,
    /// When each kept connection was used last.
    kept: Mutex<BTreeMap<Place, Vec<u64>>>,
}

impl Destinations {
    pub fn new(simulation: &Arc<Simulation>) -> Self {
        Destinations { simulation: Arc::clone(simulation), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Place, Vec<u64>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request goes over a kept connection, and whether the other side has closed that.
    fn connection(&self, place: Place, over: Over) -> (bool, bool) {
        let used_at = match over {
            Over::Any => self.kept().entry(place).or_default().pop(),
            Over::New => None,
        };
        let Some(used_at) = used_at else { return (false, false) };
        let mut state = self.simulation.lock();
        let is_stale = state.now - used_at > state.scenario.idle || state.meets(place, Mishap::Stale);
        if is_stale {
            state.tell(|| format!("{place:?}: a kept connection is gone"));
        }
        (true, is_stale)
    }

    async fn exchange(&self, request: Request<Bytes>, over: Over) -> Result<Incoming, NoResponse> {
        let place = match request.uri().host() {
            Some("segment.test") => Place::Segment,
            Some("s3.test") => return self.bucket(request).await,
            _ => Place::Vero,
        };
        let (was_kept, is_stale) = self.connection(place, over);
        if is_stale {
            return Err(NoResponse::Broken { was_kept });
        }
        let serve = move |state: &mut State, mishap: Option<Mishap>| match place {
            Place::Segment => state.segment(&request, mishap),
            _ => state.vero(&request, mishap),
        };
        let response = self.simulation.call(place, serve).await;
        let Some(Answer { status, retry_after, body: text }) = response else {
            return Err(NoResponse::Broken { was_kept });
        };
        if over == Over::Any {
            let now = self.simulation.now();
            self.kept().entry(place).or_default().push(now);
        }
        let mut response = Response::builder().status(status);
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        response.body(body(text)).map_err(|_| NoResponse::Connect)
    }

    /// S3 is always well: `object_store` has chance of its own, which nothing can repeat, between two tries.
    async fn bucket(&self, request: Request<Bytes>) -> Result<Incoming, NoResponse> {
        sleep(Duration::from_millis(20)).await;
        Ok(self.simulation.lock().s3(&request).map(body))
    }
}

impl Network for Destinations {
    fn send(&self, request: Request<Bytes>, over: Over) -> BoxFuture<'_, Result<Incoming, NoResponse>> {
        Box::pin(self.exchange(request, over))
    }
}

fn body(bytes: impl Into<Bytes>) -> BoxBody<Bytes, Box<dyn Error + Send + Sync>> {
    let never = |error: std::convert::Infallible| -> Box<dyn Error + Send + Sync> { match error {} };
    Full::new(bytes.into()).map_err(never).boxed()
}

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: &'static str,
}

impl Answer {
    fn of(status: u16, body: &'static str) -> Self {
        Answer { status, retry_after: None, body }
    }
}

impl State {
    /// What both destinations answer when something is wrong with them.
    fn refusal(&mut self, mishap: Option<Mishap>) -> Option<Answer> {
        match mishap? {
            Mishap::Refused => Some(Answer::of([500, 502, 503, 408][self.rng.usize(..4)], "no")),
            Mishap::Throttled => {
                let retry_after = [Some(1), Some(30), Some(600), Some(5_000), None][self.rng.usize(..5)];
                Some(Answer { status: 429, retry_after, body: "slow down" })
            }
            Mishap::Unauthorized => Some(Answer::of(401, "who are you?")),
            _ => None,
        }
    }

    fn segment(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Answer, Vec<String>) {
        #[derive(Deserialize)]
        struct Batch<'a> {
            #[serde(borrow)]
            batch: Vec<&'a RawValue>,
        }
        if let Some(refusal) = self.refusal(mishap) {
            return (refusal, Vec::new());
        }
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let expected = self.keys.get(&Place::Segment).into_iter().flatten().map(|(key, _)| key.clone());
        let key = expected.into_iter().find(|key| Some(&*harness::basic(key)) == authorization);
        let key = key.unwrap_or_default();
        if !self.takes_key(Place::Segment, &key) {
            self.tell(|| format!("Segment does not know {key}"));
            return (Answer::of(401, "who are you?"), Vec::new());
        }
        let body = unpacked(request.body());
        let batch: Vec<&RawValue> =
            serde_json::from_str(&body).map(|Batch { batch }| batch).unwrap_or_default();
        let is_bad = |message: &&RawValue| message.get().contains("refused-by-segment");
        if batch.is_empty() || mishap == Some(Mishap::Partly) && batch.iter().any(is_bad) {
            return (Answer::of(400, "bad"), Vec::new());
        }
        let now = self.now;
        let mut taken: Vec<String> = Vec::new();
        for message in batch {
            // The second message of an event goes with the first.
            if message.get().contains("-tags\"") && !taken.is_empty() {
                continue;
            }
            taken.extend(self.ledger.deliver(message.get(), now));
        }
        self.tell(|| format!("Segment has {}", taken.join(" ")));
        (Answer::of(200, r#"{"success":true}"#), taken)
    }

    fn vero(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Answer, Vec<String>) {
        #[derive(Deserialize)]
        struct Token<'a> {
            auth_token: &'a str,
        }
        if let Some(refusal) = self.refusal(mishap) {
            return (refusal, Vec::new());
        }
        let body = String::from_utf8_lossy(request.body());
        let token = serde_json::from_str(&body).map_or("", |Token { auth_token }| auth_token);
        if !self.takes_key(Place::Vero, token) {
            return (Answer::of(401, "who are you?"), Vec::new());
        }
        if mishap == Some(Mishap::Partly) && body.contains("@") {
            // In the body of a 200, as Vero may.
            let refusals = [r#"{"status":503,"message":"later"}"#, r#"{"status":400,"message":"no"}"#];
            return (Answer::of(200, refusals[self.rng.usize(..2)]), Vec::new());
        }
        let key = format!("{} {}", request.uri().path(), body.replacen(token, "", 1));
        let (now, path) = (self.now, request.uri().path().to_owned());
        let taken: Vec<String> = self.ledger.deliver(&key, now).into_iter().collect();
        self.tell(|| format!("Vero has {} by {path}", taken.join(" ")));
        (Answer::of(200, r#"{"status":200,"message":"Success."}"#), taken)
    }
}
