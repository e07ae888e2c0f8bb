//! One value.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Visitor};
use serde_json::value::RawValue;

/// A JSON value as its text, without white space around it. Whoever has one need not ask whether it is valid: serde has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The JSON text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// The kind, by the first byte.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// The text of a JSON string; `None` for any other kind.
    ///
    /// A lone surrogate escape, which JSON allows and UTF-8 does not, becomes U+FFFD.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::Deserializer::from_str(self.0).deserialize_bytes(Lossy).ok().map(Cow::Owned)
    }

    /// Of a text that this crate wrote.
    pub(crate) fn written(text: &'a str) -> Self {
        Json(text)
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(value: &'a RawValue) -> Self {
        Json(value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(Json::from)
    }
}

/// What kind of JSON value a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// Any number
    Number,
    /// A string
    Text,
    /// An array
    Array,
    /// An object
    Object,
}

/// Asking for bytes, not for a `str`, is what makes serde_json accept lone surrogates.
struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        // Nearly all are UTF-8, which is seen faster than it is mended.
        Ok(str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Json<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        assert_eq!(raw(r#""a\ud800""#).as_str().unwrap(), "a\u{FFFD}\u{FFFD}\u{FFFD}");
        assert_eq!(raw(r#""\u00e9\n""#).as_str().unwrap(), "é\n");
        assert_eq!(raw("12").as_str(), None);
    }
}
