//! What is put on a queue. Nothing is re-typed, and nothing is thrown away: what can never be processed becomes an entry
//! of the dead-letter queue.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_core::envelope::{DeadLetter, DeadLetterReason, Envelope, EventId, MAX_BYTES, Payload, Source};
use relay_core::json::{Json, Kind};
use relay_core::timestamp::Timestamp;

use crate::limits::KEPT_BYTES;

pub(crate) const TOO_LARGE: &str = "too_large";

/// One envelope on its way to a queue.
#[derive(Debug)]
pub struct QueueEntry {
    /// The event's.
    pub id: EventId,
    pub body: String,
    /// Message attributes, for the operator's eye.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it goes to the dead-letter queue, if it does.
    pub dead_letter_reason: Option<&'static str>,
}

impl QueueEntry {
    /// For the queue.
    pub fn of(envelope: &Envelope<'_>) -> Self {
        QueueEntry {
            id: envelope.id.clone(),
            body: envelope.to_json(),
            attributes: envelope.attributes(),
            dead_letter_reason: None,
        }
    }

    /// For the dead-letter queue.
    pub fn dead_letter(envelope: &Envelope<'_>, reason: &'static str, truncated: bool) -> Self {
        let cause = DeadLetterReason { reason, truncated, ..DeadLetterReason::default() };
        let letter = DeadLetter { envelope, destinations: None, cause };
        QueueEntry {
            id: envelope.id.clone(),
            body: letter.to_json(),
            attributes: letter.attributes(),
            dead_letter_reason: Some(reason),
        }
    }

    /// For the dead-letter queue, with bytes that are no event: all of them, or of too many the head.
    pub fn dead_letter_of_bytes(
        id: &EventId,
        source: Source,
        bytes: &[u8],
        reason: &'static str,
        received_at: Timestamp,
    ) -> Self {
        let letter = |bytes: &[u8], reason, truncated| {
            let bytes = STANDARD.encode(bytes);
            let envelope = envelope(id.clone(), source, Payload::Base64(&bytes), received_at);
            QueueEntry::dead_letter(&envelope, reason, truncated)
        };
        let whole = (reason != TOO_LARGE).then(|| letter(bytes, reason, false));
        let head = || letter(&bytes[..bytes.len().min(KEPT_BYTES)], TOO_LARGE, true);
        whole.filter(QueueEntry::fits).unwrap_or_else(head)
    }

    /// Whether SQS takes it.
    pub fn fits(&self) -> bool {
        self.body.len() <= MAX_BYTES
    }
}

/// The JSON value that a body is; not a scalar.
pub(crate) fn json_value(body: &[u8]) -> Result<Json<'_>, &'static str> {
    // RFC 8259 lets a parser ignore a byte order mark.
    let json = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    if json.iter().all(u8::is_ascii_whitespace) {
        return Err("empty");
    }
    let value: Json<'_> = serde_json::from_slice(json).map_err(|_| "not_json")?;
    match value.kind() {
        Kind::Object | Kind::Array => Ok(value),
        _ => Err("not_an_object"),
    }
}

/// The elements of a JSON array.
pub(crate) fn elements(array: Json<'_>) -> Vec<Json<'_>> {
    // It is known to be an array, and to be JSON.
    serde_json::from_str(array.get()).unwrap_or_default()
}

/// Of an event that was just received.
pub(crate) fn envelope(
    id: EventId,
    source: Source,
    payload: Payload<'_>,
    received_at: Timestamp,
) -> Envelope<'_> {
    Envelope {
        id,
        source,
        received_at,
        place: 0,
        through_segment: false,
        destinations: None,
        attempt: 0,
        payload,
    }
}
