//! The document that describes the endpoints. Its JSON Schema is `events/endpoints.schema.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::address::is_public;
use super::signature::{SigningSecret, signatures};
use crate::destinations::is_endpoint_name;
use crate::document::{self, DocumentError};
use crate::envelope::Source;

/// The headers by which Standard Webhooks carries a request's id, its time and its signatures.
pub const HEADER_NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// Headers that a request has anyway, besides [`HEADER_NAMES`].
const OWN_HEADERS: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Secrets are longer than that.
const LEAST_SECRET: usize = 8;

/// While a secret is rotated there are two.
const MAX_SECRETS: usize = 2;

/// As many as one batch of the worker can have.
const MAX_EVENTS: usize = 100;

/// In bytes of a request's body.
const MAX_BYTES: std::ops::RangeInclusive<usize> = 1_000..=6_000_000;

/// Which addresses an endpoint may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// Public ones, over HTTPS.
    #[default]
    Public,
    /// All of them, and on loopback over HTTP as well.
    Anywhere,
}

/// The endpoints, by their names.
///
/// ```
/// use relay_core::endpoints::{Endpoints, Reach};
///
/// let document = r#"{"crm":{"url":"https://hooks.example.com/vero",
///     "secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}}"#;
/// let endpoints = Endpoints::parse(document, Reach::Public)?;
/// assert_eq!(endpoints.get("crm").map(|endpoint| endpoint.max_events), Some(1));
/// # Ok::<(), relay_core::document::DocumentError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoints(BTreeMap<String, Endpoint>);

/// One endpoint: where it is, and what it is sent.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where requests are posted to.
    pub url: String,
    /// What they are signed with: one secret, or two while it is rotated.
    secrets: Vec<SigningSecret>,
    /// Headers of the operator's own, by their names in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// In what form it gets an event.
    #[serde(default, rename = "payload")]
    pub form: Form,
    /// The sources whose events it gets.
    #[serde(default = "all_sources", deserialize_with = "sources")]
    sources: Vec<Source>,
    /// The most events of a request. With one a request's body is the event, else a list.
    #[serde(default = "one_event")]
    pub max_events: usize,
    /// The most bytes of a request with several events.
    #[serde(default = "some_bytes")]
    pub max_bytes: usize,
}

/// In what form an endpoint gets an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As it was received, with its id, its source and the time of receipt.
    #[default]
    Received,
    /// As Segment's Tracking API gets a batch.
    Segment,
}

impl fmt::Debug for Endpoint {
    /// Without what may be secret: its headers, and its URL, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("form", &self.form).finish_non_exhaustive()
    }
}

fn all_sources() -> Vec<Source> {
    vec![Source::Vero, Source::Segment]
}

fn one_event() -> usize {
    1
}

fn some_bytes() -> usize {
    256_000
}

fn sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let sources: Option<Vec<Source>> = names.iter().map(|name| Source::parse(name)).collect();
    sources
        .filter(|sources| !sources.is_empty())
        .ok_or_else(|| serde::de::Error::custom("no sources, expected some of vero and segment"))
}

impl Endpoints {
    /// Reads a document.
    ///
    /// # Errors
    /// Its first mistake. No value of it is quoted: most are secrets.
    pub fn parse(json: &str, reach: Reach) -> Result<Self, DocumentError> {
        let mut document = document::parse(json)?;
        if let Some(fields) = document.as_object_mut() {
            fields.remove("$schema"); // for editors
        }
        let parts = document.as_object().into_iter().flatten().map(|(name, part)| (name.clone(), part));
        document::require_objects([(".".to_owned(), &document)].into_iter().chain(parts))?;
        let mut endpoints: BTreeMap<String, Endpoint> = document::read(document)?;
        for (name, endpoint) in &mut endpoints {
            if !is_endpoint_name(name) {
                return Err(DocumentError::new(name, "is no name: 1 to 32 characters of a-z, 0-9, _ and -"));
            }
            endpoint
                .check(reach)
                .map_err(|(field, problem)| DocumentError::new(format!("{name}.{field}"), problem))?;
        }
        Ok(Endpoints(endpoints))
    }

    /// The endpoint of this name.
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.0.get(name)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What of all endpoints must not be quoted, the longest first: secrets, URLs and their parts, headers and their words.
    /// What is shorter than a secret stays, or half of a response would go.
    pub fn secret_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.values().flat_map(Endpoint::secret_texts).collect();
        texts.retain(|text| text.len() >= LEAST_SECRET);
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        texts
    }
}

