//! Looking for one field in JSON that nobody has vouched for: it may be malformed, or broken off.
//!
//! What is sought is found if everything before it is well enough formed to be skipped. Nothing is allocated but what is
//! found, nothing recurses, and each byte is looked at once.

use std::borrow::Cow;

use super::scan::plain_run;
use super::value::Json;

/// The fields of an object, as far as they can be told apart.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The JSON value at the beginning of some bytes, whatever follows it.
#[derive(Debug, Clone, Copy)]
pub struct Unchecked<'a>(&'a [u8]);

impl<'a> Unchecked<'a> {
    /// Behind white space and a byte order mark.
    pub fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        Unchecked(bytes.trim_ascii_start())
    }

    /// The fields, if it begins like an object.
    pub fn fields(self) -> Option<Fields<'a>> {
        (self.0.first() == Some(&b'{')).then_some(Fields { bytes: self.0, at: 1 })
    }

    /// No more than its first bytes.
    pub fn head(self, limit: usize) -> Self {
        Unchecked(&self.0[..self.0.len().min(limit)])
    }

    /// The first element, if it begins like an array.
    pub fn first_element(self) -> Option<Unchecked<'a>> {
        Some(Unchecked(self.0.strip_prefix(b"[")?.trim_ascii_start()))
    }

    /// The text, if it is one that ends and is UTF-8.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let mut scan = Fields { bytes: self.0, at: 0 };
        if scan.byte() != Some(b'"') || !scan.skip_string() {
            return None;
        }
        // Of what is no JSON string in between, the decoder says so.
        Json::written(str::from_utf8(self.0.get(..scan.at)?).ok()?).as_str()
    }
}

impl Fields<'_> {
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn seek(&mut self, is_sought: impl Fn(u8) -> bool) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| is_sought(*byte)).unwrap_or(rest.len());
    }

    /// Goes behind the string that begins here; false if it has no end.
    fn skip_string(&mut self) -> bool {
        self.at += 1;
        loop {
            self.at += plain_run(self.bytes.get(self.at..).unwrap_or_default());
            match self.byte() {
                None => return false,
                Some(b'"') => {
                    self.at += 1;
                    return true;
                }
                Some(_) => self.at += 2,
            }
        }
    }

    /// Goes behind the value that begins here, or to the end.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.byte() {
                None => return,
                Some(b'"') => {
                    self.skip_string();
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                Some(_) => (),
            }
            if depth == 0 {
                // A number or a word ends before what cannot be in one; so does anything else.
                return self.seek(|byte| matches!(byte, b',' | b'}' | b']'));
            }
            self.seek(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'));
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Unchecked<'a>, Unchecked<'a>);

    /// Key and value.
    fn next(&mut self) -> Option<Self::Item> {
        self.seek(|byte| byte != b',' && !byte.is_ascii_whitespace());
        if self.byte() != Some(b'"') {
            return None;
        }
        let key = Unchecked(self.bytes.get(self.at..)?);
        self.skip_string();
        self.seek(|byte| byte != b':' && !byte.is_ascii_whitespace());
        let value = Unchecked(self.bytes.get(self.at..)?);
        self.skip_value();
        Some((key, value))
    }
}

impl Unchecked<'_> {
    /// Whether it is this text. `name` has no character that JSON must escape.
    pub fn is(self, name: &str) -> bool {
        let spelled = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(name.as_bytes()));
        spelled.is_some_and(|rest| rest.first() == Some(&b'"'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(json: &[u8]) -> Option<String> {
        let mut fields = Unchecked::new(json).fields()?;
        fields.find_map(|(key, value)| key.is("k").then(|| value.text())?).map(Cow::into_owned)
    }

    #[test]
    fn a_field_is_found_whatever_else_is_wrong() {
        for json in [
            &br#"{"k":"v"}"#[..],
            b"\xEF\xBB\xBF \n{ \"k\" : \"v\" }",
            br#"{"a":1,"b":null,"c":"\"k\":","d":{"k":"no"},"e":[{"k":"no"},"k"],"k":"v"}"#,
            br#"{"k":5,"k":"\u0076"}"#,
            br#"{"k":"v","a":{"#,
            br#"{"k":"v" nonsense"#,
            b"{\"a\":\"\xff\",\"k\":\"v\"",
            br#"{"a":nonsense,"b":[1,,],"k":"v"}"#,
            br#"{"a":[1},"k":"v"}"#,
            br#"{"a":,"k":"v"}"#,
        ] {
            assert_eq!(field(json).as_deref(), Some("v"), "{}", String::from_utf8_lossy(json));
        }
        for json in [
            &b""[..],
            b"{",
            b"[",
            br#"{"k":"v"#,
            br#"{"k":"\"#,
            br#"{"k""#,
            br#"{"k":"#,
            br#"{"a":"\"k\":\"v\""}"#,
            br#"{"a":{"k":"v"}}"#,
            br#"[{"k":"v"}]"#,
            br#"{"a":"b" "k":"v"#,
            b"{\"k\":\"\xff\"}",
            br#"{"K":"v","kk":"v"}"#,
        ] {
            assert_eq!(field(json), None, "{}", String::from_utf8_lossy(json));
        }
        let deep = format!(r#"{{"a":{}"#, "[".repeat(1_000_000));
        assert_eq!(field(deep.as_bytes()), None);
    }

    #[test]
    fn the_first_element_of_an_array_is_found() {
        let first = |json: &'static str| Unchecked::new(json.as_bytes()).first_element();
        let text = |json| first(json).and_then(Unchecked::text);
        assert_eq!(text(r#" [ "a", "b"#).as_deref(), Some("a"));
        assert!(first(r#"{"a":["b"]}"#).is_none() && text("[]").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(json in r#"[{}\[\]"\\:, ku]{0,40}"#, bytes in any::<Vec<u8>>()) {
            field(json.as_bytes());
            field(&[b"{", &bytes[..]].concat());
            let element = Unchecked::new(json.as_bytes()).first_element();
            let _ = element.and_then(Unchecked::fields).map(Iterator::count);
        }
    }
}
