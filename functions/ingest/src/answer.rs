//! What a sender is told. Always JSON, with an `error` when the answer is no.

use std::borrow::Cow;
use std::collections::BTreeMap;

use relay_core::envelope::{EventId, MAX_BYTES};
use relay_core::first_party::Invalid;
use serde::Serialize;
use serde_json::{Value, json};

use crate::encoding::{MAX_DECODED, MAX_HEAD};
use crate::intake::first_party::Unreadable;
use crate::intake::webhooks::Refusal;
use crate::intake::{KEPT_BYTES, MAX_EVENTS, QueueEntry};

/// How soon whoever sends again may try again, in seconds.
const RETRY_AFTER: &str = "5";

/// An answer as a Function URL takes it: payload format 2.0, with all the fields that `lambda_http` writes. Lambda needs
/// no more of them than the first three; `cargo lambda watch`, whose type is `ApiGatewayV2httpResponse` of
/// `aws_lambda_events`, refuses one without `cookies`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: BTreeMap<&'static str, Cow<'static, str>>,
    body: String,
    is_base64_encoded: bool,
    cookies: [&'static str; 0],
}

/// Why a request is refused that is no webhook of Vero's.
///
/// The statuses are chosen so that no SDK sends for ever: those that it might get for an event that will never be
/// better are final for all of them but Go's, which gives up after ten tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// There is nothing at this path.
    NotFound,
    /// The path has other methods, as in the header `Allow`.
    WrongMethod(&'static str),
    /// No known token or key.
    Unauthorized,
    /// A signature is asked for, and this is none of Segment's.
    BadSignature,
    /// The key is public, and may only tell what happened.
    NotAllowed,
    /// The body cannot be taken apart, and why.
    Unreadable(Unreadable),
    /// The body is gzip that is damaged.
    BadGzip,
    /// The event is none of Segment's spec.
    Invalid(Invalid),
    /// An event has too many bytes.
    EventTooLarge,
    /// The body has too many bytes, or its events would.
    BodyTooLarge,
    /// The header names no key, nor does as much of the body as is looked at for one.
    KeyTooFar,
    /// The body was gzip before something on the way took it for text.
    GzipAsText,
    /// The queue did not take all of it: to be sent again.
    NotQueued,
    /// Token or signature cannot be checked, for a fault of the operator's: to be sent again.
    NotChecked,
}

impl Rejection {
    fn status(self) -> u16 {
        match self {
            Rejection::NotFound => 404,
            Rejection::WrongMethod(_) => 405,
            Rejection::Unauthorized | Rejection::BadSignature => 401,
            Rejection::NotAllowed => 403,
            Rejection::EventTooLarge
            | Rejection::BodyTooLarge
            | Rejection::KeyTooFar
            | Rejection::Unreadable(Unreadable::TooManyEvents) => 413,
            Rejection::Unreadable(_) | Rejection::BadGzip | Rejection::Invalid(_) | Rejection::GzipAsText => {
                400
            }
            Rejection::NotQueued | Rejection::NotChecked => 503,
        }
    }

