//! First-party events in Segment's spec: as Segment's Webhooks destinations pass them on, and as its SDKs send them.

use std::collections::HashSet;

use relay_core::envelope::{Envelope, EventId, Payload, Source};
use relay_core::first_party::{CallType, FirstParty, Invalid, message_id};
use relay_core::json::{Json, Kind, Object, ObjectWriter};
use relay_core::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::auth::authorized::{Authorized, Scope};
use crate::auth::tokens::Digest;
use crate::http::response::{self, Response};
use crate::http::routes::TrackingEndpoint;
use crate::id::new_id;
use crate::limits::{MAX_EVENTS, MAX_EXPANDED};
use crate::queue_entry::{self, QueueEntry, TOO_LARGE, elements, json_value};
use crate::rejection::Rejection;
use crate::{Ingest, now};

/// The events of a request, not yet looked at.
#[derive(Debug)]
pub struct Events<'a> {
    elements: Vec<Json<'a>>,
    /// They came as a batch: a bad one does not speak for the others.
    pub is_batch: bool,
    sender: Sender<'a>,
}

/// Who made the request.
#[derive(Debug)]
enum Sender<'a> {
    /// Segment: its events are as they are to stay.
    Segment,
    /// An SDK: its events lack what the path and the batch say for them.
    Sdk { kind: Option<CallType>, common: BatchFields<'a> },
}

/// What a batch says for all its events.
#[derive(Debug, Default)]
struct BatchFields<'a> {
    context: Object<'a>,
    integrations: Object<'a>,
    sent_at: Option<Json<'a>>,
}

/// What a request's events have become.
#[derive(Debug, Default)]
pub struct EventEntries {
    /// An envelope each.
    pub entries: Vec<QueueEntry>,
    /// How many its sender has no right to send. Like whatever an unauthorized caller sends, they are not kept: one that were put
    /// back from the dead-letter queue some day would have got in after all.
    pub forbidden: usize,
    /// How many bad events are not kept either: who has a public key may be anyone, and the dead-letter queue is for
    /// what is missed.
    pub dropped: usize,
    /// Why the last bad event is bad; in a request of one, why the request is.
    pub rejection: Option<Rejection>,
}

impl Ingest {
    pub(crate) async fn enqueue_events(
        &self,
        authorized: &Authorized<'_>,
        events: &Events<'_>,
    ) -> Result<Response, Rejection> {
        let EventEntries { entries, forbidden, dropped, rejection } =
            events.entries(authorized.key(), authorized.scope(), now())?;
        if !self.queues.enqueue(authorized, &entries, forbidden + dropped).await.is_empty() {
            return Ok(response::rejected(Rejection::NotQueued, None));
        }
        Ok(match rejection {
            // Whoever sends a batch cannot do better with it.
            _ if events.is_batch && !entries.is_empty() => response::success(),
            _ if forbidden > 0 => response::rejected(Rejection::NotAllowed, None),
            Some(rejection) => response::rejected(rejection, entries.first().map(|entry| &entry.id)),
            None => response::success(),
        })
    }

    /// Keeps a body without events in the dead-letter queue, and says why it has none; not of a public key, which anyone
    /// may have.
    pub(crate) async fn keep(
        &self,
        authorized: &Authorized<'_>,
        body: &[u8],
        rejection: Rejection,
    ) -> Result<Response, Rejection> {
        if authorized.scope() == Scope::TrackOnly {
            return Err(rejection);
        }
        let entry =
            [QueueEntry::dead_letter_of_bytes(&new_id(), Source::Segment, body, rejection.code(), now())];
        Ok(match &*self.queues.enqueue(authorized, &entry, 0).await {
            [] => response::rejected(rejection, Some(&entry[0].id)),
            _ => response::rejected(Rejection::NotQueued, None),
        })
    }
}

impl<'a> Events<'a> {
    /// Reads what a Webhooks destination of Segment's sends: one event, or a bare array of them.
    ///
    /// # Errors
    /// [`Rejection::NotEvents`] if it is neither.
    pub fn of_segment(body: &'a [u8]) -> Result<Self, Rejection> {
        let value = json_value(body).map_err(Rejection::NotEvents)?;
        let is_batch = value.kind() == Kind::Array;
        let elements = if is_batch { elements(value) } else { vec![value] };
        Events { elements, is_batch, sender: Sender::Segment }.bounded()
    }

