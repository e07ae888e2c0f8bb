//! `/vero`: webhooks. One JSON object is one webhook, an array of objects so many.

use lambda_http::http::StatusCode;
use relay_core::envelope::{EventId, Payload, Source};
use relay_core::json::{Json, Kind};
use relay_core::timestamp::Timestamp;

use serde_json::json;

use crate::http::request::InboundRequest;
use crate::http::response::{self, Response};
use crate::id::new_id;
use crate::limits::{KEPT_BYTES, MAX_EVENTS};
use crate::queue_entry::{self, QueueEntry, TOO_LARGE, elements, json_value};
use crate::rejection::Rejection;
use crate::{Ingest, now, unqueued};

impl Ingest {
    pub(crate) async fn receive_webhooks(
        &self,
        request: &InboundRequest,
        token: &str,
    ) -> Result<Response, Rejection> {
        let authorized = self.auth.vero(request, token)?;
        let webhooks = Webhooks::of(request.body(), now());
        let unqueued = self.queues.enqueue(&authorized, &webhooks.entries, 0).await;
        // Nobody sends them again.
        unqueued.iter().for_each(|entry| unqueued::log(entry));
        Ok(webhooks.response(unqueued.is_empty()))
    }
}

/// What a request's body amounts to.
#[derive(Debug)]
pub struct Webhooks {
    /// At least one envelope: a webhook, or what came in its place.
    pub entries: Vec<QueueEntry>,
    /// The body was an array of webhooks.
    pub is_array: bool,
    /// Why the request is refused although all of it is kept.
    pub rejection: Option<Rejection>,
}

impl Webhooks {
    /// Takes a body apart.
    pub fn of(body: &[u8], received_at: Timestamp) -> Self {
        let (is_array, webhooks) = match webhooks(body) {
            Ok((_, webhooks)) if webhooks.len() > MAX_EVENTS => {
                return Self::unreadable(&body[..body.len().min(KEPT_BYTES)], TOO_LARGE, received_at);
            }
            Ok(found) => found,
            Err(reason) => return Self::unreadable(body, reason, received_at),
        };
        let entries: Vec<QueueEntry> =
            webhooks.into_iter().map(|webhook| QueueEntry::webhook(webhook, received_at)).collect();
        let too_large = entries.iter().any(|entry| entry.dead_letter_reason.is_some());
        Webhooks { entries, is_array, rejection: too_large.then_some(Rejection::EventTooLarge) }
    }

    fn unreadable(body: &[u8], reason: &'static str, received_at: Timestamp) -> Self {
        let entry = QueueEntry::dead_letter_of_bytes(&new_id(), Source::Vero, body, reason, received_at);
        let rejection = match entry.dead_letter_reason {
            Some(TOO_LARGE) => Rejection::EventTooLarge,
            _ => Rejection::NotAWebhook(reason),
        };
        Webhooks { entries: vec![entry], is_array: false, rejection: Some(rejection) }
    }

    fn response(&self, is_queued: bool) -> Response {
        let (status, mut body) = match self.rejection {
            _ if !is_queued => (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"error": "the queue did not take the event in time; it is kept in the log"}),
            ),
            Some(rejection) => (rejection.status(), json!({"error": rejection.message()})),
            None => (StatusCode::ACCEPTED, json!({})),
        };
        let mut ids = self.entries.iter().map(|entry| EventId::as_str(&entry.id));
        if !self.is_array {
            body["id"] = ids.next().into();
            return response::json(status, &body);
        }
        body["ids"] = ids.collect();
        let refused = self.entries.iter().find(|entry| entry.dead_letter_reason.is_some());
        if let Some(refused) = refused.filter(|_| is_queued) {
            body["id"] = refused.id.as_str().into();
        }
        response::json(status, &body)
    }
}

impl QueueEntry {
    fn webhook(webhook: Json<'_>, received_at: Timestamp) -> Self {
        let id = new_id();
        let payload = Payload::Object(webhook);
        let live = QueueEntry::of(&queue_entry::envelope(id.clone(), Source::Vero, payload, received_at));
        if live.fits() {
            return live;
        }
        QueueEntry::dead_letter_of_bytes(&id, Source::Vero, webhook.get().as_bytes(), TOO_LARGE, received_at)
    }
}

