//! A request to the Function URL, as `lambda_http` reads it.
//!
//! `lambda_http` refuses an event with a header that HTTP does not allow or with a field of another type than it knows,
//! and panics over a URL that is none, which it makes of `Host`, `X-Forwarded-Proto`, path and query, and over a body that
//! is not the base64 that it says. A webhook would be gone before anybody looked at it, so [`read`] leaves out what nobody
//! here needs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::{fmt, str};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Request, RequestExt};
use relay_platform::trace::TraceHeader;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::Instant;

/// The most bytes of a path or query. A URL of `http` has 64 KB, in which a byte of the path takes up to three and one of
/// the query one.
const MAX_URL_PART: usize = 16_000;

/// The fields that are looked at here. In the place of a value of another type there is none.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UrlEvent<'e> {
    #[serde(borrow)]
    raw_path: Loose<'e>,
    #[serde(borrow)]
    raw_query_string: Loose<'e>,
    #[serde(borrow)]
    headers: Option<&'e RawValue>,
    #[serde(borrow)]
    body: Loose<'e>,
    #[serde(borrow)]
    is_base64_encoded: Loose<'e>,
    #[serde(borrow)]
    request_context: Option<&'e RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RequestContext<'e> {
    #[serde(borrow)]
    http: HttpContext<'e>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HttpContext<'e> {
    #[serde(borrow)]
    method: Loose<'e>,
}

/// Reads an event for `lambda_http`. One that is none of a Function URL's asks for a path that is not there.
///
/// `ApiGatewayV2httpRequest` does not read itself here: it takes some forty fields, each of which may refuse the event,
/// and costs the binary 170 kB.
pub fn read(event: &RawValue) -> LambdaRequest {
    let fields = serde_json::from_str(event.get()).ok();
    let fields = fields.filter(|fields: &UrlEvent<'_>| fields.request_context.is_some());
    let fields = fields.unwrap_or_else(|| {
        tracing::error!("an event that is no request to a Function URL was refused");
        UrlEvent::default()
    });
    let mut request = ApiGatewayV2httpRequest::default();
    request.body = fields.body.text();
    // Of bytes that are not what they say, the text is kept.
    request.is_base64_encoded =
        fields.is_base64_encoded.is_true() && request.body.as_deref().is_some_and(is_base64);
    request.headers = fields.headers.map(headers).unwrap_or_default();
    request.raw_path =
        fields.raw_path.text().filter(|path| path.starts_with('/') && path.len() <= MAX_URL_PART);
    request.raw_query_string = fields.raw_query_string.text().filter(|query| query.len() <= MAX_URL_PART);
    if let Some(query) = &mut request.raw_query_string {
        query.retain(|character| {
            !(character.is_control() || matches!(character, ' ' | '"' | '#' | '<' | '>'))
        });
    }
    let context = fields.request_context.and_then(|context| serde_json::from_str(context.get()).ok());
    let RequestContext { http } = context.unwrap_or_default();
    request.request_context.http.method =
        http.method.text().and_then(|method| method.parse().ok()).unwrap_or_default();
    LambdaRequest::ApiGatewayV2(request)
}

/// The headers that HTTP allows, without the one of which `lambda_http` makes a URL.
fn headers(json: &RawValue) -> HeaderMap {
    let pairs: HashMap<Cow<'_, str>, Loose<'_>> = serde_json::from_str(json.get()).unwrap_or_default();
    let headers = pairs.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| name != HOST)?;
        Some((name, HeaderValue::try_from(value.text()?).ok()?))
    });
    headers.collect()
}

/// A text or a truth value, or anything else.
#[derive(Default)]
enum Loose<'e> {
    Text(Cow<'e, str>),
    Flag(bool),
    #[default]
    Other,
}

impl Loose<'_> {
    fn text(self) -> Option<String> {
        if let Loose::Text(text) = self { Some(text.into_owned()) } else { None }
    }

    fn is_true(&self) -> bool {
        matches!(self, Loose::Flag(true))
    }
}

