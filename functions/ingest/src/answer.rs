//! What a sender is told. Always JSON, with an `error` when the answer is no.

use std::borrow::Cow;
use std::collections::BTreeMap;

use relay_core::envelope::{EventId, MAX_BYTES};
use relay_core::first_party::Invalid;
use serde::Serialize;
use serde_json::{Value, json};

use crate::encoding::MAX_DECODED;
use crate::intake::webhooks::Refusal;
use crate::intake::{KEPT_BYTES, Received};

/// How soon whoever sends again may try again, in seconds.
const RETRY_AFTER: &str = "5";

/// An answer as a Function URL takes it: payload format 2.0.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: BTreeMap<&'static str, Cow<'static, str>>,
    body: String,
}

/// Why events of Segment's or of one of its SDKs are refused.
///
/// The statuses are chosen so that no SDK sends for ever: those that it might get for an event that will never be
/// better are final for all of them but Go's, which gives up after ten tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// No known token or key.
    Unauthorized,
    /// A signature is asked for, and this is none of Segment's.
    BadSignature,
    /// The key is public, and may only tell what happened.
    NotAllowed,
    /// The body cannot be taken apart, and why.
    Unreadable(&'static str),
    /// The event is none of Segment's spec.
    Invalid(Invalid),
    /// An event has too many bytes.
    EventTooLarge,
    /// The body has too many bytes, or events.
    BodyTooLarge,
    /// The body was gzip before something on the way took it for text.
    GzipAsText,
    /// The queue did not take all of it: to be sent again.
    NotQueued,
    /// The signature cannot be checked now: to be sent again.
    NotChecked,
}

impl No {
    fn status(self) -> u16 {
        match self {
            No::Unauthorized | No::BadSignature => 401,
            No::NotAllowed => 403,
            No::Unreadable(_) | No::Invalid(_) | No::GzipAsText => 400,
            No::EventTooLarge | No::BodyTooLarge => 413,
            No::NotQueued | No::NotChecked => 503,
        }
    }

    /// As SDKs and the log tell it.
    pub fn code(self) -> &'static str {
        match self {
            No::Unauthorized => "unauthorized",
            No::BadSignature => "bad_signature",
            No::NotAllowed => "not_allowed",
            No::Unreadable(reason) => reason,
            No::Invalid(invalid) => invalid.as_str(),
            No::EventTooLarge => "event_too_large",
            No::BodyTooLarge => "body_too_large",
            No::GzipAsText => "gzip_as_text",
            No::NotQueued => "not_queued",
            No::NotChecked => "not_checked",
        }
    }

    fn message(self) -> Cow<'static, str> {
        match self {
            No::Unauthorized => "no known token or write key".into(),
            No::BadSignature => "X-Signature is missing or is not made with the shared secret".into(),
            No::NotAllowed => {
                "this write key may send track, page and screen only, and change neither subscriptions nor tags"
                    .into()
            }
            No::Unreadable(_) => {
                "the body is no event, nor a batch of events, as JSON; it is kept in the dead-letter queue".into()
            }
            No::Invalid(invalid) => format!("{invalid}; it is kept in the dead-letter queue").into(),
            No::EventTooLarge => too_large().into(),
            No::BodyTooLarge => {
                format!("a request may have {} MiB once it is unpacked", MAX_DECODED / 1024 / 1024).into()
            }
            No::GzipAsText => {
                "the gzip body was taken for text on its way here and is beyond repair; switch compression off".into()
            }
            No::NotQueued => "the queue did not take every event in time; send them again".into(),
            No::NotChecked => "the signature cannot be checked now; send the events again".into(),
        }
    }
}

fn too_large() -> String {
    format!(
        "an event may have {} KiB; the first {} kB of this one are kept in the dead-letter queue",
        MAX_BYTES / 1024,
        KEPT_BYTES / 1000
    )
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
            Refusal::TooLarge => (413, too_large()),
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
        Self::about(503, json!({"error": error}), received, is_array).with_header("retry-after", RETRY_AFTER)
    }

    /// 200, as Segment's own API says it: some SDKs send again whatever is answered otherwise.
    pub fn success() -> Self {
        Self::new(200, json!({"success": true}))
    }

    /// No, in all the words that one SDK or another looks for. `id` is that of what is kept.
    pub fn no(no: No, id: Option<&EventId>) -> Self {
        let message = no.message();
        let mut body = json!({"success": false, "code": no.code(), "message": message, "error": message});
        if let Some(id) = id {
            body["id"] = id.as_str().into();
        }
        let answer = Self::new(no.status(), body);
        if no.status() == 503 { answer.with_header("retry-after", RETRY_AFTER) } else { answer }
    }

    /// 204: nothing to say.
    pub fn empty() -> Self {
        Answer { status_code: 204, headers: BTreeMap::new(), body: String::new() }
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
        let headers = BTreeMap::from([("content-type", "application/json".into())]);
        Answer { status_code, headers, body: body.to_string() }
    }

    /// With this header too.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}