/// The objects in a body, and whether they came as an array.
fn webhooks(body: &[u8]) -> Result<(bool, Vec<Json<'_>>), &'static str> {
    let value = json_value(body)?;
    if value.kind() == Kind::Object {
        return Ok((false, vec![value]));
    }
    let elements = elements(value);
    let all_objects = elements.iter().all(|element| element.kind() == Kind::Object);
    if all_objects && !elements.is_empty() { Ok((true, elements)) } else { Err("not_an_array_of_objects") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use relay_core::envelope::{Envelope, MAX_BYTES};

    fn webhooks(body: &[u8]) -> Webhooks {
        Webhooks::of(body, Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap())
    }

    fn json(entry: &QueueEntry) -> serde_json::Value {
        serde_json::from_str(&entry.body).unwrap()
    }

    #[test]
    fn a_webhook_travels_to_the_letter() {
        let webhook =
            "{\"type\" : \"sent\",\n\t\"n\":1.00, \"id\":12345678901234567890,\"e\":\"\\ud800\\u00e9\"}";
        let webhooks = webhooks(format!("\u{FEFF} {webhook}\r\n").as_bytes());
        assert!(webhooks.rejection.is_none() && !webhooks.is_array);
        let [entry] = &webhooks.entries[..] else { panic!("one envelope") };
        assert!(entry.body.ends_with(&format!(r#""payload":{webhook}}}"#)), "{}", entry.body);
        assert_eq!(entry.attributes, [("source", "vero".to_owned()), ("type", "sent".to_owned())]);
    }

    #[test]
    fn an_array_makes_an_envelope_each_with_rising_ids() {
        let webhooks = webhooks(br#"[{"type":"sent"},{"type":"opened"},{}]"#);
        assert!(webhooks.is_array && webhooks.rejection.is_none());
        assert_eq!(webhooks.entries.len(), 3);
        assert!(webhooks.entries.is_sorted_by(|a, b| a.id < b.id));
    }

    #[test]
    fn what_is_no_webhook_is_kept_with_its_bytes_and_the_reason() {
        for (body, reason) in [
            (&b""[..], "empty"),
            (b" \n", "empty"),
            (b"{", "not_json"),
            (b"{} {}", "not_json"),
            (b"{\"a\":\"\xff\"}", "not_json"),
            (b"{\"a\":\"\x01\"}", "not_json"),
            (b"a=b", "not_json"),
            (b"5", "not_an_object"),
            (b"null", "not_an_object"),
            (b"[]", "not_an_array_of_objects"),
            (b"[{},1]", "not_an_array_of_objects"),
        ] {
            let webhooks = webhooks(body);
            assert_eq!(webhooks.rejection, Some(Rejection::NotAWebhook(reason)));
            let letter = json(&webhooks.entries[0]);
            assert_eq!(letter["reason"], reason);
            assert_eq!(STANDARD.decode(letter["payload_base64"].as_str().unwrap()).unwrap(), body);
            assert!(Envelope::parse(&webhooks.entries[0].body).is_ok());
        }
    }

    #[test]
    fn of_a_too_large_webhook_the_head_is_kept() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES));
        for (body, expected) in [(large.clone(), large.as_str()), (format!("[{{}},{large}]"), large.as_str())]
        {
            let webhooks = webhooks(body.as_bytes());
            assert_eq!(webhooks.rejection, Some(Rejection::EventTooLarge));
            let dead = webhooks.entries.last().unwrap();
            let letter = json(dead);
            assert_eq!((&letter["reason"], &letter["truncated"]), (&"too_large".into(), &true.into()));
            let kept = STANDARD.decode(letter["payload_base64"].as_str().unwrap()).unwrap();
            assert_eq!(kept, &expected.as_bytes()[..KEPT_BYTES]);
        }
        let webhooks = webhooks("x".repeat(300_000).as_bytes());
        assert_eq!(
            (webhooks.rejection, webhooks.entries[0].dead_letter_reason),
            (Some(Rejection::EventTooLarge), Some("too_large"))
        );
    }

    #[test]
    fn the_limit_is_the_envelope_s() {
        let frame = webhooks(b"{\"a\":\"\"}").entries[0].body.len();
        let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES - frame));
        assert_eq!(webhooks(fits.as_bytes()).entries[0].body.len(), MAX_BYTES);
        assert!(webhooks(fits.as_bytes()).rejection.is_none());
        assert!(webhooks(fits.replacen('x', "xx", 1).as_bytes()).rejection.is_some());
    }

    #[test]
    fn an_array_without_end_is_too_large() {
        let array = |length: usize| format!("[{}]", vec!["{}"; length].join(","));
        assert_eq!(webhooks(array(MAX_EVENTS).as_bytes()).entries.len(), MAX_EVENTS);
        let too_many = webhooks(array(MAX_EVENTS + 1).as_bytes());
        assert_eq!((too_many.rejection, too_many.entries.len()), (Some(Rejection::EventTooLarge), 1));
    }

    proptest! {
        #[test]
        fn no_bytes_are_ever_lost(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let webhooks = webhooks(&body);
            prop_assert!(!webhooks.entries.is_empty());
            for entry in &webhooks.entries {
                prop_assert!(Envelope::parse(&entry.body).is_ok());
            }
        }
    }
}