type Problem = (String, &'static str);

impl Endpoint {
    /// Whether it gets events of this source.
    pub fn takes(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// The headers of a request: its id, its time in seconds since 1970, and the signatures over both and the body.
    pub fn signed(&self, id: &str, seconds: i64, body: &str) -> [(&'static str, String); 3] {
        let [id_name, time_name, signature_name] = HEADER_NAMES;
        [
            (id_name, id.to_owned()),
            (time_name, seconds.to_string()),
            (signature_name, signatures(&self.secrets, id, seconds, body)),
        ]
    }

    fn secret_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.secrets.iter().map(|secret| secret.text().to_owned()).collect();
        for value in self.headers.values() {
            texts.push(value.clone());
            texts.extend(value.split(' ').map(str::to_owned));
        }
        texts.push(self.url.clone());
        if let Ok(url) = Url::parse(&self.url) {
            texts.extend(url.query().map(|query| format!("{}?{query}", url.path())));
            texts.push(url.path().to_owned());
            texts.extend(url.path().split('/').map(str::to_owned));
            texts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        }
        texts
    }

    /// Also writes the URL as it goes over the wire.
    fn check(&mut self, reach: Reach) -> Result<(), Problem> {
        let problem = |field: &str, problem| Err((field.to_owned(), problem));
        match checked_url(&self.url, reach) {
            Ok(url) => self.url = url,
            Err(why) => return problem("url", why),
        }
        if !(1..=MAX_SECRETS).contains(&self.secrets.len()) {
            return problem("secrets", "must be one, or two while it is rotated");
        }
        if !(1..=MAX_EVENTS).contains(&self.max_events) {
            return problem("max_events", "must be from 1 to 100, the events of one batch of the worker");
        }
        if !MAX_BYTES.contains(&self.max_bytes) {
            return problem("max_bytes", "must be from 1000 to 6000000");
        }
        for (name, value) in &self.headers {
            let field = format!("headers.{name}");
            let is_token =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return problem(&field, "is no name of a header in lower case: a-z, 0-9, - and _");
            }
            if OWN_HEADERS.iter().chain(&HEADER_NAMES).any(|own| own == name) {
                return problem(&field, "is a header that the relay sets itself");
            }
            if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return problem(&field, "has a character that no header has");
            }
        }
        Ok(())
    }
}

