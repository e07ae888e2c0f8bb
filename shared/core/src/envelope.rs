//! The envelope: what travels through SQS, from `ingest` to `worker` and round again.

use std::fmt;

use serde::Deserialize;

use crate::json::{self, Json, Kind, ObjectWriter};
use crate::timestamp::Timestamp;
use crate::webhook;

/// The version of the envelope that this code writes, and the latest that it reads.
pub const VERSION: u64 = 1;

/// The largest envelope that `ingest` queues, in bytes. SQS takes 1 MiB; the margin leaves room for what the
/// worker adds, and keeps four events in one SendMessageBatch.
pub const MAX_BYTES: usize = 256 * 1024;

/// The id of one received webhook: the idempotency key everywhere. It never changes on retry or redrive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

impl EventId {
    /// Takes 1 to 64 characters of `[A-Za-z0-9_.-]`; `ingest` makes UUIDs, but a message that someone queued
    /// by hand is no reason for a loss.
    pub fn parse(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        is_plain(&id).then_some(EventId(id))
    }

    /// From a UUID.
    pub fn from_uuid(id: uuid::Uuid) -> Self {
        EventId(id.to_string())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A webhook of Vero's.
    Vero,
    /// A first-party event, from Segment or from one of its SDKs.
    Segment,
}

impl Source {
    /// Its name in the envelope and in the message attribute `source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Vero => "vero",
            Source::Segment => "segment",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        [Source::Vero, Source::Segment].into_iter().find(|source| source.as_str() == name)
    }
}

/// What a sender sent.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// The JSON object as received, not re-typed.
    Object(Json<'a>),
    /// What was no JSON object: its bytes in base64, a text that needs no escapes. Such an envelope lives in
    /// the dead-letter queue only.
    Base64(&'a str),
}

impl<'a> Payload<'a> {
    /// As it stands in the envelope: JSON, or base64.
    pub fn text(&self) -> &'a str {
        match self {
            Payload::Object(object) => object.get(),
            Payload::Base64(bytes) => bytes,
        }
    }
}

/// One received event, and where it is still owed.
///
/// ```
/// use relay_core::envelope::{Envelope, Source};
///
/// let body = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z",
///     "destinations":["vero_track"],"attempt":2,"payload":{"type":"sent"}}"#;
/// let envelope = Envelope::parse(body)?;
/// assert_eq!(envelope.source, Source::Vero);
/// // Segment has it already: a retry goes to Vero alone, and the payload stays as it was received.
/// assert_eq!(envelope.destinations.as_deref(), Some(&["vero_track".to_owned()][..]));
/// assert_eq!(envelope.payload.text(), r#"{"type":"sent"}"#);
/// # Ok::<(), relay_core::envelope::EnvelopeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The event's id.
    pub id: EventId,
    /// Where it came from.
    pub source: Source,
    /// When `ingest` received it.
    pub received_at: Timestamp,
    /// Its place among the events of one request, which all have the same time of receipt; 0 for the first.
    pub place: u32,
    /// It came through Segment, which corrects an event's time by the sender's clock before it passes it on.
    pub through_segment: bool,
    /// The destinations still owed; `None` before the first try: all that are on.
    pub destinations: Option<Vec<String>>,
    /// Tries so far; 0 before the first.
    pub attempt: u32,
    /// The event.
    pub payload: Payload<'a>,
}

/// Why a message body cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// No envelope at all: poison, for the dead-letter queue as it is.
    #[error("not an envelope: {0}")]
    NotAnEnvelope(&'static str),
    /// An envelope of a later release, which a rolled-back or not yet updated worker must leave alone.
    #[error("an envelope of a later release (version {0})")]
    Later(u64),
}