impl<'de: 'e, 'e> Deserialize<'de> for Loose<'e> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Loose::Flag(flag))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(object).map(|_| Loose::Other)
    }
}

/// Whether a text is base64, without decoding more than its end.
fn is_base64(text: &str) -> bool {
    let is_of_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let (head, end) = text.as_bytes().split_at(text.len().saturating_sub(4));
    text.len().is_multiple_of(4) && head.iter().all(is_of_alphabet) && STANDARD.decode(end).is_ok()
}

/// A request, and what goes along with its events on their way to the queues.
#[derive(Debug)]
pub struct InboundRequest {
    request: Request,
    /// X-Ray's, as Lambda hands it over.
    pub trace: Option<TraceHeader>,
    /// When the queues must have its events.
    pub deadline: Instant,
}

impl InboundRequest {
    pub fn new(request: Request, deadline: Instant) -> Self {
        let context = request.lambda_context_ref();
        let trace = context.and_then(|context| TraceHeader::parse(context.xray_trace_id.as_deref()?));
        InboundRequest { request, trace, deadline }
    }

    pub fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// As it was sent.
    pub fn path(&self) -> &str {
        self.request.raw_http_path()
    }

    /// The first value of a query parameter, not percent-decoded: tokens have no character that needs it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A header's value, trimmed. Lambda joins equal names by commas.
    pub fn header(&self, name: &str) -> Option<&str> {
        Some(str::from_utf8(self.request.headers().get(name)?.as_bytes()).ok()?.trim())
    }

    pub fn body(&self) -> &[u8] {
        self.request.body()
    }

    /// The body came as text: of bytes that are none, Lambda's text is beyond repair.
    pub fn is_text(&self) -> bool {
        !matches!(self.request.body(), Body::Binary(_))
    }