    /// Reads what an SDK sends to a path of the tracking API.
    ///
    /// # Errors
    /// [`Rejection::NotEvents`] if it is not what the path is for.
    pub fn of_sdk(body: &'a [u8], endpoint: TrackingEndpoint) -> Result<Self, Rejection> {
        let value = json_value(body).map_err(Rejection::NotEvents)?;
        let kind = match endpoint {
            TrackingEndpoint::Event(kind) => Some(kind),
            TrackingEndpoint::Batch => None,
        };
        if value.kind() == Kind::Array {
            let sender = Sender::Sdk { kind, common: BatchFields::default() };
            return Events { elements: elements(value), is_batch: true, sender }.bounded();
        }
        let fields = Object::parse(value).ok_or(Rejection::NotEvents("not_an_object"))?;
        let batch = fields.get("batch").filter(|_| kind.is_none());
        if kind.is_none() && !batch.is_some_and(|batch| batch.kind() == Kind::Array) {
            return Err(Rejection::NotEvents("no_batch"));
        }
        let said = |key: &str| fields.get(key).filter(|value| value.kind() != Kind::Null);
        let object = |key: &str| said(key).and_then(Object::parse).unwrap_or_default();
        let (elements, common) = match batch {
            Some(batch) => {
                let (context, integrations) = (object("context"), object("integrations"));
                (elements(batch), BatchFields { context, integrations, sent_at: said("sentAt") })
            }
            None => (vec![value], BatchFields::default()),
        };
        Events { elements, is_batch: batch.is_some(), sender: Sender::Sdk { kind, common } }.bounded()
    }

    /// What Segment's `X-Signature` is over: of a batch, the first event alone (Actions Webhook destination).
    pub fn signed_part(&self) -> Option<&'a [u8]> {
        self.elements.first().filter(|_| self.is_batch).map(|first| first.get().as_bytes())
    }

    /// Makes envelopes. `key` is the digest of what opened the route: with an event's own id it makes the
    /// envelope's, so that a sender's retry makes the same.
    ///
    /// # Errors
    /// [`Rejection::BodyTooLarge`]; then nothing of the request is to be queued.
    pub fn entries(
        &self,
        key: &Digest,
        scope: Scope,
        received_at: Timestamp,
    ) -> Result<EventEntries, Rejection> {
        let (mut all, mut made) = (EventEntries::default(), 0);
        for (place, element) in self.elements.iter().copied().enumerate() {
            let is_object = element.kind() == Kind::Object;
            let through_segment = matches!(self.sender, Sender::Segment);
            let payload = match &self.sender {
                Sender::Sdk { kind, common } if is_object => Some(common.completed(element, *kind, scope)),
                Sender::Sdk { .. } | Sender::Segment => None,
            };
            let payload = payload.as_deref().and_then(|payload| serde_json::from_str(payload).ok());
            let payload: Json<'_> = payload.unwrap_or(element);
            made += payload.get().len();
            if made > MAX_EXPANDED {
                return Err(Rejection::BodyTooLarge);
            }
            let event = FirstParty::read(payload, received_at, through_segment);
            if scope == Scope::TrackOnly && event.as_ref().is_ok_and(|event| !event.is_report_only()) {
                all.forbidden += 1;
                continue;
            }
            let message_id = match &event {
                Ok(event) => event.message_id.clone(),
                Err(_) => Object::parse(payload).and_then(|mut fields| message_id(&mut fields)),
            };
            let envelope = Envelope {
                place: place.try_into().unwrap_or(u32::MAX),
                through_segment,
                ..queue_entry::envelope(
                    id(key, message_id),
                    Source::Segment,
                    Payload::Object(payload),
                    received_at,
                )
            };
            let (entry, rejection) = entry_of(&envelope, payload, event.err());
            all.rejection = rejection.or(all.rejection);
            if scope == Scope::TrackOnly && entry.dead_letter_reason.is_some() {
                all.dropped += 1;
                continue;
            }
            all.entries.push(entry);
        }
        Ok(all)
    }

    fn bounded(self) -> Result<Self, Rejection> {
        if self.elements.len() > MAX_EVENTS { Err(Rejection::TooManyEvents) } else { Ok(self) }
    }
}

