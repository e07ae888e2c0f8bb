//! Which field of what came a field of what is sent is made of. Nobody writes this down: each field of the payload is
//! changed in turn, and whatever then differs in what is sent is made of it.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::envelope::Envelope;
use serde_json::Value;

/// Fields of the payload, by fields of what is sent. Both as JSON pointers; what is sent has the request's name and `#`
/// before.
pub type Links = BTreeMap<String, BTreeSet<String>>;

/// A payload of more fields or bytes is not linked: its requests would be made thousands of times.
const FIELDS: usize = 400;
const BYTES: usize = 64 * 1024;

/// A request's name, and its body.
pub type Requests = Vec<(String, Value)>;

/// Links what `map` makes of an envelope with the envelope's payload. An envelope that is none has no links.
pub fn links(envelope: &str, map: impl Fn(&Envelope<'_>) -> Requests) -> Links {
    let mut links = Links::new();
    let Ok(parsed) = Envelope::parse(envelope) else { return links };
    let Ok(mut whole) = serde_json::from_str::<Value>(envelope) else { return links };
    let fields = fields(&whole["payload"]);
    if envelope.len() > BYTES || fields.len() > FIELDS {
        return links;
    }
    let sent = |requests: Requests| -> BTreeMap<String, Value> {
        let fields = requests.iter().flat_map(|(name, body)| {
            leaves(body).into_iter().map(move |(pointer, value)| (format!("{name}#{pointer}"), value.clone()))
        });
        fields.collect()
    };
    let before = sent(map(&parsed));
    let mut others = Links::new();
    for pointer in fields {
        let Some(field) = whole["payload"].pointer_mut(&pointer) else { continue };
        let kept = std::mem::replace(field, changed(field));
        let text = whole.to_string();
        if let Some(field) = whole["payload"].pointer_mut(&pointer) {
            *field = kept;
        }
        let Ok(other) = Envelope::parse(&text) else { continue };
        let after = sent(map(&other));
        // What also adds or takes away fields, as the type does, explains only what nothing else does.
        let links = if after.keys().eq(before.keys()) { &mut links } else { &mut others };
        for (path, value) in after {
            if before.get(&path).is_some_and(|before| *before != value) {
                links.entry(path).or_default().insert(pointer.clone());
            }
        }
    }
    for (path, from) in others {
        // An event's name is made of the type and more.
        let is_name = path.ends_with("/event") || path.ends_with("/event_name");
        if is_name || !links.contains_key(&path) {
            links.entry(path).or_default().extend(from);
        }
    }
    links
}

/// The pointers of all texts, numbers and booleans.
pub fn fields(value: &Value) -> Vec<String> {
    leaves(value).into_iter().filter(|(_, value)| !value.is_null()).map(|(pointer, _)| pointer).collect()
}

/// Something else of the same type.
fn changed(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(format!("x{text}")),
        Value::Bool(value) => Value::Bool(!value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::from(number.wrapping_add(1)),
            (_, number) => Value::from(number.unwrap_or_default() + 1.0),
        },
        other => other.clone(),
    }
}

/// What is neither an object nor an array, by its pointer; an empty one is its own leaf.
fn leaves(value: &Value) -> Vec<(String, &Value)> {
    let mut leaves = Vec::new();
    collect(value, String::new(), &mut leaves);
    leaves
}

fn collect<'v>(value: &'v Value, pointer: String, leaves: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, format!("{pointer}/{}", escaped(name)), leaves);
            }
        }
        Value::Array(all) => {
            for (place, value) in all.iter().enumerate() {
                collect(value, format!("{pointer}/{place}"), leaves);
            }
        }
        _ => leaves.push((pointer, value)),
    }
}

/// A field's name in a JSON pointer (RFC 6901, section 3).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::requests;
    use crate::model::state::Stack;

    fn of_webhook(payload: &str) -> Links {
        let envelope = format!(
            r#"{{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
        );
        links(&envelope, |envelope| requests(envelope, &Stack::default(), &Default::default()))
    }

    #[test]
    fn a_field_is_linked_with_what_it_is_made_of() {
        let links = of_webhook(
            r#"{"type":"clicked","user":{"id":1,"email":"steve@example.com"},"campaign":{"name":"Welcome","a/b":2},
                "clicked_at":1435015372,"url":"https://example.com"}"#,
        );
        let of = |path: &str| links.get(path).map(|from| from.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of("segment/0#/properties/campaign_name"), Some(vec!["/campaign/name"]), "{links:#?}");
        assert_eq!(of("segment/0#/userId"), Some(vec!["/user/id"]));
        assert_eq!(of("segment/0#/timestamp"), Some(vec!["/clicked_at"]));
        assert_eq!(of("vero_track/0#/identity/email"), Some(vec!["/user/email"]));
        assert_eq!(of("segment/0#/event"), Some(vec!["/type"]));
        assert_eq!(of("segment/0#/messageId"), None, "it is made of the envelope");
    }

    #[test]
    fn what_cannot_be_mapped_has_no_links() {
        for payload in [
            "{}",
            r#"{"type":5}"#,
            "[1]",
            "\"\\ud800\"",
            &format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200)),
        ] {
            of_webhook(payload);
        }
    }
}
