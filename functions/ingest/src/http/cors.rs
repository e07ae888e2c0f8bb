//! Which sites' browsers may send events.

use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};

use crate::http::request::InboundRequest;
use crate::http::response::{self, Response};

/// The headers that Segment's SDKs send.
const SDK_HEADERS: &str = "authorization, content-type, content-encoding, x-retry-count";

/// Origins, as browsers write them: scheme, host and port, in lower case and without a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Parses origins separated by commas; the second value counts the entries that are none. `*` is none: a page
    /// that sends events is one of the operator's.
    pub fn parse(list: &str) -> (Self, usize) {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries = entries.map(|entry| entry.trim_end_matches('/').to_ascii_lowercase());
        let (origins, others): (Vec<String>, Vec<String>) = entries.partition(|entry| is_origin(entry));
        (Origins(origins), others.len())
    }

    /// The origin of a request whose response its page may see.
    fn allowed(&self, request: &InboundRequest) -> Option<HeaderValue> {
        let origin = request.header("origin")?;
        self.0.contains(&origin.to_ascii_lowercase()).then(|| HeaderValue::from_str(origin).ok())?
    }

    /// A response that the sender's browser shows to its page, if the page may see it.
    pub fn expose(&self, request: &InboundRequest, mut response: Response) -> Response {
        if self.0.is_empty() {
            return response;
        }
        // Caches must not hand one origin's response to another.
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(request) {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    }

    /// The response to a browser that asks whether it may send events, still to be exposed.
    pub fn preflight(&self, request: &InboundRequest) -> Response {
        let mut response = response::empty();
        if self.allowed(request).is_some() {
            response.headers_mut().extend([
                (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS")),
                (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SDK_HEADERS)),
                (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
            ]);
        }
        response
    }
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '*' | '?' | '#' | '@'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_one_by_one() {
        let (origins, others) = Origins::parse(
            " https://Shop.example.com/, http://localhost:3000,*,shop.example.com, https://*.x.y,null",
        );
        assert_eq!(origins, Origins(vec!["https://shop.example.com".into(), "http://localhost:3000".into()]));
        assert_eq!(others, 4);
    }
}