/// Everything but the version may change its type in a later release, and is looked at after the version.
#[derive(Deserialize)]
struct Wire<'a> {
    version: u64,
    #[serde(borrow)]
    id: Option<Json<'a>>,
    #[serde(borrow)]
    source: Option<Json<'a>>,
    #[serde(borrow)]
    received_at: Option<Json<'a>>,
    #[serde(borrow)]
    place: Option<Json<'a>>,
    #[serde(borrow)]
    through_segment: Option<Json<'a>>,
    #[serde(borrow)]
    destinations: Option<Json<'a>>,
    #[serde(borrow)]
    attempt: Option<Json<'a>>,
    #[serde(borrow)]
    payload: Option<Json<'a>>,
    #[serde(borrow)]
    payload_base64: Option<Json<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads a message body. Fields it does not know (`reason`, `status`, `excerpt` of a redriven dead letter)
    /// are ignored.
    ///
    /// # Errors
    /// [`EnvelopeError`] tells poison from what a later release will understand.
    pub fn parse(body: &'a str) -> Result<Self, EnvelopeError> {
        use EnvelopeError::NotAnEnvelope;
        // serde would read an array as a struct, field by field.
        let wire: Wire<'a> = Some(body)
            .filter(|body| body.trim_start().starts_with('{'))
            .and_then(|body| serde_json::from_str(body).ok())
            .ok_or(NotAnEnvelope("it is no JSON object with a version"))?;
        if wire.version > VERSION {
            return Err(EnvelopeError::Later(wire.version));
        }
        let source = wire.source.and_then(Json::as_str).and_then(|source| Source::parse(&source));
        let id = wire.id.and_then(Json::as_str).and_then(EventId::parse);
        let received_at = wire.received_at.and_then(Json::as_str).and_then(|time| Timestamp::parse(&time));
        let payload = match (wire.payload, wire.payload_base64) {
            (Some(object), None) if object.kind() == Kind::Object => Payload::Object(object),
            (None, Some(bytes)) if bytes.kind() == Kind::Text => {
                Payload::Base64(bytes.get().trim_matches('"'))
            }
            _ => return Err(NotAnEnvelope("payload is no object")),
        };
        Ok(Envelope {
            id: id.ok_or(NotAnEnvelope("id is not 1 to 64 characters of [A-Za-z0-9_.-]"))?,
            source: source.ok_or(NotAnEnvelope("source is none that is known"))?,
            received_at: received_at.ok_or(NotAnEnvelope("received_at is no RFC 3339 time"))?,
            place: parsed(wire.place).map_err(|_| NotAnEnvelope("place is no count"))?.unwrap_or(0),
            through_segment: parsed(wire.through_segment)
                .map_err(|_| NotAnEnvelope("through_segment is neither true nor false"))?
                .unwrap_or(false),
            destinations: parsed(wire.destinations)
                .map(|owed| owed.map(without_repeats))
                .map_err(|_| NotAnEnvelope("destinations is no list of texts"))?,
            attempt: parsed(wire.attempt).map_err(|_| NotAnEnvelope("attempt is no count"))?.unwrap_or(0),
            payload,
        })
    }

    /// The message body, in characters that SQS takes.
    pub fn to_json(&self) -> String {
        json::sqs_safe(self.write(self.destinations.as_deref()).finish())
    }

    /// The message attributes, name and value, for the operator's eye: none decides anything.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![("source", self.source.as_str().to_owned())];
        attributes.extend(self.type_attribute().map(|kind| ("type", kind)));
        attributes
    }

    /// The event's type as its sender spells it, when it is fit for a message attribute: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub fn type_attribute(&self) -> Option<String> {
        let Payload::Object(payload) = self.payload else { return None };
        let (mut kind, mut action, mut types) = (None, None, 0);
        for (key, value) in payload.fields() {
            match &*key {
                "type" => (kind, types) = (Some(value), types + 1),
                "action" if self.source == Source::Vero => action = Some(value),
                _ => (),
            }
        }
        // A payload with two `type`s has no attribute, which decides nothing.
        let kind = webhook::kind(kind, action).filter(|_| types < 2)?;
        Some(kind.into_owned()).filter(|kind| is_plain(kind))
    }

    fn write(&self, destinations: Option<&[String]>) -> ObjectWriter {
        let mut envelope = ObjectWriter::new();
        envelope.raw("version", &VERSION.to_string());
        envelope.text("id", self.id.as_str());
        envelope.text("source", self.source.as_str());
        envelope.text("received_at", &self.received_at.iso());
        if self.place > 0 {
            envelope.raw("place", &self.place.to_string());
        }
        if self.through_segment {
            envelope.raw("through_segment", "true");
        }
        if let Some(names) = destinations {
            let names: Vec<String> = names.iter().map(|name| json::quote(name)).collect();
            envelope.raw("destinations", &format!("[{}]", names.join(",")));
        }
        if self.attempt > 0 {
            envelope.raw("attempt", &self.attempt.to_string());
        }
        match self.payload {
            Payload::Object(object) => envelope.raw("payload", object.get()),
            Payload::Base64(bytes) => envelope.raw("payload_base64", &format!("\"{bytes}\"")),
        }
        envelope
    }
}