/// An envelope for the queue, or for the dead-letter queue and why.
fn entry_of(
    envelope: &Envelope<'_>,
    payload: Json<'_>,
    invalid: Option<Invalid>,
) -> (QueueEntry, Option<Rejection>) {
    let bytes = |reason| {
        let payload = payload.get().as_bytes();
        QueueEntry::dead_letter_of_bytes(&envelope.id, envelope.source, payload, reason, envelope.received_at)
    };
    let entry = match invalid {
        None => QueueEntry::of(envelope),
        Some(invalid @ Invalid::NotAnObject) => bytes(invalid.as_str()),
        Some(invalid) => QueueEntry::dead_letter(envelope, invalid.as_str(), false),
    };
    if entry.fits() {
        (entry, invalid.map(Rejection::Invalid))
    } else {
        (bytes(TOO_LARGE), Some(Rejection::EventTooLarge))
    }
}

impl BatchFields<'_> {
    /// An SDK's event with what path and batch say for it, and without what only the way here needed.
    ///
    /// A public key cannot set a user's address: sent along with an id, it could become the profile's.
    fn completed(&self, element: Json<'_>, kind: Option<CallType>, scope: Scope) -> String {
        let mut fields = Object::parse(element).unwrap_or_default();
        fields.take_all(|key, _| matches!(key, "writeKey" | "_metadata"));
        let mut more = ObjectWriter::new();
        if let Some(kind) = kind {
            fields.take_all(|key, _| key == "type");
            more.text("type", kind.as_str());
        }
        let hides_traits = scope == Scope::TrackOnly && fields.get("userId").is_some();
        for (key, common) in [("context", &self.context), ("integrations", &self.integrations)] {
            let hides_traits = hides_traits && key == "context";
            if common.is_empty() && !hides_traits {
                continue;
            }
            let own = fields.get(key);
            fields.take_all(|taken, _| taken == key);
            more.raw(key, &merged(common, own, |key| hides_traits && key == "traits"));
        }
        if let Some(sent_at) = self.sent_at {
            fields.take_all(|key, _| key == "sentAt");
            more.raw("sentAt", sent_at.get());
        }
        let mut event = ObjectWriter::new();
        event.append(&fields.rest().unwrap_or_default());
        event.append(&more.finish());
        event.finish()
    }
}

/// An event's own object with the batch's fields under it, without those that are hidden: what the event says itself
/// counts, but for a null.
fn merged(common: &Object<'_>, own: Option<Json<'_>>, is_hidden: impl Fn(&str) -> bool) -> String {
    let own = own.filter(|own| own.kind() != Kind::Null);
    let mut own = match own.map(|own| (own, Object::parse(own))) {
        None => Object::default(),
        Some((_, Some(own))) => own,
        Some((own, None)) => return own.get().to_owned(),
    };
    let commonly: HashSet<&str> = common.fields().map(|(key, ..)| key).collect();
    own.take_all(|key, value| is_hidden(key) || value.kind() == Kind::Null && commonly.contains(key));
    let mut all = ObjectWriter::new();
    all.append(&own.rest().unwrap_or_default());
    let owned: HashSet<&str> = own.fields().map(|(key, ..)| key).collect();
    for (key, json_key, value) in common.fields() {
        if !owned.contains(key) && !is_hidden(key) {
            all.raw_json_key(json_key, value.get());
        }
    }
    all.finish()
}

