//! X-Ray's trace header, which travels with a message through SQS, so that receipt and delivery are one trace.

/// A trace header that SQS takes as the message system attribute `AWSTraceHeader`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader(String);

impl TraceHeader {
    /// Reads a header, such as Lambda hands one to each invocation, as far as it is of X-Ray's documented form (X-Ray
    /// developer guide, "Tracing header"): `Root`, `Parent` and `Sampled`. Lambda may add more (`Lineage`), and SQS
    /// refuses a message whose header it cannot read: no trace is worth a webhook.
    ///
    /// `None` too of a trace that is not sampled, which is every one while tracing is off: nothing of it is kept that
    /// anything could be part of.
    pub fn parse(header: &str) -> Option<Self> {
        let part = |name: &str| {
            let parts = header.split(';').filter_map(|part| part.trim().split_once('='));
            parts.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let sampled = part("Sampled");
        if sampled == Some("0") {
            return None;
        }
        let root = part("Root").filter(|root| is_root(root))?;
        let mut header = format!("Root={root}");
        if let Some(parent) = part("Parent").filter(|parent| is_hex(parent, 16)) {
            header.push_str(&format!(";Parent={parent}"));
        }
        if sampled == Some("1") {
            header.push_str(";Sampled=1");
        }
        Some(TraceHeader(header))
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_root(root: &str) -> bool {
    let mut parts = root.split('-');
    let (version, time, id) = (parts.next(), parts.next(), parts.next());
    version == Some("1")
        && time.is_some_and(|time| is_hex(time, 8))
        && id.is_some_and(|id| is_hex(id, 24))
        && parts.next().is_none()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700";

    #[test]
    fn what_is_documented_is_kept_and_nothing_else() {
        for (header, kept) in [
            (ROOT.to_owned(), Some(ROOT.to_owned())),
            (format!("{ROOT};Parent=9a9197af755a6419;Sampled=1"), None),
            (
                format!("{ROOT};Parent=9a9197af755a6419;Sampled=1;Lineage=1:a87bd80c:0"),
                Some(format!("{ROOT};Parent=9a9197af755a6419;Sampled=1")),
            ),
            (format!("Self=1-67891234-12456789abcdef012345678a; {ROOT};Sampled=?"), Some(ROOT.to_owned())),
            (format!("{ROOT};Parent=none"), Some(ROOT.to_owned())),
        ] {
            let expected = kept.unwrap_or_else(|| header.clone());
            assert_eq!(TraceHeader::parse(&header).map(|header| header.0), Some(expected), "{header}");
        }
        for header in
            ["", "Root", "Root=", "Root=1-5bef4de7", "Parent=9a9197af755a6419", &format!("{ROOT}-1")]
        {
            assert_eq!(TraceHeader::parse(header), None, "{header}");
        }
    }
}
