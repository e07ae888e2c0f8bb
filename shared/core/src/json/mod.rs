//! JSON text that is taken apart no further than needed, and put together again without re-typing it.
//!
//! Values stay the text that they are: number spellings, key order, 64-bit ids, odd escapes and any depth of nesting
//! survive, and nothing here recurses over anybody's input.

mod search;
mod split;
mod write;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Visitor};
use serde_json::value::RawValue;

pub use search::{Unchecked, text_head};
use split::Split;
pub use write::{ObjectWriter, quote};

/// A JSON value as its text, without white space around it. Whoever has one need not ask whether it is valid: serde has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The text.
    pub fn get(self) -> &'a str {
        self.0
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

/// The place of a field inside a webhook: the keys on the way to it, outermost first.
pub type Path = &'static [&'static str];

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

/// Tells the kind of a value by its first byte.
pub fn kind(value: Json<'_>) -> Kind {
    match value.get().as_bytes().first() {
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
pub fn text(value: Json<'_>) -> Option<Cow<'_, str>> {
    let value = value.get();
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::Deserializer::from_str(value).deserialize_bytes(Lossy).ok().map(Cow::Owned)
}

/// Asking for bytes, not for a `str`, is what makes serde_json accept lone surrogates.
struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        // Nearly all are UTF-8, which is told faster than it is mended.
        Ok(str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), str::to_owned))
    }
}

/// The fields of an object, one level deep, in their order; none of any other kind of value. Of equal keys all come.
pub fn fields(value: Json<'_>) -> impl Iterator<Item = (Cow<'_, str>, Json<'_>)> {
    Split::object(value).into_iter().flatten().map(|(key, value)| (key.text(), value))
}

/// Room for the fields of most objects.
const USUAL_FIELDS: usize = 16;

/// A JSON object whose fields are taken out one by one; what nobody took can be written down again.
#[derive(Debug, Default)]
pub struct Object<'a> {
    fields: Vec<Field<'a>>,
    was_empty: bool,
}

#[derive(Debug)]
struct Field<'a> {
    /// Of the key: what tells most keys apart in one comparison.
    tag: u32,
    key: Cow<'a, str>,
    /// The key as JSON, in the sender's spelling.
    json_key: Cow<'a, str>,
    value: Value<'a>,
}

/// A key's length, and its first, middle and last byte.
fn tag(key: &str) -> u32 {
    match *key.as_bytes() {
        [] => 0,
        ref bytes @ [first, .., last] => {
            u32::from_le_bytes([bytes.len() as u8, first, bytes[bytes.len() / 2], last])
        }
        [only] => u32::from_le_bytes([1, only, only, only]),
    }
}

impl<'a> Field<'a> {
    fn new(key: Cow<'a, str>, json_key: Cow<'a, str>, value: Json<'a>) -> Self {
        Field { tag: tag(&key), key, json_key, value: Value::Raw(value) }
    }

    fn is_named(&self, tag: u32, key: &str) -> bool {
        self.tag == tag && self.key == key
    }

    fn raw(&self) -> Json<'a> {
        match self.value {
            Value::Raw(raw) | Value::Opened(raw, _) => raw,
        }
    }
}

#[derive(Debug)]
enum Value<'a> {
    Raw(Json<'a>),
    Opened(Json<'a>, Object<'a>),
}

impl<'a> Object<'a> {
    /// Takes an object apart, one level deep; `None` for any other kind of value.
    pub fn parse(value: Json<'a>) -> Option<Self> {
        let split = Split::object(value)?;
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        fields.extend(split.map(|(key, value)| Field::new(key.text(), key.json().into(), value)));
        Some(Object { was_empty: fields.is_empty(), fields })
    }

