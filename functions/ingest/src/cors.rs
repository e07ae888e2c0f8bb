//! Which sites' browsers may send events.

use crate::answer::Answer;
use crate::request::Request;

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

    /// What a browser may be told of its request.
    pub fn allowed(&self, request: &Request<'_>) -> Option<String> {
        let origin = request.header("origin")?;
        self.0.contains(&origin.to_ascii_lowercase()).then_some(origin)
    }

    /// An answer that the sender's browser shows to its page, if the page may see it.
    pub fn expose(&self, request: &Request<'_>, answer: Answer) -> Answer {
        if self.0.is_empty() {
            return answer;
        }
        // Caches must not hand one origin's answer to another.
        let answer = answer.with_header("vary", "Origin");
        match self.allowed(request) {
            Some(origin) => answer.with_header("access-control-allow-origin", origin),
            None => answer,
        }
    }

    /// The answer to a browser that asks whether it may send events.
    pub fn preflight(&self, request: &Request<'_>) -> Answer {
        let answer = self.expose(request, Answer::empty());
        if self.allowed(request).is_none() {
            return answer;
        }
        answer
            .with_header("access-control-allow-methods", "POST, OPTIONS")
            // Those that Segment's SDKs send.
            .with_header(
                "access-control-allow-headers",
                "authorization, content-type, content-encoding, x-retry-count",
            )
            .with_header("access-control-max-age", "86400")
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
