//! From a destination's answer to a verdict.

use std::time::{Duration, SystemTime};

use super::backoff::MAX_DELAY;
use crate::envelope::DeadLetterReason;
use crate::json::{Json, Kind, Object, kind};

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The destination answered.
    Response {
        /// The HTTP status.
        status: u16,
        /// The header `Retry-After`, understood.
        retry_after: Option<Duration>,
        /// The body, or what came of it where the status says all.
        body: String,
        /// The request was sent twice, at once: the destination may have taken the first one, too.
        is_repeated: bool,
    },
    /// It did not.
    Failed(TransportError),
}

/// What a request's path is about, and so what it means that there is nothing at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing of the event's making: the operator's base URL must be wrong.
    Endpoint,
    /// A user whom the event names, and who may not be there.
    User,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// The time allowed ran out.
    Timeout,
    /// No connection came about: the destination has seen nothing.
    Connect,
    /// The connection broke: whether the destination took the request is unknown.
    Broken,
    /// The answer began with a success, but what decides in it did not come in full, or says nothing.
    Unread,
}

/// What an answer means for the events of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has them.
    Accepted {
        /// As of [`Answer::Response`].
        is_repeated: bool,
    },
    /// Worth a quick try, then the queue.
    Again(DeliveryError),
    /// Only the operator can mend it: through the queue, alarmed.
    Operator(DeliveryError),
    /// It will never take them as they are.
    Refused(DeliveryError),
}

/// What is wrong, for logs and dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryError {
    /// A snake_case code.
    pub reason: &'static str,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The answer's head. It may quote the event: for the dead-letter queue, never for a log.
    pub excerpt: Option<String>,
    /// How long the destination asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether it speaks of the destination's health: time-outs, connection errors, 5xx and 429.
    pub is_outage: bool,
    /// The destination may have taken the events although it did not say so.
    pub maybe_taken: bool,
}

impl DeliveryError {
    /// DeliveryError that no answer stands behind.
    pub fn internal(reason: &'static str) -> Self {
        DeliveryError {
            reason,
            status: None,
            excerpt: None,
            retry_after: None,
            is_outage: false,
            maybe_taken: false,
        }
    }
}

impl From<DeliveryError> for DeadLetterReason {
    fn from(DeliveryError { reason, status, excerpt, .. }: DeliveryError) -> Self {
        DeadLetterReason { reason, status, excerpt, truncated: false }
    }
}

impl Answer {
    /// Reads Vero's answer: a 2xx whose JSON body has a number of 400 or more as `status`, in whatever spelling,
    /// counts as that status. Vero's own clients trust the body (github.com/StirlingMarketingGroup/getvero-go).
    #[must_use]
    pub fn with_status_of_body(self) -> Self {
        match self {
            Answer::Response { status: 200..=299, retry_after, body, is_repeated } => {
                let told = status_in(&body).filter(|status| *status >= 400.0);
                let status = told.map_or(200, |status| status.min(999.0) as u16);
                Answer::Response { status, retry_after, body, is_repeated }
            }
            other => other,
        }
    }

    /// What the answer means. One table for every destination.
    pub fn verdict(self, target: Target) -> Verdict {
        let (status, retry_after, body, is_repeated) = match self {
            Answer::Response { status, retry_after, body, is_repeated } => {
                (status, retry_after, body, is_repeated)
            }
            Answer::Failed(error) => {
                let reason = match error {
                    TransportError::Timeout => "timeout",
                    TransportError::Connect => "connection_failed",
                    TransportError::Broken => "connection_broken",
                    TransportError::Unread => "answer_unread",
                };
                let maybe_taken = error != TransportError::Connect;
                return Verdict::Again(DeliveryError {
                    is_outage: true,
                    maybe_taken,
                    ..DeliveryError::internal(reason)
                });
            }
        };
        let error = |reason| DeliveryError {
            reason,
            status: Some(status),
            excerpt: (!body.is_empty()).then(|| body.clone()),
            retry_after,
            is_outage: status == 429 || status >= 500,
            maybe_taken: is_repeated || matches!(status, 408 | 500..),
        };
        match status {
            200..=299 => Verdict::Accepted { is_repeated },
            300..=399 => Verdict::Operator(error("redirected")),
            401 | 403 => Verdict::Operator(error("unauthorized")),
            404 | 405 if target == Target::Endpoint => Verdict::Operator(error("wrong_endpoint")),
            501 | 505 => Verdict::Operator(error("not_implemented")),
            429 => Verdict::Again(error("throttled")),
            // 460 is Segment's own, transient (analytics-java, AnalyticsClient).
            408 | 410 | 425 | 460 => Verdict::Again(error("try_again")),
            413 => Verdict::Refused(error("too_large")),
            400..=499 => Verdict::Refused(error("refused")),
            500..=599 => Verdict::Again(error("server_error")),
            _ => Verdict::Again(error("unexpected_status")),
        }
    }
}

