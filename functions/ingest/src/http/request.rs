//! A request to the Function URL, as `lambda_http` reads it.
//!
//! `lambda_http` refuses an event with a header that HTTP does not allow, and makes a URL of `Host`,
//! `X-Forwarded-Proto`, path and query, over which it panics if they make none. Either way a webhook would be gone before
//! anybody looked at it, so [`read`] leaves out what nobody here needs.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::header::{HOST, HeaderName, HeaderValue};
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Request, RequestExt};
use relay_platform::trace::TraceHeader;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

/// The most bytes of a path or query. A URL of `http` has 64 KB, in which a byte may take three.
const MAX_URL_PART: usize = 20_000;

/// Reads an event for `lambda_http`. One that is none of a Function URL's asks for a path that is not there.
pub fn read(event: &RawValue) -> LambdaRequest {
    let request = serde_json::from_str(event.get()).ok().or_else(|| without_illegal_headers(event));
    let mut request: ApiGatewayV2httpRequest = request.unwrap_or_else(|| {
        tracing::error!("an event that is no request to a Function URL was refused");
        ApiGatewayV2httpRequest::default()
    });
    request.headers.remove(HOST);
    request.request_context.domain_name = None;
    request.raw_path = request.raw_path.filter(|path| path.starts_with('/') && path.len() <= MAX_URL_PART);
    request.raw_query_string = request.raw_query_string.filter(|query| query.len() <= MAX_URL_PART);
    if let Some(query) = &mut request.raw_query_string {
        query.retain(|character| {
            !(character.is_control() || matches!(character, ' ' | '"' | '#' | '<' | '>'))
        });
    }
    LambdaRequest::ApiGatewayV2(request)
}

fn without_illegal_headers(event: &RawValue) -> Option<ApiGatewayV2httpRequest> {
    let mut event: Value = serde_json::from_str(event.get()).ok()?;
    event.get_mut("headers")?.as_object_mut()?.retain(|name, value| {
        HeaderName::from_bytes(name.as_bytes()).is_ok()
            && value.as_str().is_some_and(|value| HeaderValue::from_str(value).is_ok())
    });
    serde_json::from_value(event).ok()
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
    use serde_json::json;

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
    fn an_event_of_something_else_asks_for_nothing_that_is_here() {
        for event in [json!(null), json!([]), json!({}), json!({"Records": []}), json!({"rawPath": 5})] {
            assert_eq!(fields(&event), ("GET".into(), "".into(), None, vec![]), "{event}");
        }
    }

    proptest! {
        #[test]
        fn no_request_is_lost_over_its_head(
            path in "/?\\PC*|:.*|/a{30000}", query in ".*|[ -~]*|a{70000}", name in "\\PC*", value in ".*", host in ".*", proto in ".*",
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
