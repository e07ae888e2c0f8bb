//! Addresses in what a destination is sent: hashed, or left out.
//!
//! Whoever may not have a user's address must not find it anywhere: not in a trait, in a bounce's text, in a URL or in the
//! customer's own event. So every text of a message is looked at, and every key.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::AddressPolicy;
use super::event::RuledEvent;
use super::find_address::{Unescaped, addresses_in, is_address};
use crate::envelope::EventId;
use crate::identity;
use crate::json::{Json, Kind, Object, quote};

/// What stands for an address within a text that is left out.
const LEFT_OUT: &str = "[address]";

/// So many addresses that look like none are looked for in every text. An event that has more is not worth the time: each
/// of its texts with an `@` is hidden as a whole.
const MAX_ODD: usize = 32;

/// The secret that addresses are hashed with: without one, whoever has a list of addresses could look the hashes up.
#[derive(Clone, Default)]
pub struct AddressKey(Option<Vec<u8>>);

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressKey")
    }
}

impl AddressKey {
    /// From the secret's text.
    pub fn new(secret: &str) -> Self {
        AddressKey(Some(secret.as_bytes().to_vec()))
    }

    /// Whether there is a secret.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// The HMAC-SHA-256 of an address in lower case and without white space around it, in hex. Where the secret is not
    /// known, words in its place.
    pub fn hash(&self, address: &str) -> String {
        let Some(key) = &self.0 else { return "(the hash of the address)".to_owned() };
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
        mac.update(address.trim().to_lowercase().as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The event that a message is about, with all that may be an address.
pub struct Subject<'e> {
    id: &'e EventId,
    /// As it was received.
    payload: Option<Json<'e>>,
    /// Of the user.
    email: Option<&'e str>,
    /// Of the message that a webhook is about: it looks like an address (RFC 5322, 3.6.4), and is none.
    message_id: String,
}

impl<'e> From<RuledEvent<'e, 'e>> for Subject<'e> {
    fn from(event: RuledEvent<'e, 'e>) -> Self {
        let message_id = match event {
            RuledEvent::Webhook(event) => event.webhook.message_id().unwrap_or_default().trim().to_owned(),
            RuledEvent::FirstParty { .. } => String::new(),
        };
        Subject {
            id: &event.envelope().id,
            payload: event.payload(),
            email: event.user().email.as_deref(),
            message_id,
        }
    }
}

/// A message without addresses.
pub fn hidden(message: &str, subject: &Subject<'_>, policy: AddressPolicy, key: &AddressKey) -> String {
    Hider::of(subject, policy, key).rewritten(message)
}

/// A call of Segment's spec without addresses. Where it says who the user is, none stands instead.
pub fn left_out_of_call(message: &str, subject: &Subject<'_>, key: &AddressKey) -> String {
    let hider = Hider::of(subject, AddressPolicy::Omit, key);
    let mut fields = Object::parse(Json::written(message)).unwrap_or_default();
    let id = quote(subject.id.as_str());
    let is_address = |value: Json<'_>| value.as_str().is_some_and(|text| hider.look(&text) != Look::Clean);
    let ids = ["userId", "anonymousId"];
    let addresses: Vec<&str> = ids.into_iter().filter(|id| fields.get(id).is_some_and(is_address)).collect();
    for name in &addresses {
        fields.take(&[name]);
    }
    // Nobody may be left in the place of a user who is known by an address alone: then it is the event itself.
    if !addresses.is_empty() && ids.iter().all(|id| fields.get(id).is_none_or(|id| id.kind() == Kind::Null)) {
        fields.set("anonymousId", Json::written(&id));
    }
    for path in [&["context", "traits", "email"][..], &["traits", "email"], &["properties", "sent_to"]] {
        if fields.peek(path).is_some_and(is_address) {
            fields.take(path);
        }
    }
    hider.rewritten(&fields.rest().unwrap_or_else(|| "{}".to_owned()))
}

struct Hider<'h> {
    /// The addresses of the event, in lower case: every text of it that is one, besides the user's.
    known: BTreeSet<String>,
    /// Those among them that do not look like one within a text.
    odd: Vec<String>,
    /// Empty if an address of the event is in it.
    message_id: &'h str,
    policy: AddressPolicy,
    key: &'h AddressKey,
}

/// What there is in a text.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Clean,
    /// Nothing but this address.
    Address(String),
    /// An address and more: what is to be sent.
    Replaced(String),
}

