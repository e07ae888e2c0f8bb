//! JSON text that is taken apart no further than needed, and put together again without re-typing it.
//!
//! Values stay [`RawValue`]s: number spellings, key order, 64-bit ids, odd escapes and any depth of nesting
//! survive, and nothing here recurses over a stranger's input.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The place of a field inside a webhook: the keys on the way to it, outermost first.
pub type Path = &'static [&'static str];

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

/// Tells the kind of a value by its first byte; the text is known to be valid JSON.
pub fn kind(value: &RawValue) -> Kind {
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
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let bytes = serde_json::Deserializer::from_str(value.get()).deserialize_bytes(AnyBytes).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asking for bytes, not for a `str`, is what makes serde_json accept lone surrogates.
struct AnyBytes;

impl Visitor<'_> for AnyBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// A JSON object whose fields are taken out one by one; what nobody took can be written down again.
#[derive(Debug, Default)]
pub struct Object<'a> {
    fields: Vec<Field<'a>>,
    was_empty: bool,
}

#[derive(Debug)]
struct Field<'a> {
    key: Cow<'a, str>,
    /// The key as JSON, in the sender's spelling.
    json_key: Cow<'a, str>,
    value: Value<'a>,
}

#[derive(Debug)]
enum Value<'a> {
    Raw(&'a RawValue),
    Opened(&'a RawValue, Object<'a>),
}

impl<'a> Object<'a> {
    /// Takes an object apart, one level deep; `None` for any other kind of value.
    pub fn parse(value: &'a RawValue) -> Option<Self> {
        Fields::deserialize(&mut serde_json::Deserializer::from_str(value.get()))
            .ok()
            .map(|Fields(fields)| Object { was_empty: fields.is_empty(), fields })
    }

