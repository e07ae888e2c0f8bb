//! Segment, Vero and a webhook endpoint, and the network to them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use relay_core::endpoints::{Endpoints, HEADER_NAMES, Reach};
use relay_platform::world::{Incoming, Network, NoResponse, Over};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::heap::{Outside, outside};
use crate::ledger::{CRM, endpoint_key, text_in};
use crate::memory::Taken;
use crate::scenario::{Mishap, Place, SECOND};
use crate::services::unpacked;
use crate::state::{EPOCH, Simulation, State, endpoint_settings};

/// After so many server errors in a row a process asks a destination nothing for a while (docs/delivery.md, "Time").
const ERRORS: u32 = 3;

/// For nearly as long: the pause is 10 s.
const LEFT_ALONE: u64 = 9 * SECOND;

/// The network of one process.
pub struct Destinations {
    simulation: Arc<Simulation>,
    seen: Mutex<BTreeMap<Place, Seen>>,
}

/// What a process has seen of a destination.
#[derive(Default)]
struct Seen {
    /// When each kept connection was used last.
    kept: Vec<u64>,
    /// Server errors in a row.
    errors: u32,
    /// When the last of those that matter came.
    third_at: u64,
}

impl Destinations {
    pub fn new(simulation: &Arc<Simulation>) -> Self {
        Destinations { simulation: Arc::clone(simulation), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Place, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request goes over a kept connection, and whether the other side has closed that.
    fn connection(&self, place: Place, over: Over) -> (bool, bool) {
        let mut guard = self.simulation.lock();
        let state = &mut *guard;
        let mut seen = self.seen();
        let Seen { kept, errors, third_at } = seen.entry(place).or_default();
        if over == Over::New {
            return (false, false);
        }
        *state.ledger.calls.entry(place).or_default() += 1;
        // A clock that is set back ends the pause.
        let is_steady = state.scenario.skew == 0;
        if is_steady && *errors >= ERRORS && (1..LEFT_ALONE).contains(&(state.now - *third_at)) {
            let what = format!("{place:?} is asked {} ms after {errors} errors", state.now - *third_at);
            state.ledger.violation(state.now, what);
        }
        let Some(used_at) = kept.pop() else { return (false, false) };
        let is_stale = state.now - used_at > state.scenario.idle || state.meets(place, Mishap::Stale);
        if is_stale {
            state.tell(|| format!("{place:?}: a kept connection is gone"));
        }
        (true, is_stale)
    }

    /// A response has come, and the connection is kept.
    fn answered(&self, place: Place, over: Over, status: u16) {
        let now = self.simulation.now();
        let mut seen = self.seen();
        let seen = seen.entry(place).or_default();
        seen.errors = if status >= 500 { seen.errors + 1 } else { 0 };
        if seen.errors == ERRORS {
            seen.third_at = now;
        }
        if over == Over::Any {
            seen.kept.push(now);
        }
    }

    async fn exchange(&self, request: Request<Bytes>, over: Over) -> Result<Sent, NoResponse> {
        let place = match request.uri().host() {
            Some("segment.test") => Place::Segment,
            Some("endpoint.test") => Place::Endpoint,
            Some("s3.test") => return self.bucket(request).await,
            _ => Place::Vero,
        };
        let (was_kept, is_stale) = self.connection(place, over);
        if is_stale {
            return Err(NoResponse::Broken { was_kept });
        }
        if self.simulation.lock().meets(place, Mishap::Private) {
            return Err(NoResponse::Private);
        }
        let is_unreachable = !was_kept && self.simulation.lock().meets(place, Mishap::Unreachable);
        if is_unreachable {
            sleep(Duration::from_millis(50)).await;
            return Err(NoResponse::Connect);
        }
        let serve = move |state: &mut State, mishap: Option<Mishap>| match place {
            Place::Segment => state.segment(&request, mishap),
            Place::Endpoint => state.endpoint(&request, mishap),
            _ => state.vero(&request, mishap),
        };
        let answer = self.simulation.call(place, serve).await;
        self.simulation.passing.notify_one();
        let Some(Answer { status, retry_after, body, is_cut }) = answer else {
            return Err(NoResponse::Broken { was_kept });
        };
        self.answered(place, over, status);
        let mut response = Response::builder().status(status);
        if let Some(wait) = retry_after {
            response = response.header("retry-after", wait);
        }
        let response = response.body(body.into_bytes()).map_err(|_| NoResponse::Connect)?;
        Ok(Sent { response, is_cut })
    }

    async fn bucket(&self, request: Request<Bytes>) -> Result<Sent, NoResponse> {
        let serve = move |state: &mut State, mishap| (state.s3(&request, mishap), Vec::new());
        let answer = self.simulation.call(Place::S3, serve).await;
        let (response, is_cut) = answer.ok_or(NoResponse::Broken { was_kept: false })?;
        Ok(Sent { response, is_cut })
    }
}

/// A response on its way to the process.
struct Sent {
    response: Response<Vec<u8>>,
    /// The second half of its body does not come.
    is_cut: bool,
}

impl Network for Destinations {
    fn send(&self, request: Request<Bytes>, over: Over) -> BoxFuture<'_, Result<Incoming, NoResponse>> {
        Box::pin(async move {
            let there = outside(|| copied(&request));
            let Sent { response, is_cut } = Outside::of(self.exchange(there, over)).await?;
            let bytes = Bytes::copy_from_slice(response.body());
            let mut here = Response::new(if is_cut { cut(bytes) } else { body(bytes) });
            *here.status_mut() = response.status();
            *here.headers_mut() = copied_headers(response.headers());
            outside(|| drop(response));
            Ok(here)
        })
    }
}

fn copied(request: &Request<Bytes>) -> Request<Bytes> {
    let mut copy = Request::new(Bytes::copy_from_slice(request.body()));
    copy.method_mut().clone_from(request.method());
    // It shares its bytes, which are few.
    copy.uri_mut().clone_from(request.uri());
    *copy.headers_mut() = copied_headers(request.headers());
    copy
}

/// Clones would share their bytes.
fn copied_headers(headers: &HeaderMap) -> HeaderMap {
    let copied = |(name, value): (&HeaderName, &HeaderValue)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    headers.iter().filter_map(copied).collect()
}

fn body(bytes: Bytes) -> BoxBody<Bytes, Box<dyn Error + Send + Sync>> {
    let never = |error: std::convert::Infallible| -> Box<dyn Error + Send + Sync> { match error {} };
    Full::new(bytes).map_err(never).boxed()
}

/// The first half of a body, and then nothing more.
fn cut(mut bytes: Bytes) -> BoxBody<Bytes, Box<dyn Error + Send + Sync>> {
    bytes.truncate(bytes.len() / 2);
    let frames = [Ok(Frame::data(bytes)), Err("the connection is gone".into())];
    StreamBody::new(stream::iter(frames)).boxed()
}

/// A request in Segment's form.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

struct Answer {
    status: u16,
    /// In either form.
    retry_after: Option<String>,
    body: String,
    is_cut: bool,
}

impl Answer {
    fn of(status: u16, body: &str) -> Self {
        Answer { status, retry_after: None, body: body.to_owned(), is_cut: false }
    }

