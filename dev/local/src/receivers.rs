//! Stand-ins for Segment, Vero and a webhook endpoint: they take what the real ones take, and keep it in the journal and for the inspector.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::header::HeaderValue;
use inspector::backend::Behaviour;
use inspector::feed::{Exchange, Feed, Seen, name_of_message, name_of_request};
use inspector::model::time::At;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::http::{self, Request, Response};
use crate::journal::{Delivery, Destination, Journal};

/// The write key that the stand-in of Segment accepts.
pub const SEGMENT_WRITE_KEY: &str = "local-segment-write-key";
/// The auth token that the stand-in of Vero accepts.
pub const VERO_AUTH_TOKEN: &str = "local-vero-auth-token";

/// The calls of Vero's Track API, below `/api/v2/`.
const VERO_CALLS: [(&str, &str); 7] = [
    ("POST", "events/track"),
    ("POST", "users/track"),
    ("POST", "users/unsubscribe"),
    ("POST", "users/resubscribe"),
    ("POST", "users/delete"),
    ("PUT", "users/reidentify"),
    ("PUT", "users/tags/edit"),
];

/// A destination's stand-in, which misbehaves on command.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) destination: Destination,
    journal: Arc<Journal>,
    feed: Arc<Feed>,
    behaviour: Mutex<Behaviour>,
    /// The event that is refused alone, and since when.
    refused: Mutex<Option<(String, Instant)>>,
}

/// The worker sends what was refused once more at once, in another form.
const REFUSED_FOR: Duration = Duration::from_millis(300);

impl StandIn {
    /// Starts one on a free port.
    pub(crate) async fn start(
        destination: Destination,
        journal: Arc<Journal>,
        feed: Arc<Feed>,
    ) -> Result<(Arc<Self>, SocketAddr)> {
        let (listener, address) = http::listen(None).await?;
        let stand_in = Arc::new(StandIn {
            destination,
            journal,
            feed,
            behaviour: Mutex::default(),
            refused: Mutex::default(),
        });
        let this = Arc::clone(&stand_in);
        http::serve(listener, move |request| {
            let this = Arc::clone(&this);
            async move { this.answer(&request).await }
        });
        Ok((stand_in, address))
    }

    /// How it answers now.
    pub(crate) fn behaviour(&self) -> Behaviour {
        let mut refused = self.refused();
        if refused.as_ref().is_some_and(|(_, since)| since.elapsed() >= REFUSED_FOR) {
            *refused = None;
            *self.locked() = Behaviour::Well;
        }
        *self.locked()
    }

