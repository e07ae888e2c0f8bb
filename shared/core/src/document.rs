//! Documents that operators write in JSON, and their mistakes.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A mistake in a document, for a log: it quotes no value, since the document may be another than was meant, and no name
/// that could be an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has a mistake at `{path}`: {problem}")]
pub struct DocumentError {
    /// Where in the document, from its top: `events.Signed Up.rename`.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

impl DocumentError {
    /// A mistake at this path.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        // No `@`, and no `%`, which may stand for one.
        let is_plain = |c: char| c.is_alphanumeric() || " _.-[]?:/~$()'&+!,".contains(c);
        let (path, problem) = (path.into(), problem.into());
        let path =
            if path.chars().all(is_plain) { path } else { "(a place whose name is not shown)".to_owned() };
        DocumentError { path, problem }
    }
}

/// Reads JSON.
///
/// # Errors
/// If the text is none.
pub(crate) fn parse(json: &str) -> Result<Value, DocumentError> {
    serde_json::from_str(json)
        .map_err(|error| DocumentError::new(".", format!("the document is no JSON ({error})")))
}

/// Looks for a field that an object has twice: the one that is not read may be the one that keeps something back. For
/// whoever writes a document. A worker takes the last one, since it took documents so before.
///
/// # Errors
/// For the first object that has one.
pub fn has_each_field_once(json: &str) -> Result<(), DocumentError> {
    match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)) {
        Ok(Distinct) => Ok(()),
        Err(error) => Err(DocumentError::new(error.path().to_string(), "has a field twice")),
    }
}

/// Any value in which each field of an object is there once.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Distinct>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, Distinct)) = all.next_entry::<String, Distinct>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(self)
    }
}

/// What must be an object. serde would read an array as a struct, field by field.
///
/// # Errors
/// For the first that is none.
pub(crate) fn require_objects<'v>(
    parts: impl IntoIterator<Item = (String, &'v Value)>,
) -> Result<(), DocumentError> {
    match parts.into_iter().find(|(_, part)| !part.is_object()) {
        Some((path, _)) => Err(DocumentError::new(path, "it is no object")),
        None => Ok(()),
    }
}

/// Reads a document as its type.
///
/// # Errors
/// The first mistake, with its path.
pub(crate) fn read<T: DeserializeOwned>(document: Value) -> Result<T, DocumentError> {
    serde_path_to_error::deserialize(document)
        .map_err(|error| DocumentError::new(error.path().to_string(), expected(&error.inner().to_string())))
}

/// What serde expected. Before that it says what it found, word for word.
fn expected(error: &str) -> String {
    match (error.rsplit_once(", expected "), error.strip_prefix("missing field ")) {
        (Some((_, expected)), _) => format!("expected {}", in_words(expected)),
        (None, Some(field)) => format!("lacks the field {field}"),
        (None, None) => "it cannot be read".to_owned(),
    }
}

/// A type of Rust's in a word of JSON's.
fn in_words(expected: &str) -> &str {
    match expected {
        "usize" | "u8" | "i64" => "a whole number",
        "a sequence" => "a list",
        "a map" => "an object",
        "a string" => "a text",
        "a boolean" => "true or false",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_a_mistake_at_any_depth() {
        for (json, path) in [
            (r#"{"a":1,"a":2}"#, "."),
            (r#"{"a":[{"b":{"c":1,"d":null,"c":1.5}}]}"#, "a[0].b"),
            (r#"{"a":{"b":true},"a":-1}"#, "."),
        ] {
            let error = has_each_field_once(json).unwrap_err();
            assert_eq!((&*error.path, &*error.problem), (path, "has a field twice"), "{json}");
        }
        assert!(has_each_field_once(r#"{"a":{"a":[1,-1,1.5,true,null,"a",{"a":{}}]}}"#).is_ok());
    }
}