    /// True when the object came without a field, or every field has been taken.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field's value, untouched. Of equal keys the last counts, as in most JSON parsers.
    pub fn get(&self, key: &str) -> Option<Json<'a>> {
        self.find(key).map(|at| self.fields[at].raw())
    }

    fn find(&self, key: &str) -> Option<usize> {
        let tag = tag(key);
        self.fields.iter().rposition(|field| field.is_named(tag, key))
    }

    /// The fields in their order: key, key as JSON in the sender's spelling, value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str, Json<'a>)> {
        self.fields.iter().map(|field| (&*field.key, &*field.json_key, field.raw()))
    }

    /// The value of a key that is spelled so, else of one that differs in case alone.
    pub fn get_ignoring_case(&self, key: &str) -> Option<Json<'a>> {
        let spelled = self.fields.iter().rev().find(|field| field.key.eq_ignore_ascii_case(key));
        self.get(key).or_else(|| self.get(&spelled?.key))
    }

    /// The value at a path, left in place. Objects on the way are opened.
    pub fn peek(&mut self, path: &[&str]) -> Option<Json<'a>> {
        let (key, parents) = path.split_last()?;
        self.open(parents)?.get(key)
    }

    /// The object at a path, opened; `None` when there is none or it is something else.
    pub fn open(&mut self, path: &[&str]) -> Option<&mut Self> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let at = self.find(key)?;
        let field = &mut self.fields[at];
        if let Value::Raw(raw) = field.value {
            field.value = Value::Opened(raw, Object::parse(raw)?);
        }
        match &mut field.value {
            Value::Opened(_, object) => object.open(rest),
            Value::Raw(_) => None,
        }
    }

    /// Takes the value at a path out of the object.
    pub fn take(&mut self, path: &[&str]) -> Option<Json<'a>> {
        let (key, parents) = path.split_last()?;
        let object = self.open(parents)?;
        let at = object.find(key)?;
        Some(object.fields.remove(at).raw())
    }

    /// Sets a field, in its old place if it has one.
    pub fn set(&mut self, key: &str, value: Json<'a>) {
        match self.find(key) {
            Some(at) => self.fields[at].value = Value::Raw(value),
            None => self.fields.push(Field::new(key.to_owned().into(), quote(key).into(), value)),
        }
    }

    /// Gives a field another key, unless that is there already; a null is as good as nothing.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.get(from).is_none() || self.get(to).is_some_and(|value| kind(value) != Kind::Null) {
            return;
        }
        self.take_all(|key, _| key == to);
        if let Some(at) = self.find(from) {
            self.fields[at] = Field::new(to.to_owned().into(), quote(to).into(), self.fields[at].raw());
        }
    }

    /// Takes all fields that `wanted` names, in their order: their keys as JSON in the sender's spelling, and their
    /// values.
    pub fn take_all(&mut self, wanted: impl Fn(&str, Json<'a>) -> bool) -> Vec<(Cow<'a, str>, Json<'a>)> {
        let taken = self.fields.extract_if(.., |field| wanted(&field.key, field.raw()));
        taken
            .map(|field| {
                let raw = field.raw();
                (field.json_key, raw)
            })
            .collect()
    }

    /// What nobody took, as JSON text with the original spelling; `None` when nothing is left.
    pub fn rest(&self) -> Option<String> {
        if self.fields.is_empty() {
            return self.was_empty.then(|| "{}".to_owned());
        }
        let mut rest = ObjectWriter::new();
        for field in &self.fields {
            match &field.value {
                Value::Raw(raw) => rest.raw_json_key(&field.json_key, raw.get()),
                Value::Opened(_, object) => {
                    if let Some(inner) = object.rest() {
                        rest.raw_json_key(&field.json_key, &inner);
                    }
                }
            }
        }
        (!rest.is_empty()).then(|| rest.finish())
    }
}

/// How many bytes of a string come before its end or an escape. Most strings are short; one in a request may have 6 MB.
fn plain_run(rest: &[u8]) -> usize {
    let (near, far) = rest.split_at(rest.len().min(32));
    let end = near.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    end.unwrap_or_else(|| near.len() + memchr::memchr2(b'"', b'\\', far).unwrap_or(far.len()))
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

    fn raw(json: &str) -> Json<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_taken_keeps_its_spelling() {
        let mut object =
            Object::parse(raw(r#"{"a" : 1.0e2, "b":{"c":"\u0041","d":[1, 2]},"\ud800":null}"#)).unwrap();
        assert_eq!(object.take(&["b", "c"]).map(Json::get), Some(r#""\u0041""#));
        assert_eq!(object.rest().unwrap(), r#"{"a":1.0e2,"b":{"d":[1, 2]},"\ud800":null}"#);
    }

    #[test]
    fn an_emptied_object_vanishes_and_an_empty_one_stays() {
        let mut object = Object::parse(raw(r#"{"a":{"b":1},"c":{}}"#)).unwrap();
        object.take(&["a", "b"]);
        object.open(&["c"]);
        assert_eq!(object.rest().unwrap(), r#"{"c":{}}"#);
        object.take(&["c"]);
        assert_eq!(object.rest(), None);
    }

    #[test]
    fn of_equal_keys_the_last_counts_and_the_first_is_kept() {
        let mut object = Object::parse(raw(r#"{"a":1,"a":2}"#)).unwrap();
        assert_eq!(object.take(&["a"]).map(Json::get), Some("2"));
        assert_eq!(object.rest().unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn fields_can_be_set_and_renamed() {
        let mut object = Object::parse(raw(r#"{"a":1,"c":null,"b":2}"#)).unwrap();
        object.set("a", raw("3"));
        object.set("\"", raw("4"));
        object.rename("b", "c");
        object.rename("a", "c");
        object.rename("nobody", "d");
        assert_eq!(object.rest().unwrap(), r#"{"a":3,"c":2,"\"":4}"#);
        assert_eq!(object.get_ignoring_case("A").map(Json::get), Some("3"));
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        assert_eq!(text(raw(r#""a\ud800""#)).unwrap(), "a\u{FFFD}\u{FFFD}\u{FFFD}");
        assert_eq!(text(raw(r#""\u00e9\n""#)).unwrap(), "é\n");
        assert_eq!(text(raw("12")), None);
    }

    #[test]
    fn nesting_of_any_depth_is_only_carried() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let mut object = Object::parse(raw(&deep)).unwrap();
        assert_eq!(object.open(&["a"]).map(|_| ()), None);
        assert_eq!(object.rest().unwrap(), deep);
    }

    #[test]
    fn characters_that_sqs_refuses_travel_as_escapes() {
        assert_eq!(
            sqs_safe("{\"a\":\"\u{FFFE}\u{FFFF}\u{1FFFE}\"}".into()),
            "{\"a\":\"\\ufffe\\uffff\u{1FFFE}\"}"
        );
    }
}