fn parsed<'a, T: Deserialize<'a>>(value: Option<Json<'a>>) -> serde_json::Result<Option<T>> {
    // serde gives an absent field and a null alike.
    value.map(|value| serde_json::from_str(value.get())).transpose()
}

fn without_repeats(names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// The longest excerpt of a destination's response in a dead letter, in characters.
pub const MAX_EXCERPT: usize = 500;

/// Why an event lies in the dead-letter queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterReason {
    /// A snake_case code.
    pub reason: &'static str,
    /// The HTTP status of the destination's response.
    pub status: Option<u16>,
    /// The head of the destination's response; cut to [`MAX_EXCERPT`] when written.
    pub excerpt: Option<String>,
    /// The payload is only the head of what was sent.
    pub truncated: bool,
}

impl DeadLetterReason {
    /// A reason by its code alone: no destination answered.
    pub fn new(reason: &'static str) -> Self {
        DeadLetterReason { reason, ..DeadLetterReason::default() }
    }
}

/// An entry of the dead-letter queue: an envelope that says who refused it, and why.
#[derive(Debug)]
pub struct DeadLetter<'e, 'a> {
    /// The event.
    pub envelope: &'e Envelope<'a>,
    /// The one destination that refused it, or all those that nobody knows; `None` when it never got that far.
    pub destinations: Option<&'e [String]>,
    /// Why.
    pub cause: DeadLetterReason,
}

impl DeadLetter<'_, '_> {
    /// The message attributes: the envelope's and the reason. An event that no destination was to get has no type.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = self.envelope.attributes();
        attributes.retain(|(name, _)| *name == "source" || self.destinations.is_some());
        attributes.push(("reason", self.cause.reason.to_owned()));
        attributes
    }

    /// The message body, in characters that SQS takes.
    pub fn to_json(&self) -> String {
        let mut letter = self.envelope.write(self.destinations.or(self.envelope.destinations.as_deref()));
        letter.text("reason", self.cause.reason);
        if let Some(status) = self.cause.status {
            letter.raw("status", &status.to_string());
        }
        if let Some(excerpt) = &self.cause.excerpt {
            letter.text("excerpt", &excerpt.chars().take(MAX_EXCERPT).collect::<String>());
        }
        if self.cause.truncated {
            letter.raw("truncated", "true");
        }
        json::sqs_safe(letter.finish())
    }
}

