//! From a destination's answer to a verdict.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::backoff::MAX_DELAY;
use crate::envelope::DeathCause;

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The destination answered.
    Response {
        /// The HTTP status.
        status: u16,
        /// The header `Retry-After`, understood.
        retry_after: Option<Duration>,
        /// The body's head; empty when it did not come in time.
        body: String,
    },
    /// It did not.
    Failed(TransportError),
}

/// What a request's path is about, and so what it means that there is nothing at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// Nothing of the event's making: the operator's base URL must be wrong.
    Base,
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
}

/// What an answer means for the events of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has them.
    Accepted,
    /// Worth a quick try, then the queue.
    Again(Trouble),
    /// Only the operator can mend it: through the queue, alarmed.
    Operator(Trouble),
    /// It will never take them as they are.
    Refused(Trouble),
}

/// What is wrong, for logs and dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
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

impl Trouble {
    /// Trouble that no answer stands behind.
    pub fn internal(reason: &'static str) -> Self {
        Trouble {
            reason,
            status: None,
            excerpt: None,
            retry_after: None,
            is_outage: false,
            maybe_taken: false,
        }
    }
}

impl From<Trouble> for DeathCause {
    fn from(Trouble { reason, status, excerpt, .. }: Trouble) -> Self {
        DeathCause { reason, status, excerpt, truncated: false }
    }
}

impl Answer {
    /// Reads Vero's answer: a 2xx whose JSON body has a number of 400 or more as `status` counts as that
    /// status. Vero's own clients trust the body (github.com/StirlingMarketingGroup/getvero-go).
    #[must_use]
    pub fn with_status_of_body(self) -> Self {
        match self {
            Answer::Response { status: 200..=299, retry_after, body } => {
                let object: Option<Map<String, Value>> = serde_json::from_str(&body).ok();
                let told = object.as_ref().and_then(|object| object.get("status")?.as_f64());
                let status =
                    told.filter(|status| *status >= 400.0).map_or(200, |status| status.min(999.0) as u16);
                Answer::Response { status, retry_after, body }
            }
            other => other,
        }
    }

    /// What the answer means. One table for every destination.
    pub fn verdict(self, addressed: Addressed) -> Verdict {
        let (status, retry_after, body) = match self {
            Answer::Response { status, retry_after, body } => (status, retry_after, body),
            Answer::Failed(error) => {
                let reason = match error {
                    TransportError::Timeout => "timeout",
                    TransportError::Connect => "connection_failed",
                    TransportError::Broken => "connection_broken",
                };
                let maybe_taken = error != TransportError::Connect;
                return Verdict::Again(Trouble { is_outage: true, maybe_taken, ..Trouble::internal(reason) });
            }
        };
        let trouble = |reason| Trouble {
            reason,
            status: Some(status),
            excerpt: (!body.is_empty()).then(|| body.clone()),
            retry_after,
            is_outage: status == 429 || status >= 500,
            maybe_taken: matches!(status, 408 | 500..),
        };
        match status {
            200..=299 => Verdict::Accepted,
            300..=399 => Verdict::Operator(trouble("redirected")),
            401 | 403 => Verdict::Operator(trouble("unauthorized")),
            404 | 405 if addressed == Addressed::Base => Verdict::Operator(trouble("wrong_endpoint")),
            501 | 505 => Verdict::Operator(trouble("not_implemented")),
            429 => Verdict::Again(trouble("throttled")),
            // 460 is Segment's own, transient (analytics-java, AnalyticsClient).
            408 | 410 | 425 | 460 => Verdict::Again(trouble("try_again")),
            413 => Verdict::Refused(trouble("too_large")),
            400..=499 => Verdict::Refused(trouble("refused")),
            500..=599 => Verdict::Again(trouble("server_error")),
            _ => Verdict::Again(trouble("unexpected_status")),
        }
    }
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
        Answer::Response { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn every_status_has_its_verdict() {
        for status in 100..=999 {
            let verdict = answer(status, "").verdict(Addressed::Base);
            let expected = match status {
                200..=299 => "accepted",
                300..=399 | 401 | 403 | 404 | 405 | 501 | 505 => "operator",
                408 | 410 | 425 | 429 | 460 => "again",
                400..=499 => "refused",
                _ => "again",
            };
            let got = match verdict {
                Verdict::Accepted => "accepted",
                Verdict::Again(_) => "again",
                Verdict::Operator(_) => "operator",
                Verdict::Refused(_) => "refused",
            };
            assert_eq!(got, expected, "{status}");
        }
        for status in [404, 405] {
            assert!(matches!(answer(status, "").verdict(Addressed::User), Verdict::Refused(_)), "{status}");
        }
    }

    #[test]
    fn no_answer_is_an_outage() {
        for (error, maybe_taken) in [
            (TransportError::Timeout, true),
            (TransportError::Connect, false),
            (TransportError::Broken, true),
        ] {
            let Verdict::Again(trouble) = Answer::Failed(error).verdict(Addressed::Base) else {
                panic!("{error:?}")
            };
            assert_eq!((trouble.is_outage, trouble.maybe_taken, trouble.status), (true, maybe_taken, None));
        }
    }

    #[test]
    fn vero_may_say_no_in_the_body_of_a_200() {
        let status = |body: &str| match answer(200, body).with_status_of_body() {
            Answer::Response { status, .. } => status,
            Answer::Failed(_) => 0,
        };
        assert_eq!(status(r#"{"status":401,"message":"Invalid authentication"}"#), 401);
        assert_eq!((status(r#"{"status":401.0}"#), status(r#"{"status":70000}"#)), (401, 999));
        for accepted in [
            "[401]",
            r#"{"status":200,"message":"Success."}"#,
            "",
            "ok",
            "[]",
            r#"{"status":"500"}"#,
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