    /// The user name of Basic authentication, with or without the colon that belongs behind it.
    pub fn basic_user(&self) -> Option<String> {
        let (scheme, credentials) = self.header("authorization")?.split_once(' ')?;
        let credentials = STANDARD.decode(credentials.trim()).ok()?;
        let credentials = String::from_utf8(credentials).ok()?;
        let user = credentials.split(':').next().unwrap_or_default();
        (scheme.eq_ignore_ascii_case("basic") && !user.is_empty()).then(|| user.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn request(event: &Value) -> InboundRequest {
        let event: Box<RawValue> = serde_json::from_str(&event.to_string()).unwrap();
        InboundRequest::new(read(&event).into(), Instant::now())
    }

    fn fields(event: &Value) -> (String, String, Option<String>, Vec<u8>) {
        let request = request(event);
        let token = request.parameter("token").map(str::to_owned);
        (request.method().to_owned(), request.path().to_owned(), token, request.body().to_vec())
    }

    #[test]
    fn what_lambda_sends() {
        let event = json!({"version": "2.0", "rawPath": "/vero", "rawQueryString": "a=b&token=x&token=y",
            "headers": {"host": "a b"}, "requestContext": {"http": {"method": "POST"}, "domainName": "a b"},
            "body": "eyJhIjoiw6kifQ==", "isBase64Encoded": true});
        let body = "{\"a\":\"é\"}".as_bytes().to_vec();
        assert_eq!(fields(&event), ("POST".into(), "/vero".into(), Some("x".into()), body));
        let event = json!({"rawPath": "//vero///./x", "requestContext": {"http": {"method": "POST"}, "stage": "prod"},
            "body": "{\"a\":1}"});
        assert_eq!(fields(&event), ("POST".into(), "//vero///./x".into(), None, b"{\"a\":1}".to_vec()));
    }

    #[test]
    fn only_what_is_looked_at_has_to_be_of_a_known_type() {
        let usual =
            json!({"rawPath": "/vero/x", "body": "{}", "requestContext": {"http": {"method": "POST"}}});
        let expected = fields(&usual);
        for (field, odd) in [
            ("headers", json!(null)),
            ("headers", json!({"a": 1, "b b": "c"})),
            ("cookies", json!(5)),
            ("version", json!({})),
            ("isBase64Encoded", json!("no")),
            ("requestContext", json!({"http": {"method": "POST", "path": 5}, "timeEpoch": "x"})),
            (
                "requestContext",
                json!({"http": {"method": "POST"}, "authorizer": {"jwt": {"claims": {"exp": 5}}}}),
            ),
            ("requestContext", json!({"http": {"method": "POST"}, "authentication": [5]})),
        ] {
            let mut event = usual.clone();
            event[field] = odd;
            assert_eq!(fields(&event), expected, "{event}");
        }
    }

    #[test]
    fn a_body_that_is_not_the_base64_it_should_be_is_kept_as_it_came() {
        for (text, body) in [
            ("eyJhIjoxfQ==", &br#"{"a":1}"#[..]),
            ("", b""),
            ("{\"a\":1}", b"{\"a\":1}"),
            ("eyJhIjoxfQ=", b"eyJhIjoxfQ="),
            ("eyJ=IjoxfQ==", b"eyJ=IjoxfQ=="),
            ("eyJhIjoxfR==", b"eyJhIjoxfR=="),
            ("\u{e9}\u{e9}", "\u{e9}\u{e9}".as_bytes()),
        ] {
            let event = json!({"rawPath": "/", "body": text, "isBase64Encoded": true,
                "requestContext": {"http": {"method": "POST"}}});
            assert_eq!(fields(&event).3, body, "{text}");
        }
    }

    #[test]
    fn an_event_of_something_else_asks_for_nothing_that_is_here() {
        let odd = [
            json!({"requestContext": [5], "headers": [1]}),
            json!("a"),
            json!({"requestContext": {"http": [2]}}),
        ];
        let usual = [json!(null), json!([]), json!({}), json!({"Records": []}), json!({"rawPath": 5})];
        for event in usual.into_iter().chain(odd) {
            assert_eq!(fields(&event), ("GET".into(), "".into(), None, vec![]), "{event}");
        }
    }

    proptest! {
        #[test]
        fn no_request_is_lost_over_its_head(
            path in "/?\\PC*|:.*|/a{30000}|/\u{e9}{7900}", query in ".*|[ -~]*|a{70000}|a{15900}", name in "\\PC*", value in ".*", host in ".*", proto in ".*",
        ) {
            let event = json!({"rawPath": path, "rawQueryString": query, "body": "{}",
                "headers": {name: value, "host": host, "x-forwarded-proto": proto},
                "requestContext": {"http": {"method": "POST"}, "domainName": host}});
            let request = request(&event);
            let expected = if path.starts_with('/') && path.len() <= MAX_URL_PART { &*path } else { "" };
            prop_assert_eq!((request.method(), request.path()), ("POST", expected));
            prop_assert_eq!(request.body(), b"{}");
        }
    }

    #[test]
    fn the_key_is_the_user_name() {
        let user = |authorization: &str| {
            request(&json!({"headers": {"authorization": authorization}, "requestContext": {"http": {"method": "POST"}}}))
                .basic_user()
        };
        let basic = |credentials: &str| STANDARD.encode(credentials);
        assert_eq!(user(&format!("Basic {}", basic("key:"))).as_deref(), Some("key"));
        assert_eq!(user(&format!("basic  {}", basic("key"))).as_deref(), Some("key"));
        assert_eq!(user(&format!("Basic {}", basic("key:password"))).as_deref(), Some("key"));
        for none in ["Bearer abc", "Basic", "Basic !", "", &format!("Basic {}", basic(":"))] {
            assert_eq!(user(none), None, "{none}");
        }
    }
}