/// 1 to 64 characters of `[A-Za-z0-9_.-]`: safe in an attribute, a log line and an id.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"version":1,"id":"01935f3a-0000-7000-8000-000000000001","source":"vero","received_at":"2026-11-21T05:04:03.123Z","destinations":["vero_track"],"attempt":2,"payload":{"type":"sent","n":1.0}}"#;

    #[test]
    fn a_body_survives_the_round_trip_to_the_letter() {
        let first_try = BODY.replace(r#","destinations":["vero_track"],"attempt":2"#, "");
        let no_json = BODY.replace(r#""payload":{"type":"sent","n":1.0}"#, r#""payload_base64":"bm8=""#);
        let first_party = BODY
            .replace("\"vero\"", "\"segment\"")
            .replace(r#","destinations""#, r#","place":7,"through_segment":true,"destinations""#);
        for body in [BODY, &first_try, &no_json, &first_party] {
            assert_eq!(Envelope::parse(body).unwrap().to_json(), body);
        }
        assert_eq!(Envelope::parse(&no_json).unwrap().payload.text(), "bm8=");
        assert_eq!(Envelope::parse(BODY).unwrap().id.to_string(), "01935f3a-0000-7000-8000-000000000001");
    }

    #[test]
    fn four_of_the_largest_are_one_batch_of_sqs() {
        assert_eq!(4 * MAX_BYTES, 1024 * 1024);
    }

    #[test]
    fn attributes_tell_the_type_of_what_a_destination_was_to_get() {
        let told = |attributes: Vec<(&'static str, String)>| {
            attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let envelope = Envelope::parse(BODY).unwrap();
        assert_eq!(told(envelope.attributes()), "source=vero type=sent");
        for (destinations, expected) in [
            (envelope.destinations.as_deref(), "source=vero type=sent reason=refused"),
            (None, "source=vero reason=refused"),
        ] {
            let cause = DeadLetterReason::new("refused");
            let letter = DeadLetter { envelope: &envelope, destinations, cause };
            assert_eq!(told(letter.attributes()), expected);
        }
    }

    #[test]
    fn a_dead_letter_can_be_redriven() {
        let envelope = Envelope::parse(BODY).unwrap();
        let cause = DeadLetterReason {
            reason: "refused",
            status: Some(422),
            excerpt: Some("\u{FFFF}".repeat(600)),
            ..DeadLetterReason::default()
        };
        let refused = ["segment".to_owned()];
        let letter = DeadLetter { envelope: &envelope, destinations: Some(&refused), cause }.to_json();
        assert!(!letter.contains('\u{FFFF}'));
        let redriven = Envelope::parse(&letter).unwrap();
        assert_eq!(redriven.destinations.as_deref(), Some(&["segment".to_owned()][..]));
        assert_eq!(redriven.attempt, 2);
        let json: serde_json::Value = serde_json::from_str(&letter).unwrap();
        assert_eq!(json["excerpt"].as_str().unwrap().chars().count(), 500);
        assert_eq!((json["reason"].as_str(), json["status"].as_u64()), (Some("refused"), Some(422)));
    }

    #[test]
    fn poison_differs_from_later_releases() {
        let array = r#"[1,"e1","vero","2026-11-21T05:04:03.123Z",null,null,{"type":"sent"},null]"#;
        for body in ["", "{}", "[]", "null", "\"x\"", r#"{"version":1}"#, r#"{"version":"1"}"#, array] {
            assert!(matches!(Envelope::parse(body), Err(EnvelopeError::NotAnEnvelope(_))), "{body}");
        }
        for (from, to) in [
            (r#"{"type":"sent","n":1.0}"#, "[1]"),
            (r#""payload":{"type":"sent","n":1.0}"#, r#""payload_base64":5"#),
            (r#""attempt":2"#, r#""payload_base64":"bm8=""#),
            ("2026-11-21T05:04:03.123Z", "yesterday"),
            ("\"source\":\"vero\"", "\"source\":\"pigeon\""),
            ("01935f3a-0000-7000-8000-000000000001", "a b"),
        ] {
            assert!(
                matches!(Envelope::parse(&BODY.replace(from, to)), Err(EnvelopeError::NotAnEnvelope(_))),
                "{to}"
            );
        }
        let later = BODY.replace("\"version\":1", "\"version\":2");
        assert_eq!(Envelope::parse(&later).err(), Some(EnvelopeError::Later(2)));
    }

    #[test]
    fn the_type_attribute_is_for_plain_types_only() {
        let of = |payload: &str| {
            let body = BODY.replace(r#"{"type":"sent","n":1.0}"#, payload);
            Envelope::parse(&body).unwrap().type_attribute()
        };
        assert_eq!(of(r#"{"type":"sent"}"#).as_deref(), Some("sent"));
        assert_eq!(of(r#"{"action":"sent","type":null}"#).as_deref(), Some("sent"));
        for payload in [
            r#"{}"#,
            r#"{"type":5}"#,
            r#"{"type":""}"#,
            r#"{"type":"a b"}"#,
            r#"{"type":"a","type":"b"}"#,
            r#"{"action":"new"}"#,
        ] {
            assert_eq!(of(payload), None, "{payload}");
        }
        // The `action` of a first-party event is its own.
        let first_party = BODY.replace("\"vero\"", "\"segment\"").replace("\"type\"", "\"action\"");
        assert_eq!(Envelope::parse(&first_party).unwrap().type_attribute(), None);
    }
}