impl<'h> Hider<'h> {
    fn of(subject: &'h Subject<'_>, policy: AddressPolicy, key: &'h AddressKey) -> Self {
        let mut message_id = subject.message_id.as_str();
        let mut known = BTreeSet::new();
        if let Some(payload) = subject.payload {
            let texts = Texts(payload.get()).into_iter().filter_map(|(_, text)| identity::email(text));
            let texts = texts.filter(|text| is_address(text) && text != message_id);
            known.extend(texts.map(|text| text.to_ascii_lowercase()));
        }
        known.extend(subject.email.map(str::to_ascii_lowercase));
        let lower = message_id.to_ascii_lowercase();
        if known.iter().any(|address| lower.contains(address)) {
            message_id = "";
        }
        // In a URL fewer marks are taken for a part of an address than elsewhere.
        let is_odd = |address: &&String| {
            let in_url = format!("?a={address}");
            addresses_in(&in_url) != [(3, in_url.len())]
        };
        let odd = known.iter().filter(is_odd).take(MAX_ODD + 1).cloned().collect();
        Hider { known, odd, message_id, policy, key }
    }

    /// A JSON text without addresses. Texts and keys are all that can have one, so that nothing recurses over whatever is
    /// nested how deep. What is left out is null; a key keeps a place.
    fn rewritten(&self, json: &str) -> String {
        let (mut out, mut from) = (String::with_capacity(json.len()), 0);
        for (at, text) in Texts(json) {
            let end = at + text.get().len();
            let is_key = json[end..].trim_start().starts_with(':');
            let look = text.as_str().map_or(Look::Clean, |text| self.look(&text));
            let replaced = match look {
                Look::Clean => continue,
                Look::Replaced(text) => quote(&text),
                Look::Address(address) if self.policy == AddressPolicy::Hash => {
                    quote(&self.key.hash(&address))
                }
                Look::Address(_) if is_key => quote(LEFT_OUT),
                Look::Address(_) => "null".to_owned(),
            };
            out.push_str(&json[from..at]);
            out.push_str(&replaced);
            from = end;
        }
        out.push_str(&json[from..]);
        out
    }

    fn look(&self, text: &str) -> Look {
        // In a URL it is `%40`, behind a redirect `%2540`, and in a text of JSON it may be `\u0040`.
        if !text.contains(['@', '%', '\\']) {
            return Look::Clean;
        }
        let plain = Unescaped::of(text);
        if !plain.text.contains('@') {
            return Look::Clean;
        }
        let whole = plain.text.trim();
        if whole == self.message_id {
            return Look::Clean;
        }
        let written = text.trim();
        if self.known.contains(&written.to_ascii_lowercase()) {
            return Look::Address(written.to_owned());
        }
        let is_too_odd = self.odd.len() > MAX_ODD;
        if is_too_odd || is_address(whole) || self.known.contains(&whole.to_ascii_lowercase()) {
            return Look::Address(whole.to_owned());
        }
        let (mut replaced, mut from) = (String::with_capacity(text.len()), 0);
        for (start, end) in self.found(&plain.text) {
            let (first, last) = plain.source(start, end);
            if first >= from {
                replaced.push_str(&text[from..first]);
                replaced.push_str(&self.replacement(&plain.text[start..end]));
            }
            from = from.max(last);
        }
        if from == 0 {
            return Look::Clean;
        }
        replaced.push_str(&text[from..]);
        Look::Replaced(replaced)
    }

    fn replacement(&self, address: &str) -> String {
        match self.policy {
            AddressPolicy::Hash => self.key.hash(address),
            AddressPolicy::Omit | AddressPolicy::Keep => LEFT_OUT.to_owned(),
        }
    }