    /// True when the object came without a field, or every field has been taken.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field's value, untouched. Of equal keys the last counts, as in most JSON parsers.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.fields.iter().rev().find(|field| field.key == key).map(|field| match field.value {
            Value::Raw(raw) | Value::Opened(raw, _) => raw,
        })
    }

    /// The fields in their order: key, key as JSON in the sender's spelling, value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str, &'a RawValue)> {
        self.fields.iter().map(|field| match field.value {
            Value::Raw(raw) | Value::Opened(raw, _) => (&*field.key, &*field.json_key, raw),
        })
    }

    /// The value of a key that is spelled so, else of one that differs in case alone.
    pub fn get_ignoring_case(&self, key: &str) -> Option<&'a RawValue> {
        let spelled = self.fields.iter().rev().find(|field| field.key.eq_ignore_ascii_case(key));
        self.get(key).or_else(|| self.get(&spelled?.key))
    }

    /// The value at a path, left in place. Objects on the way are opened.
    pub fn peek(&mut self, path: &[&str]) -> Option<&'a RawValue> {
        let (key, parents) = path.split_last()?;
        self.open(parents)?.get(key)
    }

    /// The object at a path, opened; `None` when there is none or it is something else.
    pub fn open(&mut self, path: &[&str]) -> Option<&mut Self> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let field = self.fields.iter_mut().rev().find(|field| field.key == *key)?;
        if let Value::Raw(raw) = field.value {
            field.value = Value::Opened(raw, Object::parse(raw)?);
        }
        match &mut field.value {
            Value::Opened(_, object) => object.open(rest),
            Value::Raw(_) => None,
        }
    }

    /// Takes the value at a path out of the object.
    pub fn take(&mut self, path: &[&str]) -> Option<&'a RawValue> {
        let (key, parents) = path.split_last()?;
        let object = self.open(parents)?;
        let at = object.fields.iter().rposition(|field| field.key == *key)?;
        match object.fields.remove(at).value {
            Value::Raw(raw) | Value::Opened(raw, _) => Some(raw),
        }
    }

    /// Sets a field, in its old place if it has one.
    pub fn set(&mut self, key: &str, value: &'a RawValue) {
        match self.fields.iter_mut().rev().find(|field| field.key == key) {
            Some(field) => field.value = Value::Raw(value),
            None => {
                let (key, json_key) = (key.to_owned().into(), quote(key).into());
                self.fields.push(Field { key, json_key, value: Value::Raw(value) });
            }
        }
    }

    /// Gives a field another key, unless that is there already; a null is as good as nothing.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.get(from).is_none() || self.get(to).is_some_and(|value| kind(value) != Kind::Null) {
            return;
        }
        self.take_all(|key, _| key == to);
        if let Some(field) = self.fields.iter_mut().rev().find(|field| field.key == from) {
            field.key = to.to_owned().into();
            field.json_key = quote(to).into();
        }
    }

    /// Takes all fields that `wanted` names, in their order: their keys as JSON in the sender's spelling, and their
    /// values.
    pub fn take_all(
        &mut self,
        wanted: impl Fn(&str, &'a RawValue) -> bool,
    ) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        let (taken, left) = self.fields.drain(..).partition(|field| match field.value {
            Value::Raw(raw) | Value::Opened(raw, _) => wanted(&field.key, raw),
        });
        self.fields = left;
        let taken: Vec<Field<'a>> = taken;
        taken
            .into_iter()
            .map(|field| match field.value {
                Value::Raw(raw) | Value::Opened(raw, _) => (field.json_key, raw),
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

struct Fields<'a>(Vec<Field<'a>>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((raw_key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let key = text(raw_key).unwrap_or_default();
            fields.push(Field { key, json_key: raw_key.get().into(), value: Value::Raw(value) });
        }
        Ok(Fields(fields))
    }
}

/// Writes one JSON object from parts that are JSON already, field by field.
#[derive(Debug)]
pub struct ObjectWriter(String);

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectWriter {
    /// An object without fields.
    pub fn new() -> Self {
        ObjectWriter("{".to_owned())
    }

    /// True before the first field.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Adds a field whose value is JSON text.
    pub fn raw(&mut self, key: &str, json: &str) {
        self.separate();
        push_text(&mut self.0, key);
        self.0.push(':');
        self.0.push_str(json);
    }

    /// Adds a field whose key and value are JSON text.
    pub fn raw_json_key(&mut self, key: &str, json: &str) {
        self.separate();
        self.0.push_str(key);
        self.0.push(':');
        self.0.push_str(json);
    }

    /// Adds a text field.
    pub fn text(&mut self, key: &str, value: &str) {
        self.separate();
        push_text(&mut self.0, key);
        self.0.push(':');
        push_text(&mut self.0, value);
    }

    /// Adds an object, written by `fill`.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut ObjectWriter)) {
        let mut inner = ObjectWriter::new();
        fill(&mut inner);
        self.raw(key, &inner.finish());
    }

    /// Adds all fields of an object that is JSON text without white space around it.
    pub fn append(&mut self, object: &str) {
        let fields = object.strip_prefix('{').and_then(|object| object.strip_suffix('}')).unwrap_or_default();
        if !fields.is_empty() {
            self.separate();
            self.0.push_str(fields);
        }
    }

    /// Closes the object.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn separate(&mut self) {
        if !self.is_empty() {
            self.0.push(',');
        }
    }
}

/// Appends `text` as a JSON string.
fn push_text(out: &mut String, text: &str) {
    // Writing a `str` into a `String` cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
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
    if !json.contains(['\u{FFFE}', '\u{FFFF}']) {
        return json;
    }
    json.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_taken_keeps_its_spelling() {
        let mut object =
            Object::parse(raw(r#"{"a" : 1.0e2, "b":{"c":"\u0041","d":[1, 2]},"\ud800":null}"#)).unwrap();
        assert_eq!(object.take(&["b", "c"]).map(RawValue::get), Some(r#""\u0041""#));
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
        assert_eq!(object.take(&["a"]).map(RawValue::get), Some("2"));
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
        assert_eq!(object.get_ignoring_case("A").map(RawValue::get), Some("3"));
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
