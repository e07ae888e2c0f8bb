//! What a sender gets back. Always JSON, with an `error` when the request is refused.

use lambda_http::Body;
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use lambda_http::http::{Response as HttpResponse, StatusCode};
use relay_core::envelope::EventId;
use serde_json::{Value, json};

use crate::rejection::Rejection;

pub type Response = HttpResponse<Body>;

/// As Segment's own API says it: some SDKs send again whatever is answered otherwise.
pub fn success() -> Response {
    json(StatusCode::OK, &json!({"success": true}))
}

pub fn healthy() -> Response {
    json(StatusCode::OK, &json!({"status": "ok"}))
}

pub fn empty() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// In all the words that one SDK or another looks for; Vero looks for none. `id` is that of what is kept in the
/// dead-letter queue.
pub fn rejected(rejection: Rejection, id: Option<&EventId>) -> Response {
    let message = rejection.message();
    let mut body = match rejection {
        Rejection::UnknownToken => json!({"error": message}),
        _ => json!({"success": false, "code": rejection.code(), "message": message, "error": message}),
    };
    if let Some(id) = id {
        body["id"] = id.as_str().into();
    }
    let mut response = json(rejection.status(), &body);
    if let Rejection::WrongMethod(allowed) = rejection {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A 503 asks its sender to send again, after so many seconds.
pub fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
