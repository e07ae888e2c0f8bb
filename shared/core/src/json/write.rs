//! Writing JSON.

use std::mem;

/// Room for most messages, so that they are not moved as they grow.
const USUAL_BYTES: usize = 1_024;

/// Writes one JSON object from parts that are JSON already, field by field.
///
/// Objects inside are written into the same text.
#[derive(Debug)]
pub struct ObjectWriter {
    out: String,
    is_empty: bool,
}

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectWriter {
    /// An object without fields, with room for those of most messages.
    pub fn new() -> Self {
        Self::begin(String::with_capacity(USUAL_BYTES))
    }

    fn begin(mut out: String) -> Self {
        out.push('{');
        ObjectWriter { out, is_empty: true }
    }

    /// True before the first field.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Adds a field whose value is JSON text.
    pub fn raw(&mut self, key: &'static str, json: &str) {
        self.key(key);
        self.out.push_str(json);
    }

    /// Adds a field whose key and value are JSON text.
    pub fn raw_json_key(&mut self, key: &str, json: &str) {
        self.separate();
        self.out.push_str(key);
        self.out.push(':');
        self.out.push_str(json);
    }

    /// Adds a text field.
    pub fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        push_text(&mut self.out, value);
    }

    /// Adds an object, written by `fill`.
    pub fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut ObjectWriter)) {
        self.key(key);
        let mut inner = Self::begin(mem::take(&mut self.out));
        fill(&mut inner);
        self.out = inner.finish();
    }

    /// Adds all fields of an object that is JSON text without white space around it.
    pub fn append(&mut self, object: &str) {
        let fields = object.strip_prefix('{').and_then(|object| object.strip_suffix('}')).unwrap_or_default();
        if !fields.is_empty() {
            self.separate();
            self.out.push_str(fields);
        }
    }

    /// Closes the object.
    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }

    /// Keys of ours are names without a character that JSON escapes.
    fn key(&mut self, key: &'static str) {
        debug_assert!(!key.contains(['"', '\\']) && !key.contains(char::is_control));
        self.separate();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    fn separate(&mut self) {
        if !mem::take(&mut self.is_empty) {
            self.out.push(',');
        }
    }
}

/// Appends `text` as a JSON string.
fn push_text(out: &mut String, text: &str) {
    // Without a jump in it, so that the compiler looks at many bytes at once.
    let needs_escapes =
        text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if needs_escapes {
        // Writing a `str` into a `String` cannot fail.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.reserve(text.len() + 2);
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// A text as a JSON string.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}
/// A JSON text in characters that SQS takes: U+FFFE and U+FFFF, which it refuses, become escapes.
///
/// They can only stand inside strings, so the JSON stays the same value. The other refused characters, the
/// controls below U+0020 and lone surrogates, cannot occur raw in valid JSON text.
/// Source: SQS API reference, SendMessage, `MessageBody`.
pub fn sqs_safe(json: String) -> String {
    // The first byte of both in UTF-8, and of little else, is found sooner than they are.
    if !json.as_bytes().contains(&0xEF) || !json.contains(['\u{FFFE}', '\u{FFFF}']) {
        return json;
    }
    json.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_must_escape_is_escaped_however_often_it_is_there() {
        for (text, json) in [
            ("a b", r#""a b""#),
            ("\n", r#""\n""#),
            ("\n\n", r#""\n\n""#),
            ("\"\"", r#""\"\"""#),
            ("\\", r#""\\""#),
            ("\\\\", r#""\\\\""#),
            ("\n\"", r#""\n\"""#),
        ] {
            assert_eq!(quote(text), json);
        }
    }

    #[test]
    fn characters_that_sqs_refuses_travel_as_escapes() {
        assert_eq!(
            sqs_safe("{\"a\":\"\u{FFFE}\u{FFFF}\u{1FFFE}\"}".into()),
            "{\"a\":\"\\ufffe\\uffff\u{1FFFE}\"}"
        );
    }
}
