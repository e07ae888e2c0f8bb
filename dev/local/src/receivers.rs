//! Stand-ins for Segment and Vero: they take what the real ones take and keep it in the journal.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use base64::Engine;
use serde_json::Value;

use crate::http::{self, Request, Response};
use crate::journal::{Delivery, Destination, Journal};

/// The write key that the stand-in of Segment accepts.
pub(crate) const SEGMENT_WRITE_KEY: &str = "local-segment-write-key";
/// The auth token that the stand-in of Vero accepts.
pub(crate) const VERO_AUTH_TOKEN: &str = "local-vero-auth-token";

/// Starts a stand-in on a free port.
pub(crate) async fn start(destination: Destination, journal: Arc<Journal>) -> Result<SocketAddr> {
    let (listener, address) = http::listen(None).await?;
    http::serve(listener, move |request| {
        let journal = Arc::clone(&journal);
        async move {
            match (destination, request.uri().path()) {
                (Destination::Segment, "/v1/batch") => segment(&request, &journal),
                (Destination::VeroTrack, "/api/v2/events/track") => vero(&request, &journal),
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
    let key = base64::engine::general_purpose::STANDARD.encode(format!("{SEGMENT_WRITE_KEY}:"));
    let status = if header(request, "authorization") == Some(&format!("Basic {key}")) { 200 } else { 401 };
    for message in batch["batch"].as_array_mut().map(std::mem::take).unwrap_or_default() {
        // `vr-<id>`; a second message of one webhook adds `-tags`.
        let id = message["messageId"].as_str().unwrap_or_default().trim_start_matches("vr-");
        let id = id.trim_end_matches("-tags").to_owned();
        let event = if message["event"].is_string() { &message["event"] } else { &message["type"] }.clone();
        journal.record(Delivery::new(&id, Destination::Segment, status, &event, message));
    }
    http::response(status, &format!(r#"{{"success":{}}}"#, status == 200))
}

fn vero(request: &Request, journal: &Journal) -> Response {
    let Some(call) = json_body(request) else {
        return http::response(400, r#"{"status":400,"message":"not JSON"}"#);
    };
    let status = if call["auth_token"] == VERO_AUTH_TOKEN { 200 } else { 401 };
    let id = call["data"]["webhook_id"].as_str().unwrap_or_default().to_owned();
    let event = call["event_name"].clone();
    journal.record(Delivery::new(&id, Destination::VeroTrack, status, &event, call));
    http::response(status, &format!(r#"{{"status":{status}}}"#))
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