/// Derived from the sender's own id of the event; without one, new.
fn id(key: &Digest, message_id: Option<String>) -> EventId {
    let Some(message_id) = message_id else { return new_id() };
    let hash: Digest = Sha256::new().chain_update(key).chain_update(message_id).finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    EventId::from_uuid(Uuid::new_v8(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: Digest = [7; 32];

    fn received_at() -> Timestamp {
        Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap()
    }

    fn payloads(made: &EventEntries) -> Vec<Value> {
        let envelope = |entry: &QueueEntry| serde_json::from_str::<Value>(&entry.body).unwrap();
        made.entries.iter().map(|entry| envelope(entry)["payload"].clone()).collect()
    }

    fn sdk(endpoint: TrackingEndpoint, body: &str) -> EventEntries {
        Events::of_sdk(body.as_bytes(), endpoint).unwrap().entries(&KEY, Scope::Full, received_at()).unwrap()
    }

    #[test]
    fn what_segment_sends_travels_to_the_letter() {
        let event = r#"{"type":"track" , "event":"e","n":1.00,"sentAt":"x","writeKey":"k","big":12345678901234567890}"#;
        for (body, is_batch) in [(event.to_owned(), false), (format!("[{event}, {event}]"), true)] {
            let read = Events::of_segment(body.as_bytes()).unwrap();
            let made = read.entries(&KEY, Scope::Full, received_at()).unwrap();
            assert_eq!((read.is_batch, made.rejection), (is_batch, None));
            for entry in &made.entries {
                assert!(entry.body.ends_with(&format!(r#""payload":{event}}}"#)), "{}", entry.body);
                assert!(entry.body.contains(r#""through_segment":true"#));
            }
            assert_eq!(read.signed_part(), is_batch.then_some(event.as_bytes()));
        }
    }

    #[test]
    fn a_batch_speaks_for_its_events() {
        let made = sdk(
            TrackingEndpoint::Batch,
            r#"{"writeKey":"k","sentAt":"2026-11-21T05:04:03Z","context":{"library":{"name":"l"},"ip":"1"},"integrations":{"All":false},
            "batch":[{"type":"track","event":"e","writeKey":"k","_metadata":{},"context":{"ip":null,"page":{}},"sentAt":null,"n":1.0},
            {"type":"page","context":{"ip":"2"},"integrations":{"All":true}},{"type":"screen","context":5}]}"#,
        );
        let sent_at = json!("2026-11-21T05:04:03Z");
        assert_eq!(
            payloads(&made),
            [
                json!({"type": "track", "event": "e", "n": 1.0, "sentAt": sent_at, "integrations": {"All": false},
                    "context": {"page": {}, "library": {"name": "l"}, "ip": "1"}}),
                json!({"type": "page", "sentAt": sent_at, "integrations": {"All": true},
                    "context": {"ip": "2", "library": {"name": "l"}}}),
                json!({"type": "screen", "sentAt": sent_at, "integrations": {"All": false}, "context": 5}),
            ]
        );
        let place =
            |entry: &QueueEntry| serde_json::from_str::<Value>(&entry.body).unwrap()["place"].as_u64();
        assert_eq!(made.entries.iter().map(place).collect::<Vec<_>>(), [None, Some(1), Some(2)]);
    }

    #[test]
    fn the_path_gives_the_type() {
        for body in [r#"{"userId":"u"}"#, r#"{"userId":"u","type":"track"}"#, r#"{"type":null,"userId":"u"}"#]
        {
            let made = sdk(TrackingEndpoint::Event(CallType::Identify), body);
            assert_eq!(payloads(&made), [json!({"userId": "u", "type": "identify"})]);
            assert_eq!(made.rejection, None);
        }
    }

    #[test]
    fn a_type_is_read_in_any_case_and_kept_in_its_own() {
        let events = r#"[{"type":"Identify","userId":"u"},{"type":"TRACK","event":"e"},{"type":"Tracks","event":"e"}]"#;
        let batch = format!(r#"{{"batch":{events}}}"#);
        let segment =
            Events::of_segment(events.as_bytes()).unwrap().entries(&KEY, Scope::Full, received_at()).unwrap();
        for made in [segment, sdk(TrackingEndpoint::Batch, &batch)] {
            let reasons: Vec<Option<&str>> =
                made.entries.iter().map(|entry| entry.dead_letter_reason).collect();
            assert_eq!(reasons, [None, None, Some("unknown_type")]);
            let types: Vec<Value> =
                payloads(&made).into_iter().map(|payload| payload["type"].clone()).collect();
            assert_eq!(types, ["Identify", "TRACK", "Tracks"]);
        }
        // A public key is not let in by another spelling.
        let body = Events::of_sdk(batch.as_bytes(), TrackingEndpoint::Batch).unwrap();
        let made = body.entries(&KEY, Scope::TrackOnly, received_at()).unwrap();
        assert_eq!((made.entries.len(), made.forbidden, made.dropped), (1, 1, 1));
    }

    #[test]
    fn bad_events_take_no_good_ones_along() {
        let made = sdk(
            TrackingEndpoint::Batch,
            r#"{"batch":[5,{},{"type":"nonsense"},{"type":"track"},{"type":"alias","userId":"u"},{"type":"page"}]}"#,
        );
        let reasons: Vec<Option<&str>> = made.entries.iter().map(|entry| entry.dead_letter_reason).collect();
        let bad = ["not_an_object", "no_type", "unknown_type", "no_event_name", "no_previous_id"];
        assert_eq!(reasons, bad.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        for entry in &made.entries {
            assert!(Envelope::parse(&entry.body).is_ok(), "{}", entry.body);
        }
    }

    #[test]
    fn a_retry_makes_the_same_ids_and_another_key_others() {
        let ids = |key: Digest, body: &str| -> Vec<String> {
            let body = Events::of_sdk(body.as_bytes(), TrackingEndpoint::Batch).unwrap();
            let made = body.entries(&key, Scope::Full, received_at()).unwrap();
            made.entries.iter().map(|entry| entry.id.to_string()).collect()
        };
        let body =
            r#"{"batch":[{"type":"page","messageId":"m"},{"type":"page","messageId":7},{"type":"page"}]}"#;
        let (first, again, other) = (ids(KEY, body), ids(KEY, body), ids([8; 32], body));
        assert_eq!(first[..2], again[..2]);
        assert!(first[2] != again[2] && first[0] != other[0] && first[0] != first[1]);
        assert_eq!((&first[0][14..15], &first[2][14..15]), ("8", "7"));
    }

    #[test]
    fn a_body_without_events_is_rejected() {
        for (endpoint, body, reason) in [
            (TrackingEndpoint::Batch, "", "empty"),
            (TrackingEndpoint::Batch, "{", "not_json"),
            (TrackingEndpoint::Batch, "5", "not_an_object"),
            (TrackingEndpoint::Batch, "{}", "no_batch"),
            (TrackingEndpoint::Batch, r#"{"batch":{}}"#, "no_batch"),
            (TrackingEndpoint::Event(CallType::Track), "null", "not_an_object"),
        ] {
            assert_eq!(
                Events::of_sdk(body.as_bytes(), endpoint).err(),
                Some(Rejection::NotEvents(reason)),
                "{body}"
            );
        }
        let too_many = format!("[{}]", vec!["{}"; MAX_EVENTS + 1].join(","));
        assert_eq!(Events::of_segment(too_many.as_bytes()).err(), Some(Rejection::TooManyEvents));
        assert!(Events::of_segment(b"[]").is_ok());
    }

    #[test]
    fn a_public_key_may_only_track() {
        let body = br#"{"context":{"traits":{"email":"a@b.c"},"ip":"1"},"batch":[{"type":"page"},{"type":"page","userId":"u"},
            {"type":"page","userId":"u","context":{"traits":{"email":"a@b.c"},"x":1}},{"type":"identify"},
            {"type":"track","event":"unsubscribe"},{"type":"track"},5]}"#;
        let body = Events::of_sdk(body, TrackingEndpoint::Batch).unwrap();
        let made = body.entries(&KEY, Scope::TrackOnly, received_at()).unwrap();
        assert_eq!((made.entries.len(), made.forbidden, made.dropped), (3, 2, 2));
        let contexts: Vec<Value> =
            payloads(&made).into_iter().map(|payload| payload["context"].clone()).collect();
        let by_address_alone = json!({"traits": {"email": "a@b.c"}, "ip": "1"});
        assert_eq!(contexts, [by_address_alone, json!({"ip": "1"}), json!({"x": 1, "ip": "1"})]);
    }

    #[test]
    fn a_batch_cannot_grow_without_end() {
        let batch = |bytes: usize, events: usize| {
            let events = vec![r#"{"type":"page"}"#; events].join(",");
            let body = format!(r#"{{"context":{{"a":"{}"}},"batch":[{events}]}}"#, "x".repeat(bytes));
            let body = Events::of_sdk(body.as_bytes(), TrackingEndpoint::Batch).unwrap();
            body.entries(&KEY, Scope::Full, received_at()).map(|made| made.entries.len())
        };
        assert_eq!(batch(1_000, 1_000), Ok(1_000));
        assert_eq!(batch(100_000, 1_000), Err(Rejection::BodyTooLarge));
        assert_eq!(batch(300_000, 2_000), Err(Rejection::BodyTooLarge));
    }

    #[test]
    fn many_keys_are_merged_as_quickly_as_few() {
        let object = |prefix: &str| {
            let fields: Vec<String> = (0..40_000).map(|number| format!(r#""{prefix}{number}":1"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        let (own, common) = (object("a"), object("b"));
        let common = Object::parse(serde_json::from_str(&common).unwrap()).unwrap();
        let all = merged(&common, Some(serde_json::from_str(&own).unwrap()), |_| false);
        assert_eq!(Object::parse(serde_json::from_str(&all).unwrap()).unwrap().fields().count(), 80_000);
    }

    #[test]
    fn a_too_large_event_keeps_its_head() {
        for event in ["track", "nonsense"] {
            let event = format!(r#"{{"type":"{event}","event":"{}"}}"#, "x".repeat(300_000));
            let made = Events::of_segment(event.as_bytes())
                .unwrap()
                .entries(&KEY, Scope::Full, received_at())
                .unwrap();
            assert_eq!(
                (made.entries[0].dead_letter_reason, made.rejection),
                (Some(TOO_LARGE), Some(Rejection::EventTooLarge))
            );
        }
    }
}