    /// Where addresses stand in a text: those of the event's that do not look like one, and beside them whatever does. The
    /// longest of those that begin at a place comes first.
    fn found(&self, text: &str) -> Vec<(usize, usize)> {
        // Of the same length, byte by byte.
        let lower = text.to_ascii_lowercase();
        let odd = self.odd.iter();
        let mut found: Vec<(usize, usize)> = odd
            .flat_map(|address| lower.match_indices(address).map(|(at, _)| (at, at + address.len())))
            .collect();
        found.sort_by_key(|(start, end)| (*start, usize::MAX - *end));
        let looks_like_one = addresses_in(text).into_iter().filter(|(start, end)| {
            let next = found.partition_point(|(begin, _)| begin < end);
            next.checked_sub(1).is_none_or(|before| found[before].1 <= *start)
        });
        let looks_like_one: Vec<(usize, usize)> = looks_like_one.collect();
        found.extend(looks_like_one);
        found.sort_by_key(|(start, end)| (*start, usize::MAX - *end));
        found
    }
}

/// The texts of a JSON text, keys as well, each with its place.
struct Texts<'a>(&'a str);

impl<'a> IntoIterator for Texts<'a> {
    type Item = (usize, Json<'a>);
    type IntoIter = TextsIter<'a>;

    fn into_iter(self) -> TextsIter<'a> {
        TextsIter { json: self.0, from: 0 }
    }
}

struct TextsIter<'a> {
    json: &'a str,
    from: usize,
}

