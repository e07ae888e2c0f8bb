//! What a sender is told. Always JSON, with an `error` when the answer is no.

use std::collections::BTreeMap;

use relay_core::envelope::{EventId, MAX_BYTES};
use serde::Serialize;
use serde_json::{Value, json};

use crate::intake::{KEPT_BYTES, Received, Refusal};

/// An answer as a Function URL takes it: payload format 2.0.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: BTreeMap<&'static str, &'static str>,
    body: String,
}

impl Answer {
    /// 202: SQS has it.
    pub fn accepted(received: &[Received], is_array: bool) -> Self {
        Self::about(202, json!({}), received, is_array)
    }

    /// 400 or 413: kept in the dead-letter queue, but not to be processed.
    pub fn refused(refusal: Refusal, received: &[Received], is_array: bool) -> Self {
        let (status, error) = match refusal {
            Refusal::NotAWebhook(reason) => (
                400,
                format!(
                    "the body is no JSON object, nor an array of objects ({reason}); it is kept in the dead-letter queue"
                ),
            ),
            Refusal::TooLarge => (
                413,
                format!(
                    "an event may have {} KiB; the first {} kB of this one are kept in the dead-letter queue",
                    MAX_BYTES / 1024,
                    KEPT_BYTES / 1000
                ),
            ),
        };
        let mut body = json!({"error": error});
        if is_array && let Some(refused) = received.iter().find(|received| received.dead.is_some()) {
            body["id"] = refused.id.as_str().into();
        }
        Self::about(status, body, received, is_array)
    }

    /// 503: SQS did not take it in time; it is in the log.
    pub fn unavailable(received: &[Received], is_array: bool) -> Self {
        let error = "the queue did not take the event in time; it is kept in the log";
        Self::about(503, json!({"error": error}), received, is_array).with_header("retry-after", "5")
    }

    /// 401: no known token.
    pub fn unauthorized() -> Self {
        Self::new(401, json!({"error": "the URL holds no known token"}))
    }

    /// 200: somebody is there.
    pub fn healthy() -> Self {
        Self::new(200, json!({"status": "ok"}))
    }

    /// 404: nothing is there.
    pub fn not_found() -> Self {
        Self::new(404, json!({"error": "there is nothing at this path; webhooks go to POST /vero/{token}"}))
    }

    /// 405: not with this method.
    pub fn wrong_method(allowed: &'static str) -> Self {
        Self::new(405, json!({"error": format!("this path takes {allowed} only")}))
            .with_header("allow", allowed)
    }

    fn about(status_code: u16, mut body: Value, received: &[Received], is_array: bool) -> Self {
        let mut ids = received.iter().map(|received| EventId::as_str(&received.id));
        if is_array {
            body["ids"] = ids.collect();
        } else {
            body["id"] = ids.next().into();
        }
        Self::new(status_code, body)
    }

    fn new(status_code: u16, body: Value) -> Self {
        let headers = BTreeMap::from([("content-type", "application/json")]);
        Answer { status_code, headers, body: body.to_string() }
    }

    fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, value);
        self
    }
}