    /// An answer of somebody who has done what was asked.
    fn taken(body: &str, mishap: Option<Mishap>) -> Self {
        Answer { is_cut: mishap == Some(Mishap::AnswerCut), ..Answer::of(200, body) }
    }
}

impl State {
    /// What a destination answers when something is wrong with it.
    fn refusal(
        &mut self,
        events: &[(String, &'static str)],
        place: Place,
        mishap: Option<Mishap>,
    ) -> Option<Answer> {
        let (mut wait, mut retry_after) = (None, None);
        let answer = match mishap? {
            Mishap::Refused => Answer::of([500, 502, 503, 408][self.rng.usize(..4)], "no"),
            Mishap::Throttled => {
                wait = [Some(1), Some(30), Some(600), Some(5_000), None][self.rng.usize(..5)];
                retry_after = wait.map(|seconds| seconds.to_string());
                if let (Some(seconds), true) = (wait, self.rng.bool()) {
                    let until = self.wall() + Duration::from_secs(seconds);
                    retry_after = Some(httpdate::fmt_http_date(until));
                    // A date is of whole seconds, and the worker's clock may be ahead.
                    wait = Some(seconds.saturating_sub(1 + self.scenario.skew.div_ceil(SECOND)));
                }
                Answer::of(429, "slow down")
            }
            Mishap::Unauthorized => Answer::of(401, "who are you?"),
            Mishap::Misrouted => {
                // What 404 says at Vero depends on what was asked for.
                let at_most = if place == Place::Vero { 4 } else { 6 };
                Answer::of([301, 410, 501, 505, 404, 405][self.rng.usize(..at_most)], "no such thing")
            }
            _ => return None,
        };
        self.ledger.refused(events, wait, self.now);
        Some(Answer { retry_after, ..answer })
    }

    fn segment(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Answer, Vec<String>) {
        let body = unpacked(request.body());
        let batch: Vec<&str> = serde_json::from_str(&body)
            .map(|Batch { batch }| batch.into_iter().map(RawValue::get).collect())
            .unwrap_or_default();
        let events = self.ledger.asked(&batch, self.now);
        if let Some(refusal) = self.refusal(&events, Place::Segment, mishap) {
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
        let is_bad = |message: &&str| message.contains("refused-by-segment");
        if batch.is_empty() || mishap == Some(Mishap::Partly) && batch.iter().any(is_bad) {
            return (Answer::of(400, "bad"), Vec::new());
        }
        let taken = self.ledger.delivered_whole(&events, self.now);
        // What nobody knows is a violation already.
        let known = if batch.len() == events.len() { &events[..] } else { &[] };
        for (message, (event, _)) in batch.iter().zip(known) {
            let message_id = text_in(message, "messageId").unwrap_or_default();
            let is_new = self.is_new(Place::Segment, message_id, event);
            if is_new && self.scenario.passes_on {
                self.passed_on.push((*message).to_owned());
            }
        }
        self.tell(|| format!("Segment has {}", taken.join(" ")));
        (Answer::taken(r#"{"success":true}"#, mishap), taken)
    }

    fn endpoint(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Answer, Vec<String>) {
        let body = String::from_utf8_lossy(request.body());
        // A list, a batch in Segment's form, or one event.
        let list: Result<Vec<&RawValue>, _> = serde_json::from_str(&body);
        let batch = || serde_json::from_str(&body).map(|Batch { batch }| batch);
        let keys: Vec<String> = match list.or_else(|_| batch()) {
            Ok(list) => list.iter().map(|event| endpoint_key(event.get())).collect(),
            Err(_) => vec![endpoint_key(&body)],
        };
        let events = self.ledger.asked(&keys.iter().map(String::as_str).collect::<Vec<_>>(), self.now);
        let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        self.ledger.asked_by(id, &events, &keys, self.now);
        if let Some(refusal) = self.refusal(&events, Place::Endpoint, mishap) {
            return (refusal, Vec::new());
        }
        if !self.is_signed(request, &body) {
            self.tell(|| "The endpoint does not know the signature".to_owned());
            return (Answer::of(401, "who are you?"), Vec::new());
        }
        if mishap == Some(Mishap::Partly) && body.contains("refused-by-segment") {
            return (Answer::of(422, "bad"), Vec::new());
        }
        let taken = self.ledger.delivered_whole(&events, self.now);
        self.tell(|| format!("The endpoint has {}", taken.join(" ")));
        (Answer::taken("{}", mishap), taken)
    }

    /// Whether something is new to a destination, which compares it by `key`.
    fn is_new(&mut self, place: Place, key: String, event: &str) -> bool {
        match self.memory.take(place, key, event, self.now) {
            Taken::New => true,
            Taken::Known => false,
            Taken::Mistaken(other) => {
                let what = format!("{event} is dropped at {place:?}, because it looks like {other}");
                self.ledger.violation(self.now, what);
                false
            }
        }
    }

    /// Vero has taken a request about an event.
    fn remember(&mut self, path: &str, body: &str, event: &str) {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let user =
            |body: &Value| ["id", "email"].iter().find_map(|key| body[*key].as_str().map(str::to_owned));
        match path {
            "/api/v2/events/track" => {
                let parts =
                    ["auth_token", "event_name", "identity", "data"].map(|part| body[part].to_string());
                self.is_new(Place::Vero, parts.concat(), event);
                user(&body["identity"]).into_iter().for_each(|user| self.memory.meet(&user));
            }
            "/api/v2/users/track" => user(&body).into_iter().for_each(|user| self.memory.meet(&user)),
            "/api/v2/users/tags/edit" if !user(&body).is_some_and(|user| self.memory.has(&user)) => {
                self.ledger.violation(self.now, format!("Vero gets tags of {event} before it has the user"));
            }
            _ => (),
        }
    }

    /// Whether a request is signed, now and for these bytes, with a secret that the endpoint takes.
    fn is_signed(&mut self, request: &Request<Bytes>, body: &str) -> bool {
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let [id, time, signatures] = HEADER_NAMES.map(header);
        let Ok(seconds) = time.parse::<i64>() else { return false };
        let skew = (self.scenario.skew / SECOND) as i64 + 60;
        if ((EPOCH + self.now) as i64 / 1_000 - seconds).abs() > skew {
            let what = format!("{id} was signed at {seconds}");
            self.ledger.violation(self.now, what);
        }
        let secrets = self.keys.get(&Place::Endpoint).into_iter().flatten();
        let valid = secrets.filter(|(_, until)| self.now < *until).map(|(secret, _)| secret);
        let expected = valid.filter_map(|secret| {
            let endpoints = Endpoints::parse(&endpoint_settings(&[secret], None), Reach::Public).ok()?;
            Some(endpoints.get(CRM)?.signed(id, seconds, body)[2].1.clone())
        });
        expected.into_iter().any(|expected| signatures.split(' ').any(|one| one == expected))
    }

    fn vero(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Answer, Vec<String>) {
        #[derive(Deserialize)]
        struct Token<'a> {
            auth_token: &'a str,
        }
        let body = String::from_utf8_lossy(request.body());
        let token = serde_json::from_str(&body).map_or("", |Token { auth_token }| auth_token);
        let path = request.uri().path();
        let key = format!("{path} {}", body.replacen(token, "", 1));
        let events = self.ledger.asked(&[&key], self.now);
        if let Some(refusal) = self.refusal(&events, Place::Vero, mishap) {
            return (refusal, Vec::new());
        }
        if !self.takes_key(Place::Vero, token) {
            return (Answer::of(401, "who are you?"), Vec::new());
        }
        if mishap == Some(Mishap::Partly) && body.contains("@") {
            // In the body of a 200, as Vero may.
            let refusals = [r#"{"status":503,"message":"later"}"#, r#"{"status":400,"message":"no"}"#];
            return (Answer::of(200, refusals[self.rng.usize(..2)]), Vec::new());
        }
        if let [(event, _)] = &events[..] {
            self.remember(path, &body, event);
        }
        let taken = self.ledger.delivered_whole(&events, self.now);
        self.tell(|| format!("Vero has {} by {path}", taken.join(" ")));
        (Answer::taken(r#"{"status":200,"message":"Success."}"#, mishap), taken)
    }
}