impl<'a> Iterator for TextsIter<'a> {
    type Item = (usize, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // Outside of a text there is no quote but the one that begins the next.
        let start = self.from + self.json[self.from..].find('"')?;
        let bytes = self.json.as_bytes();
        let mut end = start + 1;
        while let Some(byte) = bytes.get(end).filter(|byte| **byte != b'"') {
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        self.from = (end + 1).min(bytes.len());
        Some((start, Json::written(&self.json[start..self.from])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_normalised_address() {
        // Held against `printf %s ana@example.org | openssl dgst -sha256 -hmac secret`.
        let key = AddressKey::new("secret");
        let hash = key.hash("ana@example.org");
        assert_eq!(hash, HASH);
        assert_eq!(key.hash(" Ana@Example.ORG\n"), hash);
        assert_ne!(AddressKey::new("other").hash("ana@example.org"), hash);
        assert_eq!(format!("{key:?}"), "AddressKey");
        assert!(key.is_known() && !AddressKey::default().is_known());
    }

    const HASH: &str = "c8c402867f06a8d2aa62169e9593aad6ea877186936547c0df54c8aff6c4a57c";

    #[test]
    fn encodings_are_undone_and_nothing_else_is_touched() {
        let key = AddressKey::new("secret");
        let known = BTreeSet::from(["ana+x@example.org".to_owned()]);
        let (odd, message_id) = (Vec::new(), "");
        let hider = Hider { known, odd, message_id, policy: AddressPolicy::Hash, key: &key };
        let hash = key.hash("ana+x@example.org");
        for encoded in [
            "ana+x%40example.org",
            "ana%2Bx%40example.org",
            "ana%2bx%2540example%2Eorg",
            "ana+x%25252540example.org",
            r"ana\u002bx\u0040example.org",
            r"ana\\\u002bx\\\u0040example.org",
            "Ana+x@EXAMPLE.org",
        ] {
            let url = format!("https://x.org/100%/a?b=%C3%A9&e={encoded}&c=%26");
            let expected = format!("https://x.org/100%/a?b=%C3%A9&e={hash}&c=%26");
            assert_eq!(hider.look(&url), Look::Replaced(expected), "{encoded}");
        }
        let other = hider.look("?e=%C3%A9va%40example.org");
        assert_eq!(other, Look::Replaced(format!("?e={}", key.hash("éva@example.org"))));
        let beside = hider.look("?a=%FF&e=ana%2Bx%40example.org");
        assert_eq!(beside, Look::Replaced(format!("?a=%FF&e={hash}")));
        assert_eq!(hider.look("ana%2Bx%40example.org"), Look::Address("ana+x@example.org".to_owned()));
        for clean in
            ["100 %", "%", "%4", "%+4", r"\", r"\u00", r"\u00e9%40", r"\ud800@", "%zz@", "a%FF%40b", "@"]
        {
            assert_eq!(hider.look(clean), Look::Clean, "{clean}");
        }
    }

    #[test]
    fn a_hash_within_a_text_is_that_of_the_address() {
        let key = AddressKey::new("secret");
        let payload = r#"["tom&jerry@example.org","bounces+1-ana=example.org@em.x.com","ana=@example.org"]"#;
        let id = EventId::parse("e1").unwrap();
        let email = Some("joe%20s@example.org");
        let subject =
            Subject { id: &id, payload: Some(Json::written(payload)), email, message_id: String::new() };
        let hider = Hider::of(&subject, AddressPolicy::Hash, &key);
        for (text, within) in [
            ("https://x.org/?e=tom%26jerry%40example.org", "tom&jerry@example.org"),
            (
                "https://x.org/?b=bounces%2B1-ana%3Dexample.org%40em.x.com",
                "bounces+1-ana=example.org@em.x.com",
            ),
            ("https://x.org/?e=ana=%40example.org&f=x", "ana=@example.org"),
            ("joe%20s@example.org", "joe%20s@example.org"),
            ("ana@example.org.", "ana@example.org"),
            ("'ana@example.org'", "ana@example.org"),
            ("{ana@example.org}", "ana@example.org"),
            ("ana@example.org/x", "ana@example.org"),
            ("see _ana@example.org_ now", "ana@example.org"),
            ("name=Ana&email=ana%40example.org&x=1", "ana@example.org"),
            (r#"{"m":"550\nana@example.org"}"#, "ana@example.org"),
            (r#"{"a":"{\"e\":\"ana\\u0040example.org\"}"}"#, "ana@example.org"),
            (r"to ren\u00e9@example.org", "ren\u{e9}@example.org"),
            (r"to tom\/j@example.org", "j@example.org"),
        ] {
            let hash = key.hash(within);
            match hider.look(text) {
                Look::Address(address) => assert_eq!(key.hash(&address), hash, "{text}"),
                Look::Replaced(replaced) => {
                    assert!(
                        replaced.contains(&hash) && !replaced.contains("example.org"),
                        "{text}: {replaced}"
                    );
                }
                Look::Clean => panic!("{text}"),
            }
        }
    }

    #[test]
    fn an_event_of_too_many_odd_addresses_takes_no_longer() {
        let odd = |number: usize| format!("{number},@a.b");
        let texts: Vec<String> = (0..9_000).map(odd).collect();
        let text = r"x@\".repeat(40_000);
        let payload = serde_json::json!({ "texts": texts, "text": text, "plain": "a" }).to_string();
        let id = EventId::parse("e1").unwrap();
        let subject = Subject {
            id: &id,
            payload: Some(Json::written(&payload)),
            email: None,
            message_id: String::new(),
        };
        let message = hidden(&payload, &subject, AddressPolicy::Omit, &AddressKey::default());
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!((&message["text"], &message["plain"]), (&serde_json::Value::Null, &"a".into()));
        assert!(!message.to_string().contains('@'));
        // Up to so many, each is found within a text.
        for (many, look) in [
            (MAX_ODD, Look::Replaced("to [address]".to_owned())),
            (MAX_ODD + 1, Look::Address("to 7,@a.b".to_owned())),
        ] {
            let payload = serde_json::json!(texts[..many]).to_string();
            let subject = Subject { payload: Some(Json::written(&payload)), ..subject_of(&id) };
            let key = AddressKey::default();
            assert_eq!(Hider::of(&subject, AddressPolicy::Omit, &key).look("to 7,@a.b"), look, "{many}");
        }
        // Usual ones do not count.
        let usual: Vec<String> = (0..2 * MAX_ODD).map(|number| format!("u{number}@a.b")).collect();
        let payload = serde_json::json!(usual).to_string();
        let subject = Subject { payload: Some(Json::written(&payload)), ..subject_of(&id) };
        let key = AddressKey::default();
        let look = Hider::of(&subject, AddressPolicy::Omit, &key).look("to u7@a.b");
        assert_eq!(look, Look::Replaced("to [address]".to_owned()));
    }

    fn subject_of(id: &EventId) -> Subject<'_> {
        Subject { id, payload: None, email: None, message_id: String::new() }
    }

    #[test]
    fn texts_of_a_json_text() {
        let json = r#"{"a\\":["b\"c",1,{"":"\u0040"}],"d":null}"#;
        let texts: Vec<&str> = Texts(json).into_iter().map(|(_, text)| text.get()).collect();
        assert_eq!(texts, [r#""a\\""#, r#""b\"c""#, r#""""#, r#""\u0040""#, r#""d""#]);
    }
}
