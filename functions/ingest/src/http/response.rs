//! What a sender is told. Always JSON, with an `error` when the request is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use relay_core::envelope::EventId;
use serde::Serialize;
use serde_json::{Value, json};

use crate::rejection::Rejection;

/// How soon whoever sends again may try again, in seconds.
const RETRY_AFTER: &str = "5";

/// A response as a Function URL takes it: payload format 2.0, with all the fields that `lambda_http` writes. Lambda needs
/// no more of them than the first three; `cargo lambda watch`, whose type is `ApiGatewayV2httpResponse` of
/// `aws_lambda_events`, refuses one without `cookies`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    headers: BTreeMap<&'static str, Cow<'static, str>>,
    body: String,
    is_base64_encoded: bool,
    cookies: [&'static str; 0],
}

impl Response {
    /// With this header too.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}

/// 200, as Segment's own API says it: some SDKs send again whatever is answered otherwise.
pub fn success() -> Response {
    json(200, &json!({"success": true}))
}

pub fn healthy() -> Response {
    json(200, &json!({"status": "ok"}))
}

/// 204.
pub fn empty() -> Response {
    with_body(204, BTreeMap::new(), String::new())
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
    let response = json(rejection.status(), &body);
    match rejection {
        Rejection::WrongMethod(allowed) => response.with_header("allow", allowed),
        _ => response,
    }
}

/// A 503 asks its sender to send again.
pub fn json(status: u16, body: &Value) -> Response {
    let mut headers = BTreeMap::from([("content-type", "application/json".into())]);
    if status == 503 {
        headers.insert("retry-after", RETRY_AFTER.into());
    }
    with_body(status, headers, body.to_string())
}

fn with_body(status_code: u16, headers: BTreeMap<&'static str, Cow<'static, str>>, body: String) -> Response {
    Response { status_code, headers, body, is_base64_encoded: false, cookies: [] }
}