    /// Answers so from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.refused() = None;
        *self.locked() = behaviour;
    }

    fn refused(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: &Request) -> Response {
        let (method, path) = (request.method().as_str(), request.uri().path());
        // A website's, not the worker's: it must not look as if the relay had sent it.
        if ["origin", "sec-fetch-site"].iter().any(|name| request.headers().contains_key(*name)) {
            return http::response(403, r#"{"error":"this is for the relay alone"}"#);
        }
        let begin = At::now();
        let (messages, mut response) = match (self.destination, path.strip_prefix("/api/v2/")) {
            (Destination::Segment, None) if path == "/v1/batch" => segment(request),
            (Destination::Endpoint, None) if path == "/hook" => endpoint(request),
            (Destination::VeroTrack, Some(call)) if VERO_CALLS.contains(&(method, call)) => {
                vero(call, request)
            }
            _ => return http::response(404, r#"{"error":"no such path here"}"#),
        };
        let behaviour = self.behaviour();
        let otherwise = match behaviour {
            Behaviour::Well | Behaviour::Hang => None,
            Behaviour::Down => Some((500, "down on command")),
            Behaviour::Unauthorized => Some((401, "unauthorized on command")),
            Behaviour::Limited => Some((429, "too many on command")),
            Behaviour::RefuseNext => self.refuses(&messages).then_some((400, "refused on command")),
        };
        if let Some((status, error)) = otherwise {
            response = http::response(status, &json!({"error": error}).to_string());
            if behaviour == Behaviour::Limited {
                response.headers_mut().insert("retry-after", HeaderValue::from_static("20"));
            }
        }
        let status = Some(response.status().as_u16()).filter(|_| behaviour != Behaviour::Hang);
        let events = messages.len();
        for (id, event, message) in messages {
            self.show(request, &id, begin, events, &message, status, response.body());
            if let Some(status) = status {
                self.journal.record(Delivery::new(self.destination, request, status, &id, &event, message));
            }
        }
        if status.is_none() {
            std::future::pending::<()>().await;
        }
        response
    }

    /// Whether this is the next event, or that event again.
    fn refuses(&self, messages: &[Message]) -> bool {
        let mut refused = self.refused();
        let Some((first, ..)) = messages.first() else { return false };
        let (id, _) = refused.get_or_insert_with(|| (first.clone(), Instant::now()));
        messages.iter().any(|(other, ..)| other == id)
    }

    /// Tells the inspector of what was sent of an event. One that did not come in here it does not have.
    #[expect(clippy::too_many_arguments, reason = "a request and its response, as they are")]
    fn show(
        &self,
        request: &Request,
        id: &str,
        at: At,
        events: usize,
        message: &Value,
        status: Option<u16>,
        response: &[u8],
    ) {
        let mut message = message.clone();
        if let Some(fields) = message.as_object_mut() {
            fields.remove("auth_token");
        }
        let exchange = Exchange {
            destination: self.destination.to_string(),
            at,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            headers: http::headers_without_secrets(request),
            bytes: request.body().len(),
            events,
            message_bytes: message.to_string().len(),
            message,
            status,
            response: String::from_utf8_lossy(response).into_owned(),
        };
        let message_id = &exchange.message["data"]["segment_message_id"];
        let name = match message_id.as_str().filter(|_| !id.is_empty()) {
            Some(message_id) => name_of_message(message_id),
            None if id.is_empty() => name_of_request(&exchange.message),
            None => id.to_owned(),
        };
        self.feed.seen(&name, Seen::Exchange(exchange));
    }
}

/// An event's id and name, and its message.
type Message = (String, String, Value);

fn segment(request: &Request) -> (Vec<Message>, Response) {
    #[derive(Deserialize)]
    struct Batch {
        batch: Vec<Box<RawValue>>,
    }
    let Some(body) = http::unpacked(request) else { return (Vec::new(), not_json()) };
    let Ok(Batch { batch }) = serde_json::from_slice(&body) else { return (Vec::new(), not_json()) };
    let is_authorized = header(request, "authorization") == Some(&harness::basic(SEGMENT_WRITE_KEY));
    let status = if is_authorized { 200 } else { 401 };
    let messages = batch.into_iter().map(|message| {
        let message = value(message.get());
        // `vr-<id>`; a second message of one webhook adds `-tags`.
        let id = message["messageId"].as_str().unwrap_or_default().trim_start_matches("vr-");
        let id = id.trim_end_matches("-tags").to_owned();
        let event = text(&[&message["event"], &message["type"]]).unwrap_or("?").to_owned();
        (id, event, message)
    });
    (messages.collect(), http::response(status, &format!(r#"{{"success":{}}}"#, status == 200)))
}

/// What the settings say of the endpoint at this address.
pub(crate) fn endpoint_settings(url: &str) -> Value {
    json!({"local": {"url": format!("{url}/hook"), "secrets": [harness::ENDPOINT_SECRET]}})
}

fn endpoint(request: &Request) -> (Vec<Message>, Response) {
    let Some(body) = http::unpacked(request) else { return (Vec::new(), not_json()) };
    let message = value(&String::from_utf8_lossy(&body));
    let is_signed = standardwebhooks::Webhook::new(harness::ENDPOINT_SECRET)
        .is_ok_and(|webhook| webhook.verify(&body, request.headers()).is_ok());
    let status = if is_signed { 200 } else { 401 };
    let id = text(&[&message["id"]]).unwrap_or_default().to_owned();
    let event = text(&[&message["payload"]["event"], &message["payload"]["type"]]).unwrap_or("?").to_owned();
    (vec![(id, event, message)], http::response(status, "{}"))
}

fn vero(call: &str, request: &Request) -> (Vec<Message>, Response) {
    let Some(body) = http::unpacked(request) else { return (Vec::new(), not_json()) };
    let message = value(&String::from_utf8_lossy(&body));
    if !message.is_object() {
        return (Vec::new(), not_json());
    }
    let status = if message["auth_token"] == VERO_AUTH_TOKEN { 200 } else { 401 };
    // Only the relay's own names count. In a profile all are the user's; in an event they may have a property `webhook_id`,
    // but the messageId is the relay's.
    let data = if call == "events/track" { &message["data"] } else { &Value::Null };
    let id = text(&[&data["segment_message_id"], &data["webhook_id"]]).unwrap_or_default().to_owned();
    let event = text(&[&message["event_name"]]).unwrap_or(call).to_owned();
    (vec![(id, event, message)], http::response(status, &format!(r#"{{"status":{status}}}"#)))
}

fn not_json() -> Response {
    http::response(400, r#"{"success":false,"message":"not JSON"}"#)
}

/// What the real ones read and serde_json does not, 5,000 levels or half a surrogate, is a text in the place of its field.
fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
        let fields = fields.into_iter().map(|(name, field)| (name, value_or_text(field.get())));
        Value::Object(fields.collect())
    })
}

/// One level below, where the ids are.
fn value_or_text(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
        let fields = fields.into_iter().map(|(name, field)| {
            (name, serde_json::from_str(field.get()).unwrap_or_else(|_| field.get().into()))
        });
        Value::Object(fields.collect())
    })
}

/// The first that is text.
fn text<'v>(values: &[&'v Value]) -> Option<&'v str> {
    values.iter().find_map(|value| value.as_str())
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_first_party_event_takes_no_request_of_another_and_a_page_has_none() {
        let feed = Arc::new(Feed::default());
        let stand_in = StandIn {
            destination: Destination::VeroTrack,
            journal: Arc::default(),
            feed: Arc::clone(&feed),
            behaviour: Mutex::default(),
            refused: Mutex::default(),
        };
        let webhook = "0193f0c2-4c1e-7000-8000-000000000000";
        for id in [webhook, "own"] {
            feed.change(id, |_| true);
        }
        feed.name("own", &name_of_message("m"));
        let body = json!({"auth_token": VERO_AUTH_TOKEN, "event_name": "e", "data": {"webhook_id": webhook, "segment_message_id": "m"}});
        let mut request = Request::new(body.to_string().into());
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = hyper::Uri::from_static("/api/v2/events/track");
        assert_eq!(stand_in.answer(&request).await.status(), 200);
        let exchanges = || ["own", webhook].map(|id| feed.event(id).map(|event| event.exchanges.len()));
        assert_eq!(exchanges(), [Some(1), Some(0)]);
        // In a profile both may be traits.
        *request.uri_mut() = hyper::Uri::from_static("/api/v2/users/track");
        assert_eq!(stand_in.answer(&request).await.status(), 200);
        assert_eq!(exchanges(), [Some(1), Some(0)]);
        request.headers_mut().insert("origin", HeaderValue::from_static("http://example.com"));
        assert_eq!(stand_in.answer(&request).await.status(), 403);
        assert_eq!(exchanges(), [Some(1), Some(0)]);
    }
}
