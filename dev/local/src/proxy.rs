//! A proxy with a short and lasting address: it passes every request on to the Function URL, whose own address changes
//! with each start, notes the type of each webhook, and shows it to the inspector.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use inspector::backend::Route;
use inspector::feed::{Feed, Received, Seen};
use inspector::model::time::At;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::aws::Cloud;
use crate::http::{self, Request, Response};
use crate::journal::Journal;

/// Where the proxy is when nobody asks for a port and this one is free.
pub(crate) const USUAL_PORT: u16 = 4580;

/// A port that is taken and not served yet.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Takes the port that is asked for, or the usual one, or any. `option` is how it is asked for.
pub(crate) async fn take_port(port: Option<u16>, usual: u16, option: &str) -> Result<Port> {
    let (listener, address) = match (http::listen(port.or(Some(usual))).await, port) {
        (Ok(listening), _) => listening,
        (Err(_), None) => http::listen(None).await.context("no free port on 127.0.0.1")?,
        (Err(error), Some(port)) => {
            bail!("port {port} on 127.0.0.1 cannot be used ({error}); give another one to {option}, or none")
        }
    };
    Ok(Port { listener, address })
}

/// Passes requests on to the Function URL that MiniStack serves under `path`.
pub(crate) fn serve(port: Port, cloud: Cloud, path: String, journal: Arc<Journal>, feed: Arc<Feed>) {
    http::serve(port.listener, move |request| {
        let (path, journal, feed) = (path.clone(), Arc::clone(&journal), Arc::clone(&feed));
        async move {
            let (at, kept) = (At::now(), request.clone());
            match forward(cloud, &path, request).await {
                Ok(answer) => {
                    let webhooks = note(&journal, kept.body(), answer.body());
                    let status = answer.status().as_u16();
                    // What is refused brings no event: whoever lacks a key may name any.
                    let is_taken = answer.status().is_success();
                    match kept.uri().path().split('/').find(|part| !part.is_empty()) {
                        Some("vero") => show(&feed, at, &kept, status, webhooks),
                        Some("segment") if is_taken => {
                            show_first_party(&feed, at, &kept, status, Route::Segment)
                        }
                        Some("v1") if is_taken => show_first_party(&feed, at, &kept, status, Route::Sdk),
                        _ => (),
                    }
                    answer
                }
                Err(error) => http::response(502, &json!({"error": format!("{error:#}")}).to_string()),
            }
        }
    });
}

async fn forward(cloud: Cloud, path: &str, mut request: Request) -> Result<Response> {
    *request.uri_mut() = format!("{path}{}", request.uri()).parse()?;
    // They belong to the connection of either side; the length is counted again.
    for name in ["host", "connection", "content-length", "transfer-encoding", "expect"] {
        request.headers_mut().remove(name);
    }
    let mut answer = http::send(cloud.0, request).await?;
    for name in ["connection", "content-length", "transfer-encoding"] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

/// Notes the type of each webhook that has been given an id: one, or an array of them. Gives them with their ids.
fn note(journal: &Journal, webhook: &[u8], answer: &[u8]) -> Vec<(String, Value)> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (webhook, answer) = (json(webhook), json(answer));
    let webhooks = webhook.as_array().map_or(std::slice::from_ref(&webhook), Vec::as_slice);
    let ids = answer["ids"].as_array().map_or(std::slice::from_ref(&answer["id"]), Vec::as_slice);
    let mut noted = Vec::new();
    for (id, webhook) in ids.iter().zip(webhooks) {
        let Some(id) = id.as_str() else { continue };
        if let Some(webhook_type) = webhook["type"].as_str() {
            journal.record_type(id, webhook_type);
        }
        noted.push((id.to_owned(), webhook.clone()));
    }
    noted
}

/// Tells the inspector of a request that brought webhooks.
fn show(feed: &Feed, at: At, request: &Request, status: u16, webhooks: Vec<(String, Value)>) {
    let events = webhooks.len();
    let received = received(at, request, status, events);
    for (id, webhook) in webhooks {
        let mut received = received.clone();
        received.body = match events {
            1 => String::from_utf8_lossy(request.body()).into_owned(),
            _ => webhook.to_string(),
        };
        feed.change(&id, |event| {
            event.received = Some(received);
            if event.evidence.envelope.is_none() && webhook.is_object() {
                let at = At::of_id(&id).unwrap_or(at);
                let envelope =
                    json!({"version": 1, "id": id, "source": "vero", "received_at": at, "payload": webhook});
                event.evidence.envelope = Some(envelope.to_string());
            }
            true
        });
    }
}

