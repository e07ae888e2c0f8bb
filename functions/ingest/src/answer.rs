//! What a sender is told. Always JSON, with an `error` when the answer is no.

use lambda_http::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use lambda_http::{Body, Response};
use relay_core::envelope::{EventId, MAX_BYTES};
use serde_json::{Value, json};

use crate::intake::{Fault, KEPT_BYTES};

/// 202: SQS has it.
pub fn accepted<'i>(ids: impl Iterator<Item = &'i EventId>, is_array: bool) -> Response<Body> {
    respond(202, with_ids(json!({}), ids, is_array))
}

/// 400 or 413: kept in the dead-letter queue, but not to be processed.
pub fn refused<'i>(fault: Fault, ids: impl Iterator<Item = &'i EventId>, is_array: bool) -> Response<Body> {
    let (status, error) = match fault {
        Fault::NotAWebhook(reason) => (
            400,
            format!(
                "the body is no JSON object, nor an array of objects ({reason}); it is kept in the dead-letter queue"
            ),
        ),
        Fault::TooLarge => (
            413,
            format!(
                "an event may have {} KiB; the first {} kB of this one are kept in the dead-letter queue",
                MAX_BYTES / 1024,
                KEPT_BYTES / 1000
            ),
        ),
    };
    respond(status, with_ids(json!({"error": error}), ids, is_array))
}

/// 503: SQS did not take it in time; it is in the log.
pub fn unavailable<'i>(ids: impl Iterator<Item = &'i EventId>, is_array: bool) -> Response<Body> {
    let error = "the queue did not take the event in time; it is kept in the log";
    let mut response = respond(503, with_ids(json!({"error": error}), ids, is_array));
    response.headers_mut().insert(RETRY_AFTER, lambda_http::http::HeaderValue::from_static("5"));
    response
}

/// 401: no known token.
pub fn unauthorized() -> Response<Body> {
    respond(401, json!({"error": "the URL holds no known token"}))
}

/// 200: somebody is there.
pub fn healthy() -> Response<Body> {
    respond(200, json!({"status": "ok"}))
}

/// 404: nothing is there.
pub fn not_found() -> Response<Body> {
    respond(404, json!({"error": "there is nothing at this path; webhooks go to POST /vero/{token}"}))
}

/// 405: not with this method.
pub fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = respond(405, json!({"error": format!("this path takes {allowed} only")}));
    response.headers_mut().insert(ALLOW, lambda_http::http::HeaderValue::from_static(allowed));
    response
}

fn with_ids<'i>(mut body: Value, ids: impl Iterator<Item = &'i EventId>, is_array: bool) -> Value {
    let mut ids = ids.map(EventId::as_str);
    if is_array {
        body["ids"] = ids.collect();
    } else {
        body["id"] = ids.next().into();
    }
    body
}

fn respond(status: u16, body: Value) -> Response<Body> {
    let mut response = Response::new(Body::Text(body.to_string()));
    // Every status here is a constant of this file's.
    *response.status_mut() = lambda_http::http::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, lambda_http::http::HeaderValue::from_static("application/json"));
    response
}
