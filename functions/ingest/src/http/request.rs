//! A request as a Function URL hands it over: payload format 2.0.
//!
//! Read leniently and by hand. `lambda_http` panics over a `Host`, a query or a base64 body that it cannot parse,
//! and refuses an event for one odd header: each time a webhook would be gone before anybody looked at it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_core::json::{self, Json};
use relay_platform::trace::TraceHeader;
use serde_json::value::RawValue;
use tokio::time::Instant;

/// What matters of a request. What is missing or of the wrong type is empty.
#[derive(Debug)]
pub struct InboundRequest<'a> {
    /// The HTTP method.
    pub method: Cow<'a, str>,
    /// The path, as sent.
    pub path: Cow<'a, str>,
    /// The query, as sent and without its question mark.
    pub query: Cow<'a, str>,
    /// The body came as text: of bytes that are none, Lambda's text is beyond repair.
    pub is_text: bool,
    /// X-Ray's, as Lambda hands it over.
    pub trace: Option<TraceHeader>,
    /// When the queues must have its events.
    pub deadline: Instant,
    body: Option<Json<'a>>,
    headers: Option<Json<'a>>,
}

impl<'a> InboundRequest<'a> {
    /// Reads an event. One that is none of a Function URL's has no path, which is an unknown one. The body is not decoded
    /// before somebody asks for it: up to 6 MB of anybody's.
    pub fn read(event: &'a RawValue, trace_header: Option<&str>, deadline: Instant) -> Self {
        let [mut method, mut path, mut query] = [const { Cow::Borrowed("") }; 3];
        let (mut is_base64, mut body, mut headers) = (false, None, None);
        for (key, value) in json::fields(event.into()) {
            let text = || json::text(value).unwrap_or_default();
            match &*key {
                "rawPath" => path = text(),
                "rawQueryString" => query = text(),
                "body" => body = Some(value),
                "isBase64Encoded" => is_base64 = value.get() == "true",
                "headers" => headers = Some(value),
                "requestContext" => method = http_method(value).and_then(json::text).unwrap_or_default(),
                _ => (),
            }
        }
        let trace = trace_header.and_then(TraceHeader::parse);
        InboundRequest { method, path, query, is_text: !is_base64, trace, deadline, body, headers }
    }

    /// The body's bytes.
    pub fn body(&self) -> Cow<'a, [u8]> {
        let text = self.body.and_then(json::text).unwrap_or_default();
        if !self.is_text
            && let Ok(bytes) = STANDARD.decode(text.as_bytes())
        {
            return Cow::Owned(bytes);
        }
        // What is not base64 after all is kept as it came.
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    /// The first bytes of the body, at most so many. They cost no more, however long it is.
    pub fn head(&self, limit: usize) -> Cow<'a, [u8]> {
        let Some(body) = self.body else { return Cow::Borrowed(&[]) };
        let base64_head = || STANDARD.decode(json::text_head(body, limit.div_ceil(3) * 4)).ok();
        if !self.is_text
            && let Some(mut bytes) = base64_head()
        {
            bytes.truncate(limit);
            return Cow::Owned(bytes);
        }
        json::text_head(body, limit)
    }

    /// The first value of a query parameter, not percent-decoded: tokens have no character that needs it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A header's value, trimmed. Lambda writes names in lower case and joins equal ones by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let named = json::fields(self.headers?).filter(|(key, _)| key.eq_ignore_ascii_case(name));
        // Of several the one that is spelled so counts, else the last.
        let (_, value) = named.max_by_key(|(key, _)| key == name)?;
        Some(json::text(value)?.trim().to_owned())
    }

    /// The user name of Basic authentication, with or without the colon that belongs behind it.
    pub fn basic_user(&self) -> Option<String> {
        let header = self.header("authorization")?;
        let (scheme, credentials) = header.split_once(' ')?;
        let credentials = STANDARD.decode(credentials.trim()).ok()?;
        let credentials = String::from_utf8(credentials).ok()?;
        let user = credentials.split(':').next().unwrap_or_default();
        (scheme.eq_ignore_ascii_case("basic") && !user.is_empty()).then(|| user.to_owned())
    }
}

fn http_method(context: Json<'_>) -> Option<Json<'_>> {
    field(field(context, "http")?, "method")
}

/// Of equal keys the last counts, as in most JSON parsers.
fn field<'a>(object: Json<'a>, name: &str) -> Option<Json<'a>> {
    json::fields(object).filter(|(key, _)| key == name).last().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &str) -> (String, String, Option<String>, Vec<u8>) {
        let event: Box<RawValue> = serde_json::from_str(event).unwrap();
        let request = InboundRequest::read(&event, None, Instant::now());
        let token = request.parameter("token").map(str::to_owned);
        let body = request.body().into_owned();
        for limit in [0, 1, 3, 5, 7, 1_000] {
            assert_eq!(&*request.head(limit), &body[..body.len().min(limit)]);
        }
        (request.method.into_owned(), request.path.into_owned(), token, body)
    }

    #[test]
    fn what_lambda_sends() {
        let event = r#"{"version":"2.0","rawPath":"/vero","rawQueryString":"a=b&token=x&token=y","headers":{"host":"a b"},
            "requestContext":{"http":{"method":"POST"}},"body":"eyJhIjoiw6kifQ==","isBase64Encoded":true}"#;
        let body = "{\"a\":\"é\"}".as_bytes().to_vec();
        assert_eq!(read(event), ("POST".into(), "/vero".into(), Some("x".into()), body));
        // Of equal keys the last counts, at every level.
        let event = r#"{"rawPath":"/y","rawPath":"/vero/x","requestContext":{"http":{"method":"GET","method":"POST"}},
            "body":"{\"a\":1}"}"#;
        assert_eq!(read(event), ("POST".into(), "/vero/x".into(), None, b"{\"a\":1}".to_vec()));
    }

    #[test]
    fn whatever_lambda_might_send() {
        let nothing = (String::new(), String::new(), None, Vec::new());
        for event in
            ["null", "[]", "{}", r#"{"rawPath":5,"requestContext":[],"body":null,"isBase64Encoded":"x"}"#]
        {
            assert_eq!(read(event), nothing, "{event}");
        }
        let not_base64 =
            read(r#"{"body":"{\"a\":1}","isBase64Encoded":true,"rawQueryString":"a \"<>&token"}"#);
        assert_eq!(not_base64, (String::new(), String::new(), None, b"{\"a\":1}".to_vec()));
    }

    #[test]
    fn the_key_is_the_user_name() {
        let user = |authorization: &str| {
            let event = format!(r#"{{"headers":{{"Authorization":"{authorization}"}}}}"#);
            InboundRequest::read(serde_json::from_str(&event).unwrap(), None, Instant::now()).basic_user()
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