    /// A snake_case code for answers and dead letters.
    pub fn code(self) -> &'static str {
        match self {
            Rejection::NotFound => "not_found",
            Rejection::WrongMethod(_) => "wrong_method",
            Rejection::Unauthorized => "unauthorized",
            Rejection::BadSignature => "bad_signature",
            Rejection::NotAllowed => "not_allowed",
            Rejection::Unreadable(unreadable) => unreadable.as_str(),
            Rejection::BadGzip => "bad_gzip",
            Rejection::Invalid(invalid) => invalid.as_str(),
            Rejection::EventTooLarge => "event_too_large",
            Rejection::BodyTooLarge | Rejection::KeyTooFar => "body_too_large",
            Rejection::GzipAsText => "gzip_as_text",
            Rejection::NotQueued => "not_queued",
            Rejection::NotChecked => "not_checked",
        }
    }

    fn message(self) -> Cow<'static, str> {
        match self {
            Rejection::NotFound => "there is nothing at this path".into(),
            Rejection::WrongMethod(allowed) => format!("this path takes {allowed} only").into(),
            Rejection::Unauthorized => "no known token or write key".into(),
            Rejection::BadSignature => "X-Signature is missing or is not made with the shared secret".into(),
            Rejection::NotAllowed => {
                "this write key may send track, page and screen only, and change neither subscriptions nor tags"
                    .into()
            }
            Rejection::Unreadable(Unreadable::TooManyEvents) => format!("a request may have {MAX_EVENTS} events").into(),
            Rejection::Unreadable(_) => "the body is no event, nor a batch of events, as JSON".into(),
            Rejection::BadGzip => "the gzip body is damaged".into(),
            Rejection::Invalid(invalid) => invalid.to_string().into(),
            Rejection::EventTooLarge => too_large().into(),
            Rejection::BodyTooLarge => {
                format!("a request may have {} MiB once it is unpacked, and its events, with what the batch says for \
                     each of them, twice as much", MAX_DECODED / 1024 / 1024).into()
            }
            Rejection::KeyTooFar => {
                format!("a request without Basic authentication must have its write key within the first {} KiB of its \
                     body, once that is unpacked", MAX_HEAD / 1024).into()
            }
            Rejection::GzipAsText => {
                "the gzip body was taken for text on its way here and is beyond repair; switch compression off".into()
            }
            Rejection::NotQueued => "the queue did not take every event in time; send them again".into(),
            Rejection::NotChecked => "token or signature cannot be checked now; send the events again".into(),
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
    pub fn accepted(entries: &[QueueEntry], is_array: bool) -> Self {
        Self::about(202, json!({}), entries, is_array)
    }

    /// 400 or 413: kept in the dead-letter queue, but not to be processed.
    pub fn refused(refusal: Refusal, entries: &[QueueEntry], is_array: bool) -> Self {
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
        if is_array && let Some(refused) = entries.iter().find(|entry| entry.dead_letter_reason.is_some()) {
            body["id"] = refused.id.as_str().into();
        }
        Self::about(status, body, entries, is_array)
    }

    /// 503: SQS did not take it in time; it is in the log.
    pub fn unavailable(entries: &[QueueEntry], is_array: bool) -> Self {
        let error = "the queue did not take the event in time; it is kept in the log";
        Self::about(503, json!({"error": error}), entries, is_array).with_header("retry-after", RETRY_AFTER)
    }

    /// 200, as Segment's own API says it: some SDKs send again whatever is answered otherwise.
    pub fn success() -> Self {
        Self::new(200, json!({"success": true}))
    }

    /// No, in all the words that one SDK or another looks for. `id` is that of what is kept in the dead-letter queue.
    pub fn rejected(rejection: Rejection, id: Option<&EventId>) -> Self {
        let message = rejection.message();
        let mut body =
            json!({"success": false, "code": rejection.code(), "message": message, "error": message});
        if let Some(id) = id {
            body["id"] = id.as_str().into();
        }
        let answer = Self::new(rejection.status(), body);
        match rejection {
            Rejection::WrongMethod(allowed) => answer.with_header("allow", allowed),
            _ if rejection.status() == 503 => answer.with_header("retry-after", RETRY_AFTER),
            _ => answer,
        }
    }

    /// 204: nothing to say.
    pub fn empty() -> Self {
        Self::with_body(204, BTreeMap::new(), String::new())
    }

    /// 401: no known token.
    pub fn unauthorized() -> Self {
        Self::new(401, json!({"error": "the URL holds no known token"}))
    }

    /// 200: somebody is there.
    pub fn healthy() -> Self {
        Self::new(200, json!({"status": "ok"}))
    }

    fn about(status_code: u16, mut body: Value, entries: &[QueueEntry], is_array: bool) -> Self {
        let mut ids = entries.iter().map(|entry| EventId::as_str(&entry.id));
        if is_array {
            body["ids"] = ids.collect();
        } else {
            body["id"] = ids.next().into();
        }
        Self::new(status_code, body)
    }

    fn new(status_code: u16, body: Value) -> Self {
        let headers = BTreeMap::from([("content-type", "application/json".into())]);
        Self::with_body(status_code, headers, body.to_string())
    }

    fn with_body(status_code: u16, headers: BTreeMap<&'static str, Cow<'static, str>>, body: String) -> Self {
        Answer { status_code, headers, body, is_base64_encoded: false, cookies: [] }
    }

    /// With this header too.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}
