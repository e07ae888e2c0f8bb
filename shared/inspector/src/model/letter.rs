//! A dead letter.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::state::LetterCount;
use super::time::At;

/// What has no reason or no destination.
pub const NONE: &str = "none";

/// A message of the dead-letter queue. Shown as JSON it has no personal data.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    /// SQS's id of the message.
    pub message_id: String,
    /// The event's id; `None` if the message is no envelope.
    pub id: Option<String>,
    /// A snake_case code, or `none` if SQS moved the message.
    pub reason: String,
    /// The destinations that it is owed to; none if no destination was tried.
    pub destinations: Vec<String>,
    /// The event's type as its sender spells it, if it is fit to be shown.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// When the event was received.
    pub received_at: Option<At>,
    /// HTTP's status of the last response.
    pub status: Option<u64>,
    /// How many tries it had.
    pub attempt: u64,
    /// Only the head of the event was kept.
    pub is_truncated: bool,
    /// A replay or a forget that was given up. It goes back to the queue of `replay`.
    pub is_replay: bool,
    /// The message whole.
    #[serde(skip)]
    pub body: Value,
}

impl Letter {
    /// Reads a message. `reason` is its attribute of that name.
    pub fn read(message_id: &str, text: &str, reason: Option<&str>) -> Self {
        // An event of 5,000 levels is JSON, too, but no value here; the fields around it are.
        let body: Value = serde_json::from_str(text).unwrap_or_else(|_| around(text));
        let plain = |value: &Value| value.as_str().filter(|text| is_plain(text)).map(str::to_owned);
        let destinations = body["destinations"].as_array().into_iter().flatten().filter_map(plain);
        let payload = &body["payload"];
        Letter {
            message_id: message_id.to_owned(),
            id: plain(&body["id"]),
            reason: plain(&body["reason"]).or(reason.map(str::to_owned)).unwrap_or_else(|| NONE.to_owned()),
            destinations: destinations.collect(),
            kind: plain(&payload["type"]).or_else(|| plain(&payload["action"])),
            received_at: serde_json::from_value(body["received_at"].clone()).ok(),
            status: body["status"].as_u64(),
            attempt: body["attempt"].as_u64().unwrap_or(0),
            is_truncated: body["truncated"] == true,
            is_replay: body["request"].is_object(),
            body,
        }
    }

    /// The destination that it is owed to, in one word.
    pub fn destination(&self) -> String {
        if self.destinations.is_empty() { NONE.to_owned() } else { self.destinations.join(",") }
    }

    /// By what people name it: the event's id, or the message's.
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.message_id)
    }
}

/// What stands around the payload of an envelope or a dead letter, without its payload.
fn around(text: &str) -> Value {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    let others = fields.into_iter().filter(|(name, _)| name != "payload");
    let fields: serde_json::Map<String, Value> =
        others.filter_map(|(name, field)| Some((name, serde_json::from_str(field.get()).ok()?))).collect();
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

/// An event's id, also of what Segment calls its messageId.
pub fn bare_id(id: &str) -> &str {
    let id = id.trim();
    let id = id.strip_prefix("vr-").unwrap_or(id);
    id.strip_suffix("-tags").unwrap_or(id)
}

/// How many letters there are of each reason and destination, most first.
pub fn count(letters: &[Letter]) -> Vec<LetterCount> {
    let mut counts: Vec<LetterCount> = Vec::new();
    for letter in letters {
        let destination = letter.destination();
        match counts.iter_mut().find(|row| row.reason == letter.reason && row.destination == destination) {
            Some(row) => row.count += 1,
            None => counts.push(LetterCount { reason: letter.reason.clone(), destination, count: 1 }),
        }
    }
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    counts
}

/// 1 to 64 characters of `[A-Za-z0-9_.-]`: safe on a terminal, and no address.
pub fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:00:00.000Z",
        "destinations":["vero_track"],"attempt":120,"payload":{"type":"opened","user":{"email":"a@b.c"}},
        "reason":"timeout","excerpt":"no a@b.c"}"#;

    #[test]
    fn a_letter_says_what_it_is_without_its_user() {
        let letter = Letter::read("m1", BODY, Some("other"));
        assert_eq!((letter.name(), &*letter.reason, &*letter.destination()), ("e1", "timeout", "vero_track"));
        assert_eq!((letter.kind.as_deref(), letter.attempt), (Some("opened"), 120));
        let shown = serde_json::to_string(&letter).unwrap();
        assert!(!shown.contains("a@b.c") && !shown.contains("excerpt"), "{shown}");
        let other = Letter::read("m2", "not JSON", Some("not_an_envelope"));
        assert_eq!((other.name(), &*other.reason, &*other.destination()), ("m2", "not_an_envelope", "none"));
        assert!(Letter::read("m3", r#"{"request":{}}"#, None).is_replay);
        let deep = format!(r#"{{"deep":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        for payload in [deep.as_str(), r#"{"half":"\ud800"}"#] {
            let body = BODY.replace(r#"{"type":"opened","user":{"email":"a@b.c"}}"#, payload);
            let letter = Letter::read("m4", &body, None);
            assert_eq!((letter.name(), &*letter.reason, letter.attempt), ("e1", "timeout", 120));
        }
    }
}