/// A URL in ASCII, or what is wrong with it.
fn checked_url(url: &str, reach: Reach) -> Result<String, &'static str> {
    let url = Url::parse(url).map_err(|_| "is no URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials: they belong into `headers`");
    }
    if url.fragment().is_some() {
        return Err("has a fragment, which no request carries");
    }
    let (is_loopback, is_private) = match url.host() {
        None => return Err("names no host"),
        Some(Host::Domain(host)) => {
            let is_loopback = host.trim_end_matches('.') == "localhost";
            (is_loopback, is_loopback)
        }
        Some(Host::Ipv4(address)) => (address.is_loopback(), !is_public(IpAddr::V4(address))),
        Some(Host::Ipv6(address)) => (address.is_loopback(), !is_public(IpAddr::V6(address))),
    };
    match (url.scheme(), reach) {
        (_, Reach::Public) if is_private => {
            Err("is a private address, and the stack allows public ones only")
        }
        ("https", _) => Ok(url.into()),
        ("http", Reach::Anywhere) if is_loopback => Ok(url.into()),
        _ => Err("is not https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn mistake(document: &str, reach: Reach) -> String {
        Endpoints::parse(document, reach).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    fn with(fields: &str) -> String {
        let url = if fields.contains("\"url\"") { "" } else { r#""url":"https://example.com/a?b=c","# };
        let secrets =
            if fields.contains("secrets") { String::new() } else { format!(r#""secrets":["{SECRET}"],"#) };
        format!(r#"{{"crm":{{{url}{secrets}{fields}}}}}"#).replace(",}", "}")
    }

    #[test]
    fn what_is_not_said_is_as_documented() {
        let endpoints = Endpoints::parse(&with(""), Reach::Public).unwrap();
        let endpoint = endpoints.get("crm").unwrap();
        assert_eq!((endpoint.form, endpoint.max_events, endpoint.max_bytes), (Form::Received, 1, 256_000));
        assert!(endpoint.takes(Source::Vero) && endpoint.takes(Source::Segment));
        assert!(endpoints.names().eq(["crm"]) && endpoints.get("other").is_none());
        let some = Endpoints::parse(&with(r#""sources":["segment"]"#), Reach::Public).unwrap();
        assert!(!some.get("crm").unwrap().takes(Source::Vero));
        let sample =
            Endpoints::parse(include_str!("../../../../events/endpoints.json"), Reach::Public).unwrap();
        assert!(sample.names().eq(["crm", "lake"]));
        assert!(!format!("{endpoints:?}").contains("example"));
        assert_eq!(
            format!("{endpoint:?} {:?}", endpoint.secrets[0]),
            "Endpoint { form: Received, .. } SigningSecret"
        );
    }

    #[test]
    fn a_mistake_has_its_place_and_quotes_nothing() {
        let two = format!(r#""secrets":["{SECRET}","{SECRET}"]"#);
        assert_eq!(mistake(&with(&two), Reach::Public), "");
        let three = format!(r#""secrets":["{SECRET}","{SECRET}","{SECRET}"]"#);
        for (document, path, problem) in [
            ("[]".to_owned(), ".", "no object"),
            ("x".to_owned(), ".", "no JSON"),
            (r#"{"crm":[]}"#.to_owned(), "crm", "no object"),
            (r#"{"crm":{"url":"https://example.com"}}"#.to_owned(), "crm", "lacks the field `secrets`"),
            (with("").replace("crm", "CRM"), "CRM", "is no name"),
            (with("").replace("crm", "a:b"), "a:b", "is no name"),
            (with("").replace("crm", "a@b"), "(a place whose name is not shown)", "is no name"),
            (with(r#""max_events":"50""#), "crm.max_events", "expected a whole number"),
            (with(r#""sources":"vero""#), "crm.sources", "expected a list"),
            (with(r#""urll":1"#), "crm.urll", "expected one of `url`"),
            (with(r#""secrets":["hush"]"#), "crm.secrets[0]", "expected whsec_"),
            (with(r#""secrets":[]"#), "crm.secrets", "must be one"),
            (with(&three), "crm.secrets", "two while"),
            (with(r#""payload":"xml""#), "crm.payload", "expected `received` or `segment`"),
            (with(r#""sources":["vro"]"#), "crm.sources", "expected some of vero and segment"),
            (with(r#""sources":[]"#), "crm.sources", "expected some of"),
            (with(r#""max_events":0"#), "crm.max_events", "from 1 to 100"),
            (with(r#""max_events":101"#), "crm.max_events", "from 1 to 100"),
            (with(r#""max_bytes":999"#), "crm.max_bytes", "from 1000"),
            (with(r#""headers":{"X-Hush":"hush"}"#), "crm.headers.X-Hush", "no name of a header"),
            (with(r#""headers":{"":"hush"}"#), "crm.headers.", "no name of a header"),
            (with(r#""headers":{"webhook-id":"hush"}"#), "crm.headers.webhook-id", "sets itself"),
            (with(r#""headers":{"content-type":"hush"}"#), "crm.headers.content-type", "sets itself"),
            (with(r#""headers":{"x":"hu\nsh"}"#), "crm.headers.x", "a character"),
            (with(r#""url":"hush""#), "crm.url", "is no URL"),
            (with(r#""url":"https://hush:a@example.com""#), "crm.url", "holds credentials"),
            (with(r#""url":"https://hush@example.com""#), "crm.url", "holds credentials"),
            (with(r#""url":"https://:hush@example.com""#), "crm.url", "holds credentials"),
            (with(r#""url":"https://example.com#hush""#), "crm.url", "fragment"),
            (with(r#""url":"http://example.com/hush""#), "crm.url", "is not https"),
            (with(r#""url":"data:hush""#), "crm.url", "names no host"),
        ] {
            let said = mistake(&document, Reach::Public);
            assert!(said.contains(&format!("at `{path}`: ")) && said.contains(problem), "{document}: {said}");
            assert!(!said.contains("hush") || path.contains("hush"), "{said}");
        }
    }

    #[test]
    fn what_must_not_be_quoted() {
        let url = r#""url":"https://example.com/hooks/T0/a-token-in-it?key=another-token&v=1""#;
        let headers = r#""headers":{"authorization":"Bearer a-third-token","x-version":"1"}"#;
        let endpoints = Endpoints::parse(&with(&format!("{url},{headers}")), Reach::Public).unwrap();
        let texts = endpoints.secret_texts();
        for secret in [SECRET, "a-token-in-it", "another-token", "a-third-token", "/hooks/T0/a-token-in-it"] {
            assert!(texts.iter().any(|text| text == secret), "{secret}");
        }
        assert!(texts.iter().all(|text| text.len() >= 8), "{texts:?}");
        assert!(texts.is_sorted_by_key(|text| std::cmp::Reverse(text.len())));
    }

    #[test]
    fn a_url_is_written_as_it_is_sent() {
        let url = |url: &str| {
            let endpoints = Endpoints::parse(&with(&format!(r#""url":"{url}""#)), Reach::Public).unwrap();
            endpoints.get("crm").unwrap().url.clone()
        };
        assert_eq!(url("https://exämple.de/a b"), "https://xn--exmple-cua.de/a%20b");
        assert_eq!(url(" https://EXAMPLE.com"), "https://example.com/");
    }

    #[test]
    fn private_addresses_are_reached_on_request_alone() {
        for (url, is_public, is_anywhere) in [
            ("https://example.com", true, true),
            ("https://8.8.8.8/x", true, true),
            ("http://8.8.8.8/x", false, false),
            ("https://10.0.0.1", false, true),
            ("https://0x7f.1/", false, true),
            ("https://2852039166/latest", false, true),
            ("https://[::ffff:169.254.169.254]/", false, true),
            ("https://localhost/x", false, true),
            ("https://localhost./x", false, true),
            ("http://localhost:8080/x", false, true),
            ("http://127.0.0.1:8080/x", false, true),
            ("http://[::1]:8080/x", false, true),
            ("http://10.0.0.1/", false, false),
        ] {
            let document = with(&format!(r#""url":"{url}""#));
            assert_eq!(mistake(&document, Reach::Public).is_empty(), is_public, "{url}");
            assert_eq!(mistake(&document, Reach::Anywhere).is_empty(), is_anywhere, "{url}");
        }
    }
}
