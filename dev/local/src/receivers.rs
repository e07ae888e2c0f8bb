//! Stand-ins for Segment and Vero: they take what the real ones take and keep it in the journal.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

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

/// Starts a stand-in on a free port.
pub(crate) async fn start(destination: Destination, journal: Arc<Journal>) -> Result<SocketAddr> {
    let (listener, address) = http::listen(None).await?;
    http::serve(listener, move |request| {
        let journal = Arc::clone(&journal);
        async move {
            let (method, path) = (request.method().as_str(), request.uri().path());
            match (destination, path.strip_prefix("/api/v2/")) {
                (Destination::Segment, None) if path == "/v1/batch" => segment(&request, &journal),
                (Destination::VeroTrack, Some(call)) if VERO_CALLS.contains(&(method, call)) => {
                    vero(call, &request, &journal)
                }
                _ => http::response(404, r#"{"error":"no such path here"}"#),
            }
        }
    });
    Ok(address)
}

fn segment(request: &Request, journal: &Journal) -> Response {
    let Some(mut batch) = json_body(request) else {
        return http::response(400, r#"{"success":false,"message":"not JSON"}"#);
    };
    let is_authorized = header(request, "authorization") == Some(&harness::basic(SEGMENT_WRITE_KEY));
    let status = if is_authorized { 200 } else { 401 };
    for message in batch["batch"].as_array_mut().map(std::mem::take).unwrap_or_default() {
        // `vr-<id>`; a second message of one webhook adds `-tags`.
        let id = message["messageId"].as_str().unwrap_or_default().trim_start_matches("vr-");
        let id = id.trim_end_matches("-tags").to_owned();
        let event = text(&[&message["event"], &message["type"]]).unwrap_or("?").to_owned();
        journal.record(Delivery::new(Destination::Segment, request, status, &id, &event, message));
    }
    http::response(status, &format!(r#"{{"success":{}}}"#, status == 200))
}

fn vero(call: &str, request: &Request, journal: &Journal) -> Response {
    let Some(message) = json_body(request) else {
        return http::response(400, r#"{"status":400,"message":"not JSON"}"#);
    };
    let status = if message["auth_token"] == VERO_AUTH_TOKEN { 200 } else { 401 };
    let data = &message["data"];
    let id = text(&[&data["webhook_id"], &data["segment_message_id"]]).unwrap_or_default().to_owned();
    let event = text(&[&message["event_name"]]).unwrap_or(call).to_owned();
    journal.record(Delivery::new(Destination::VeroTrack, request, status, &id, &event, message));
    http::response(status, &format!(r#"{{"status":{status}}}"#))
}

/// The first that is text.
fn text<'v>(values: &[&'v Value]) -> Option<&'v str> {
    values.iter().find_map(|value| value.as_str())
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn json_body(request: &Request) -> Option<Value> {
    if header(request, "content-encoding") != Some("gzip") {
        return serde_json::from_slice(request.body()).ok();
    }
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(request.body().as_ref()).read_to_end(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
