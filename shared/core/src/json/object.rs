//! An object whose fields are taken out.

use std::borrow::Cow;

use super::split::Split;
use super::value::{Json, Kind};
use super::write::{ObjectWriter, quote};

/// The place of a field inside a webhook: the keys on the way to it, outermost first.
pub type FieldPath = &'static [&'static str];

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
        if self.get(from).is_none() || self.get(to).is_some_and(|value| value.kind() != Kind::Null) {
            return;
        }
        self.take_all(|key, _| key == to);
        self.keep_last(from);
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

    /// Takes all fields of a key but the one that counts.
    pub fn keep_last(&mut self, key: &str) {
        if let Some(last) = self.find(key) {
            let mut at = 0..;
            self.fields.retain(|field| at.next() == Some(last) || field.key != key);
        }
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
    fn of_equal_keys_the_one_that_counts_can_be_kept_alone() {
        let mut object = Object::parse(raw(r#"{"a":1,"b":2,"a":{"c":3},"d":4}"#)).unwrap();
        object.keep_last("a");
        object.keep_last("none");
        assert_eq!(object.rest().unwrap(), r#"{"b":2,"a":{"c":3},"d":4}"#);
    }

    #[test]
    fn fields_come_in_their_order_with_keys_in_both_spellings() {
        let object = Object::parse(raw(r#"{"b":1,"\u0061":[2]}"#)).unwrap();
        let fields: Vec<_> =
            object.fields().map(|(key, json_key, value)| (key, json_key, value.get())).collect();
        assert_eq!(fields, [("b", r#""b""#, "1"), ("a", r#""\u0061""#, "[2]")]);
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
        let mut twice = Object::parse(raw(r#"{"a":1,"b":2,"a":3}"#)).unwrap();
        twice.rename("a", "c");
        assert_eq!(twice.rest().unwrap(), r#"{"b":2,"c":3}"#);
        assert_eq!(object.rest().unwrap(), r#"{"a":3,"c":2,"\"":4}"#);
        assert_eq!(object.get_ignoring_case("A").map(Json::get), Some("3"));
    }

    #[test]
    fn nesting_of_any_depth_is_only_carried() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let mut object = Object::parse(raw(&deep)).unwrap();
        assert_eq!(object.open(&["a"]).map(|_| ()), None);
        assert_eq!(object.rest().unwrap(), deep);
    }
}
