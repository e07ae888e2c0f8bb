//! Why a request is refused.

use std::borrow::Cow;

use lambda_http::http::StatusCode;
use relay_core::envelope::MAX_BYTES;
use relay_core::first_party::Invalid;

use crate::limits::{KEPT_BYTES, MAX_DECODED, MAX_EVENTS, MAX_HEAD};

/// Why a request is refused, or one of its events.
///
/// The statuses are chosen so that no SDK sends for ever: those that it might get for an event that will never be
/// better are final for all of them but Go's, which gives up after ten tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    NotFound,
    /// The path has other methods, as in the header `Allow`.
    WrongMethod(&'static str),
    /// No known token in the URL of `/vero`.
    UnknownToken,
    /// No known token or key.
    Unauthorized,
    BadSignature,
    /// The key is public, and may only send track, page and screen.
    NotAllowed,
    /// The body has no JSON object, nor a non-empty array of such; a snake_case code says why.
    NotAWebhook(&'static str),
    /// The body is not what its path is for; a snake_case code says why.
    NotEvents(&'static str),
    /// It has over [`MAX_EVENTS`].
    TooManyEvents,
    /// The body is gzip that is damaged.
    BadGzip,
    /// The event is none of Segment's spec.
    Invalid(Invalid),
    /// An event's envelope is over [`MAX_BYTES`].
    EventTooLarge,
    /// The body is over [`MAX_DECODED`], or its events would become too large.
    BodyTooLarge,
    /// The header names no key, nor does the body within [`MAX_HEAD`].
    KeyTooFar,
    /// The body was gzip before something on the way took it for text: what was no UTF-8 is gone.
    GzipAsText,
    /// The queue did not take all of it: to be sent again.
    NotQueued,
    /// Token or signature cannot be checked, for a fault of the operator's or of SSM's: to be sent again.
    NotChecked,
}

impl Rejection {
    pub fn status(self) -> StatusCode {
        match self {
            Rejection::NotFound => StatusCode::NOT_FOUND,
            Rejection::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::UnknownToken | Rejection::Unauthorized | Rejection::BadSignature => {
                StatusCode::UNAUTHORIZED
            }
            Rejection::NotAllowed => StatusCode::FORBIDDEN,
            Rejection::EventTooLarge
            | Rejection::BodyTooLarge
            | Rejection::KeyTooFar
            | Rejection::TooManyEvents => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::NotAWebhook(_)
            | Rejection::NotEvents(_)
            | Rejection::BadGzip
            | Rejection::Invalid(_)
            | Rejection::GzipAsText => StatusCode::BAD_REQUEST,
            Rejection::NotQueued | Rejection::NotChecked => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A snake_case code for responses, logs and dead letters.
    pub fn code(self) -> &'static str {
        match self {
            Rejection::NotFound => "not_found",
            Rejection::WrongMethod(_) => "wrong_method",
            Rejection::UnknownToken | Rejection::Unauthorized => "unauthorized",
            Rejection::BadSignature => "bad_signature",
            Rejection::NotAllowed => "not_allowed",
            Rejection::NotAWebhook(reason) | Rejection::NotEvents(reason) => reason,
            Rejection::TooManyEvents => "too_many_events",
            Rejection::BadGzip => "bad_gzip",
            Rejection::Invalid(invalid) => invalid.as_str(),
            Rejection::EventTooLarge => "event_too_large",
            Rejection::BodyTooLarge | Rejection::KeyTooFar => "body_too_large",
            Rejection::GzipAsText => "gzip_as_text",
            Rejection::NotQueued => "not_queued",
            Rejection::NotChecked => "not_checked",
        }
    }

    pub fn message(self) -> Cow<'static, str> {
        match self {
            Rejection::NotFound => "there is nothing at this path".into(),
            Rejection::WrongMethod(allowed) => format!("this path takes {allowed} only").into(),
            Rejection::UnknownToken => "the URL holds no known token".into(),
            Rejection::Unauthorized => "no known token or write key".into(),
            Rejection::BadSignature => "X-Signature is missing or is not made with the shared secret".into(),
            Rejection::NotAllowed => {
                "this write key may send track, page and screen only, and change neither subscriptions nor tags"
                    .into()
            }
            Rejection::NotAWebhook(reason) => {
                format!("the body is no JSON object, nor an array of objects ({reason}); it is kept in the dead-letter \
                     queue").into()
            }
            Rejection::NotEvents(_) => "the body is no event, nor a batch of events, as JSON".into(),
            Rejection::TooManyEvents => format!("a request may have {MAX_EVENTS} events").into(),
            Rejection::BadGzip => "the gzip body is damaged".into(),
            Rejection::Invalid(invalid) => invalid.to_string().into(),
            Rejection::EventTooLarge => {
                format!(
                    "an event may have {} KiB; the first {} kB of this one are kept in the dead-letter queue",
                    MAX_BYTES / 1024,
                    KEPT_BYTES / 1000
                ).into()
            }
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

    /// Whether the sender is unknown.
    pub fn is_unauthorized(self) -> bool {
        matches!(
            self,
            Rejection::UnknownToken
                | Rejection::Unauthorized
                | Rejection::BadSignature
                | Rejection::KeyTooFar
        )
    }
}
