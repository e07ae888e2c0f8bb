//! From a destination's response to an outcome.

use std::time::{Duration, SystemTime};

use super::backoff::MAX_DELAY;
use super::outcome::{DeliveryError, DeliveryOutcome};
use crate::json::{Json, Kind, Object};

/// What a destination responded to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, understood.
    pub retry_after: Option<Duration>,
    /// The body, or what came of it where the status says all.
    pub body: String,
    /// The request was sent twice, at once: the destination may have taken the first one, too.
    pub is_repeated: bool,
}

/// What a request's path is about, and so what it means that there is nothing at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing of the event's making: the operator's base URL must be wrong.
    Endpoint,
    /// A user whom the event names, and who may not be there.
    User,
}

/// Why there was no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// The time allowed ran out.
    Timeout,
    /// No connection came about: the destination has seen nothing.
    Connect,
    /// The destination's name leads to a private address, where it may not be: nothing was sent.
    Private,
    /// The connection broke: whether the destination took the request is unknown.
    Broken,
    /// The response began with a success, but what decides in it did not come in full, or says nothing.
    Unread,
}

impl Response {
    /// Reads Vero's response: a 2xx whose JSON body has a number of 400 or more as `status`, in whatever spelling,
    /// counts as that status. Vero's own clients trust the body (github.com/StirlingMarketingGroup/getvero-go).
    #[must_use]
    pub fn with_status_of_body(self) -> Self {
        if !matches!(self.status, 200..=299) {
            return self;
        }
        let refusal = status_in(&self.body).filter(|status| *status >= 400.0);
        Response { status: refusal.map_or(200, |status| status.min(999.0) as u16), ..self }
    }
}

/// What a response, or that there was none, means for the events of the request: accepted, retry, misconfigured or
/// rejected. One table for every destination. `at` is the time of the response.
pub fn outcome(
    response: Result<Response, TransportError>,
    target: Target,
    at: SystemTime,
) -> DeliveryOutcome {
    use DeliveryOutcome::{Accepted, Misconfigured, Rejected, Retry};
    let Response { status, retry_after, body, is_repeated } = match response {
        Ok(response) => response,
        Err(error @ TransportError::Private) => return Misconfigured(error.into()),
        Err(error) => return Retry(error.into()),
    };
    let error = |reason| DeliveryError {
        reason,
        status: Some(status),
        excerpt: (!body.is_empty()).then(|| body.clone()),
        retry_after,
        is_outage: status == 429 || status >= 500,
        maybe_taken: is_repeated || matches!(status, 408 | 500..),
        held_back: None,
    };
    match status {
        200..=299 => Accepted { maybe_doubled: is_repeated, at },
        300..=399 => Misconfigured(error("redirected")),
        401 | 403 => Misconfigured(error("unauthorized")),
        404 | 405 if target == Target::Endpoint => Misconfigured(error("wrong_endpoint")),
        501 | 505 => Misconfigured(error("not_implemented")),
        429 => Retry(error("throttled")),
        // 460 is Segment's own, transient (analytics-java, AnalyticsClient).
        408 | 410 | 425 | 460 => Retry(error("try_again")),
        413 => Rejected(error("too_large")),
        400..=499 => Rejected(error("refused")),
        500..=599 => Retry(error("server_error")),
        _ => Retry(error("unexpected_status")),
    }
}

impl From<TransportError> for DeliveryError {
    fn from(error: TransportError) -> Self {
        let reason = match error {
            TransportError::Timeout => "timeout",
            TransportError::Connect => "connection_failed",
            TransportError::Private => "private_address",
            TransportError::Broken => "connection_broken",
            TransportError::Unread => "answer_unread",
        };
        let is_outage = error != TransportError::Private;
        let maybe_taken = is_outage && error != TransportError::Connect;
        DeliveryError { is_outage, maybe_taken, ..DeliveryError::new(reason) }
    }
}

