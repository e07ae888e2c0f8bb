//! The write key in a body of which nothing else is known yet, not even that it is JSON.

use std::borrow::Cow;

use relay_core::json::Unchecked;

const NAME: &str = "writeKey";

/// The most bytes of an event that are looked at: no SDK makes a larger one (Segment's HTTP API: 32 KB an event).
const MAX_EVENT: usize = 64 * 1024;

/// The key that the body names: at its top, else in its first event. Of several the first counts, and what follows it
/// may be anything.
pub fn of(body: &[u8]) -> Option<Cow<'_, str>> {
    let body = Unchecked::new(body);
    let Some(fields) = body.fields() else { return in_event(body.first_element()?) };
    let mut first_event = None;
    for (name, value) in fields {
        if name.is(NAME)
            && let Some(key) = value.text()
        {
            return Some(key);
        }
        if name.is("batch") {
            first_event = first_event.or(value.first_element());
        }
    }
    in_event(first_event?)
}

fn in_event(event: Unchecked<'_>) -> Option<Cow<'_, str>> {
    let mut fields = event.head(MAX_EVENT).fields()?;
    fields.find_map(|(name, value)| name.is(NAME).then(|| value.text())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found() {
        let event = r#"{"type":"track","properties":{"writeKey":"no","batch":[{"writeKey":"no"}]}}"#;
        let events = vec![event; 1_000].join(",");
        for body in [
            r#"{"writeKey":"k","batch":[]}"#,
            r#"[{"writeKey":"k"}]"#,
            r#"{"writeKey":null,"batch":[{"writeKey":"k"}]}"#,
            r#"{"batch":[{"writeKey":"no"}],"writeKey":"k"}"#,
            r#"{"writeKey":"k","writeKey":"no"}"#,
            &format!(r#"{{"batch":[{events}],"sentAt":"2026-11-21T05:04:03Z","writeKey":"k"}}"#),
            // What is wrong further on is for those to say who may know.
            r#"{"writeKey":"k","batch":[{"a":"#,
            r#"{"writeKey":"k" nonsense"#,
            r#"{"batch":[{"a":nonsense}],"writeKey":"k"}"#,
        ] {
            assert_eq!(of(body.as_bytes()).as_deref(), Some("k"), "{body}");
        }
        for body in [
            "",
            "5",
            "[]",
            "[[]]",
            r#"{"batch":[{}]}"#,
            r#"{"a":{"writeKey":"k"}}"#,
            r#"[5,{"writeKey":"k"}]"#,
        ] {
            assert_eq!(of(body.as_bytes()), None, "{body}");
        }
    }
}