/// The number at top level, read without a look at anything beside it.
fn status_in(body: &str) -> Option<f64> {
    let json: Json<'_> = serde_json::from_str(body.trim_start_matches('\u{FEFF}')).ok()?;
    let status = Object::parse(json)?.get("status").filter(|status| kind(*status) == Kind::Number)?;
    status.get().parse().ok()
}

/// Understands `Retry-After`: seconds, or a date. More than 15 minutes count as 15 minutes.
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_DELAY.as_secs_f64())).ok()?,
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::Response { status, retry_after: None, body: body.to_owned(), is_repeated: false }
    }

    #[test]
    fn every_status_has_its_verdict() {
        for status in 100..=999 {
            let verdict = answer(status, "").verdict(Target::Endpoint);
            let expected = match status {
                200..=299 => "accepted",
                300..=399 | 401 | 403 | 404 | 405 | 501 | 505 => "operator",
                408 | 410 | 425 | 429 | 460 => "again",
                400..=499 => "refused",
                _ => "again",
            };
            let got = match verdict {
                Verdict::Accepted { .. } => "accepted",
                Verdict::Again(_) => "again",
                Verdict::Operator(_) => "operator",
                Verdict::Refused(_) => "refused",
            };
            assert_eq!(got, expected, "{status}");
        }
        for status in [404, 405] {
            assert!(matches!(answer(status, "").verdict(Target::User), Verdict::Refused(_)), "{status}");
        }
    }

    #[test]
    fn no_answer_is_an_outage() {
        for (error, maybe_taken) in [
            (TransportError::Timeout, true),
            (TransportError::Connect, false),
            (TransportError::Broken, true),
            (TransportError::Unread, true),
        ] {
            let Verdict::Again(error) = Answer::Failed(error).verdict(Target::Endpoint) else {
                panic!("{error:?}")
            };
            assert_eq!((error.is_outage, error.maybe_taken, error.status), (true, maybe_taken, None));
        }
    }

    #[test]
    fn vero_may_say_no_in_the_body_of_a_200() {
        let status = |body: &str| match answer(200, body).with_status_of_body() {
            Answer::Response { status, .. } => status,
            Answer::Failed(_) => 0,
        };
        assert_eq!(status(r#"{"status":401,"message":"Invalid authentication"}"#), 401);
        let deep = format!(r#"{{"a":{}{},"status":422}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for (refused, told) in [
            (r#"{"status":401.0}"#, 401),
            (r#"{"status":4.22E+2}"#, 422),
            (r#"{"status":70000}"#, 999),
            (r#"{"status":1e400}"#, 999),
            ("\u{FEFF}{\"status\":422}", 422),
            (" \n{\"status\" : 422 }\r\n", 422),
            (r#"{"st\u0061tus":422}"#, 422),
            (r#"{"message":"\ud800","status":422}"#, 422),
            (r#"{"\udc00":1e400,"status":422,"n":-1e400}"#, 422),
            (r#"{"status":200,"status":422}"#, 422),
            (&deep, 422),
        ] {
            assert_eq!(status(refused), told, "{refused:.60}");
        }
        for accepted in [
            "[401]",
            r#"{"status":200,"message":"Success."}"#,
            "",
            "ok",
            "[]",
            r#"{"status":"500"}"#,
            r#"{"status":500,"status":200}"#,
            r#"{"status":399.9}"#,
            r#"{"status":null}"#,
            r#"{"error":{"status":500}}"#,
            r#"{"status":500"#,
            r#"{"status":-1}"#,
        ] {
            assert_eq!(status(accepted), 200, "{accepted}");
        }
        assert_eq!(answer(500, r#"{"status":200}"#).with_status_of_body(), answer(500, r#"{"status":200}"#));
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_700_000);
        let in_a_minute = httpdate::fmt_http_date(now + Duration::from_secs(60));
        for (header, seconds) in [
            ("5", Some(5)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("-3", Some(0)),
            ("86400", Some(900)),
            (in_a_minute.as_str(), Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now).map(|wait| wait.as_secs()), seconds, "{header}");
        }
    }
}