/// The number at top level, read without a look at anything beside it.
fn status_in(body: &str) -> Option<f64> {
    let json: Json<'_> = serde_json::from_str(body.trim_start_matches('\u{FEFF}')).ok()?;
    let status = Object::parse(json)?.get("status").filter(|status| status.kind() == Kind::Number)?;
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

    fn response(status: u16, body: &str) -> Response {
        Response { status, retry_after: None, body: body.to_owned(), is_repeated: false }
    }

    fn outcome_of(status: u16, target: Target) -> DeliveryOutcome {
        outcome(Ok(response(status, "")), target, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn every_status_has_its_outcome() {
        let seen = |kind, error: DeliveryError, status| {
            assert_eq!((error.status, &error.excerpt), (Some(status), &None));
            (kind, error.reason, error.is_outage, error.maybe_taken)
        };
        for status in 100..=999 {
            // What follows, why, whether it is an outage, and whether the destination may have the events all the same.
            let expected = match status {
                200..=299 => ("accepted", "", false, false),
                300..=399 => ("misconfigured", "redirected", false, false),
                401 | 403 => ("misconfigured", "unauthorized", false, false),
                404 | 405 => ("misconfigured", "wrong_endpoint", false, false),
                408 => ("retry", "try_again", false, true),
                410 | 425 | 460 => ("retry", "try_again", false, false),
                413 => ("rejected", "too_large", false, false),
                429 => ("retry", "throttled", true, false),
                400..=499 => ("rejected", "refused", false, false),
                501 | 505 => ("misconfigured", "not_implemented", true, true),
                500..=599 => ("retry", "server_error", true, true),
                600.. => ("retry", "unexpected_status", true, true),
                _ => ("retry", "unexpected_status", false, false),
            };
            let got = match outcome_of(status, Target::Endpoint) {
                DeliveryOutcome::Accepted { maybe_doubled, .. } => ("accepted", "", false, maybe_doubled),
                DeliveryOutcome::Retry(error) => seen("retry", error, status),
                DeliveryOutcome::Misconfigured(error) => seen("misconfigured", error, status),
                DeliveryOutcome::Rejected(error) => seen("rejected", error, status),
                other => panic!("{other:?}"),
            };
            assert_eq!(got, expected, "{status}");
        }
        for status in [404, 405] {
            let DeliveryOutcome::Rejected(error) = outcome_of(status, Target::User) else {
                panic!("{status}")
            };
            assert_eq!(error.reason, "refused", "{status}");
        }
    }

    #[test]
    fn what_was_sent_twice_may_be_there_twice() {
        let wait = Some(Duration::from_secs(5));
        for (status, maybe_doubled) in [(200, true), (401, true), (429, true), (422, false)] {
            let repeated = Response { retry_after: wait, is_repeated: true, ..response(status, "no") };
            let outcome = outcome(Ok(repeated), Target::Endpoint, SystemTime::UNIX_EPOCH);
            assert_eq!(outcome.is_maybe_doubled(), maybe_doubled, "{status}");
            if let DeliveryOutcome::Rejected(error) | DeliveryOutcome::Retry(error) = outcome {
                assert_eq!((error.excerpt.as_deref(), error.retry_after), (Some("no"), wait), "{status}");
            }
        }
    }

    #[test]
    fn no_response_is_an_outage() {
        for (error, reason, maybe_taken) in [
            (TransportError::Timeout, "timeout", true),
            (TransportError::Connect, "connection_failed", false),
            (TransportError::Broken, "connection_broken", true),
            (TransportError::Unread, "answer_unread", true),
        ] {
            let outcome = outcome(Err(error), Target::Endpoint, SystemTime::UNIX_EPOCH);
            assert_eq!(outcome.is_maybe_doubled(), maybe_taken, "{reason}");
            let DeliveryOutcome::Retry(error) = outcome else { panic!("{error:?}") };
            assert_eq!((error.reason, error.is_outage, error.status), (reason, true, None));
        }
    }

    #[test]
    fn a_private_address_is_for_the_operator() {
        let outcome = outcome(Err(TransportError::Private), Target::Endpoint, SystemTime::UNIX_EPOCH);
        let DeliveryOutcome::Misconfigured(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.reason, error.is_outage, error.maybe_taken), ("private_address", false, false));
    }

    #[test]
    fn vero_may_say_no_in_the_body_of_a_200() {
        let status = |body: &str| response(200, body).with_status_of_body().status;
        assert_eq!(status(r#"{"status":401,"message":"Invalid authentication"}"#), 401);
        let deep = format!(r#"{{"a":{}{},"status":422}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for (refused, expected) in [
            (r#"{"status":400}"#, 400),
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
            assert_eq!(status(refused), expected, "{refused:.60}");
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
        let server_error = response(500, r#"{"status":200}"#);
        assert_eq!(server_error.clone().with_status_of_body(), server_error);
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
