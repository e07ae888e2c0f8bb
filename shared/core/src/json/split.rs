//! Splitting an object that is known to be valid into its fields, without looking at more than where each ends.

use std::borrow::Cow;

use super::scan::plain_run;
use super::value::Json;

/// A field's key, as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    json: Json<'a>,
    has_escapes: bool,
}

impl<'a> Key<'a> {
    /// As JSON.
    pub fn json(self) -> &'a str {
        self.json.get()
    }

    /// As text.
    pub fn text(self) -> Cow<'a, str> {
        match self.json.get() {
            plain if !self.has_escapes => plain.get(1..plain.len() - 1).unwrap_or_default().into(),
            _ => self.json.as_str().unwrap_or_default(),
        }
    }
}

impl<'a> Json<'a> {
    /// The fields of an object, one level deep, in their order; none of any other kind of value. Of equal keys all come.
    pub fn fields(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        Split::object(self).into_iter().flatten().map(|(key, value)| (key.text(), value))
    }
}

/// The fields of an object: key and value, as they stand.
#[derive(Debug, Clone)]
pub struct Split<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Split<'a> {
    /// Of an object; `None` of any other kind of value.
    pub fn object(value: Json<'a>) -> Option<Self> {
        let text = value.get();
        text.starts_with('{').then_some(Split { text, at: 1 })
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes on to the first byte that is none of white space and these.
    fn skip(&mut self, also: u8) {
        self.seek(|byte| byte != also && !is_space(byte));
    }

    /// Goes on to the first byte that is such, or to the end.
    fn seek(&mut self, is_sought: impl Fn(u8) -> bool) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| is_sought(*byte)).unwrap_or(rest.len());
    }

    /// Goes behind the string that begins here, and tells whether it has escapes.
    fn skip_string(&mut self) -> bool {
        self.at += 1;
        let mut has_escapes = false;
        loop {
            self.at += plain_run(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.byte() {
                Some(b'"') | None => break,
                Some(_) => {
                    has_escapes = true;
                    self.at += 2;
                }
            }
        }
        self.at += 1;
        has_escapes
    }

    /// Goes behind the value that begins here.
    fn skip_value(&mut self) {
        match self.byte() {
            Some(b'"') => {
                self.skip_string();
            }
            Some(b'{' | b'[') => self.skip_nested(),
            // A number or a word ends before what cannot be in one.
            _ => self.seek(|byte| matches!(byte, b',' | b'}' | b']') || is_space(byte)),
        }
    }

    /// Goes behind the object or array that begins here.
    fn skip_nested(&mut self) {
        let mut depth = 0_usize;
        loop {
            self.seek(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'));
            match self.byte() {
                Some(b'"') => {
                    self.skip_string();
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(_) => depth -= 1,
                None => return,
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn since(&self, start: usize) -> Json<'a> {
        // Both ends are ASCII, and so between characters.
        Json::written(self.text.get(start..self.at).unwrap_or_default())
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

impl<'a> Iterator for Split<'a> {
    type Item = (Key<'a>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip(b',');
        if self.byte() != Some(b'"') {
            return None;
        }
        let start = self.at;
        let has_escapes = self.skip_string();
        let key = Key { json: self.since(start), has_escapes };
        self.skip(b':');
        let start = self.at;
        self.skip_value();
        Some((key, self.since(start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    /// Any JSON value, as text with white space anywhere.
    fn json() -> impl Strategy<Value = String> {
        let space = "[ \n\t\r]{0,2}";
        let text = r#""([a-z é{}\[\]:,]|\\["\\/bn]|\\u[0-9a-fA-F]{4}){0,6}""#;
        let leaf =
            prop_oneof![Just("null".to_owned()), Just("-1.50e+3".to_owned()), Just("true".to_owned()), text];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            let field = (text, space, inner.clone(), space)
                .prop_map(|(key, a, value, b)| format!("{key}{a}:{b}{value}{a}"));
            prop_oneof![
                (prop::collection::vec(field, 0..5), space)
                    .prop_map(|(fields, a)| format!("{{{a}{}}}", fields.join(","))),
                (prop::collection::vec(inner, 0..5), space)
                    .prop_map(|(items, a)| format!("[{a}{}{a}]", items.join(&format!("{a},")))),
            ]
        })
    }

    proptest! {
        #[test]
        fn fields_are_those_that_serde_finds(text in json()) {
            let value: &RawValue = serde_json::from_str(&text).unwrap();
            let split: Option<Vec<(&str, &str)>> = Split::object(value.into())
                .map(|fields| fields.map(|(key, value)| (key.json(), value.get())).collect());
            // Lone surrogates are no text for serde, but raw values all the same.
            let raw: Option<Vec<(String, String)>> = Pairs::of(value.get());
            let raw = raw.as_ref().map(|pairs| pairs.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>());
            prop_assert_eq!(split, raw);
        }
    }

    /// An object's fields by serde, in their order and with repeats.
    struct Pairs(Vec<(String, String)>);

    impl Pairs {
        fn of(text: &str) -> Option<Vec<(String, String)>> {
            use serde::Deserialize;
            text.starts_with('{')
                .then(|| Pairs::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap().0)
        }
    }

    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct All;
            impl<'de> serde::de::Visitor<'de> for All {
                type Value = Pairs;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                        pairs.push((key.get().to_owned(), value.get().to_owned()));
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(All)
        }
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in ["[]", "null", "\"{\"", "1"] {
            assert!(Split::object(serde_json::from_str::<Json<'_>>(text).unwrap()).is_none());
        }
        // Whoever breaks the promise that it is valid gets some fields, and no panic.
        for text in ["{\"a", "{\"a\":", "{\"a\":{\"b\"", "{\"\\", "{]}", "{\"a\":1,,\"b\" 2"] {
            let _: Vec<_> = Split::object(Json::written(text)).unwrap().collect();
        }
    }
}