/// The request without its body.
fn received(at: At, request: &Request, status: u16, events: usize) -> Received {
    // The second part of a path may be a token, unless it says the type of an SDK's event; and so may the query.
    let parts: Vec<&str> = request.uri().path().split('/').collect();
    let path =
        if parts.len() > 2 && parts[1] != "v1" { format!("/{}/…", parts[1]) } else { parts.join("/") };
    Received {
        at,
        method: request.method().to_string(),
        path,
        headers: http::headers_without_secrets(request),
        body: String::new(),
        bytes: request.body().len(),
        events,
        status,
    }
}

/// Tells the inspector of a request that brought first-party events: each is known by its `messageId`.
fn show_first_party(feed: &Feed, at: At, request: &Request, status: u16, route: Route) {
    let body = http::unpacked(request).and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    // What cannot be read may have a key anywhere.
    let Some(mut body) = body else { return };
    blank_keys(&mut body);
    if let Some(batch) = body.get_mut("batch").filter(|batch| route == Route::Sdk && batch.is_array()) {
        body = batch.take();
    }
    let events = match body {
        Value::Array(events) => events,
        one => vec![one],
    };
    let received = received(at, request, status, events.len());
    for event in events {
        let Some(message_id) = event["messageId"].as_str() else { continue };
        let body = Some(event.to_string()).filter(|body| body.len() <= LARGEST_EVENT).unwrap_or_default();
        feed.seen(&route.name_of(message_id), Seen::Received(Received { body, ..received.clone() }));
    }
}

/// Segment's SDKs make no larger event (Segment's HTTP API). The bodies of larger ones are not kept.
const LARGEST_EVENT: usize = 32 * 1024;

/// Blanks out the write key, wherever it is.
fn blank_keys(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "writeKey" => *value = "…".into(),
            _ => blank_keys(value),
        }),
        Value::Array(all) => all.iter_mut().for_each(blank_keys),
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_sdk(feed: &Feed, path: &str, body: &str) {
        let mut request = Request::new(body.to_owned().into());
        *request.uri_mut() = path.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("authorization", "Basic c2VjcmV0Og==".parse().unwrap());
        headers.insert("user-agent", "an SDK".parse().unwrap());
        show_first_party(feed, At::from_ms(0), &request, 200, Route::Sdk);
    }

    #[test]
    fn a_request_of_an_sdk_is_shown_without_its_key() {
        let feed = Feed::default();
        let batch = r#"{"writeKey":"secret","batch":[{"messageId":"m1","writeKey":"secret","a":{"writeKey":"secret"}},{"messageId":"m2"},{}]}"#;
        by_sdk(&feed, "/v1/batch?writeKey=secret", batch);
        by_sdk(&feed, "/v1/track", r#"{"messageId":"m3","writeKey":"secret","event":"e"}"#);
        for body in [r#"{"messageId":"m4","writeKey":"secret","#, "5", "[[]]", "\"x\"", ""] {
            by_sdk(&feed, "/v1/track", body);
        }
        let of = |name: &str| {
            feed.change(name, |_| true);
            feed.name(name, &Route::Sdk.name_of(name));
            feed.event(name).and_then(|event| event.received)
        };
        let (one, two, three) = (of("m1").unwrap(), of("m2").unwrap(), of("m3").unwrap());
        assert_eq!(one.body, r#"{"a":{"writeKey":"…"},"messageId":"m1","writeKey":"…"}"#);
        assert_eq!(two.body, r#"{"messageId":"m2"}"#);
        assert_eq!(three.body, r#"{"event":"e","messageId":"m3","writeKey":"…"}"#);
        assert_eq!((&*one.path, one.bytes, one.events, three.events), ("/v1/batch", batch.len(), 3, 1));
        let headers = [("authorization", "…"), ("user-agent", "an SDK")];
        assert_eq!(one.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(of("m4").is_none(), "what is no JSON is not shown");
    }

    #[test]
    fn notes_types_of_one_and_of_many() {
        let journal = Journal::default();
        note(&journal, br#"{"type":"sent"}"#, br#"{"id":"a"}"#);
        note(&journal, br#"[{"type":"opened"},{}]"#, br#"{"ids":["b","c"]}"#);
        note(&journal, b"{", br#"{"error":"not JSON","id":"d"}"#);
        let types = ["a", "b", "c", "d"].map(|id| journal.webhook_type(id));
        assert_eq!(types, [Some("sent".to_owned()), Some("opened".to_owned()), None, None]);
    }
}
