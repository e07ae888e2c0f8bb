//! Where addresses stand in a text, however it is encoded.

use crate::identity;

/// A text without percent-encoding and without escapes of JSON, however often that was done, and where each of its bytes
/// comes from.
pub struct Unescaped {
    pub text: String,
    /// For each byte of `text` the range of the source. Empty: nothing was encoded.
    sources: Vec<(usize, usize)>,
}

impl Unescaped {
    /// Who encodes it more often hides it from everybody.
    const MOST: usize = 5;

    pub fn of(text: &str) -> Self {
        let mut plain = Unescaped { text: text.to_owned(), sources: Vec::new() };
        for _ in 0..Self::MOST {
            if !plain.text.contains(['%', '\\']) {
                break;
            }
            let undone = plain.undone();
            if undone.text.len() == plain.text.len() {
                break;
            }
            plain = undone;
        }
        plain
    }

    /// Once less encoded. Bytes that are no text stay as they are.
    fn undone(&self) -> Self {
        let mut undone = Unescaped { text: String::with_capacity(self.text.len()), sources: Vec::new() };
        let mut at = 0;
        while let Some(written) = self.text[at..].chars().next() {
            let rest = &self.text.as_bytes()[at..];
            let (c, length) = { percent_encoded(rest).or_else(|| escaped(rest)) }
                .unwrap_or_else(|| (written, written.len_utf8()));
            undone.text.push(c);
            undone.sources.extend((0..c.len_utf8()).map(|_| self.source(at, at + length)));
            at += length;
        }
        undone
    }

    /// Where a part of the text comes from.
    pub fn source(&self, start: usize, end: usize) -> (usize, usize) {
        match (self.sources.get(start), self.sources.get(end - 1)) {
            (Some((first, _)), Some((_, last))) => (*first, *last),
            _ => (start, end),
        }
    }
}

/// The character that a text begins with as `%40` or `%C3%A9`, and how long that is.
fn percent_encoded(bytes: &[u8]) -> Option<(char, usize)> {
    let mut octets = [0; 4];
    for (place, escape) in bytes.chunks(3).take(octets.len()).enumerate() {
        let digits = escape.strip_prefix(b"%").filter(|digits| digits.len() == 2)?;
        octets[place] = u8::try_from(hexadecimal(digits)?).ok()?;
        if let Ok(text) = str::from_utf8(&octets[..=place]) {
            return text.chars().next().map(|c| (c, 3 * (place + 1)));
        }
    }
    None
}

/// Before what is five times a text within a text. A longer run is none of JSON's, and must not be counted at each step.
const MOST_SLASHES: usize = 31;

/// The character that a text begins with as JSON writes it within a text, `\u0040` or `\n`, and how long that is. Each time
/// that such a text is in another, there are more backslashes.
fn escaped(bytes: &[u8]) -> Option<(char, usize)> {
    let slashes = bytes.iter().take(MOST_SLASHES).take_while(|byte| **byte == b'\\').count();
    let rest = &bytes[slashes..];
    match rest.first().filter(|_| slashes > 0)? {
        b'n' | b'r' | b't' => Some((' ', slashes + 1)),
        mark @ (b'"' | b'/') => Some((char::from(*mark), slashes + 1)),
        b'u' => {
            // Half of a pair is a letter as any other here.
            let c = hexadecimal(rest.get(1..5)?)?;
            Some((char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), slashes + 5))
        }
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, 16).ok()
}

/// Whether a text is an address and no more. What may stand in one is a lot, so that a URL may pass for one.
pub fn is_address(text: &str) -> bool {
    let found = addresses_in(text);
    let is_query = || text.contains('&') && text.contains('=');
    let is_url = || text.contains(['?', ':']) || text.starts_with('/') || text.contains("/@") || is_query();
    let is_atom = || !text.contains(['<', '>', '(', ')', '[', ']', ',', ';', '"', '\\']);
    let ends_with_one = || found.last().is_some_and(|(_, end)| *end == text.len());
    found == [(0, text.len())]
        || identity::is_email(text) && !is_url() && (found.is_empty() || is_atom() && ends_with_one())
}

/// What looks like an address in a text: something before an `@`, and a domain with a dot behind it, or a number in
/// brackets. Before the `@` stand letters, digits and marks (RFC 5322, 3.2.3: atext); in a URL some of these marks end
/// what is before it.
pub fn addresses_in(text: &str) -> Vec<(usize, usize)> {
    const MARKS: &str = "!#$'*+^_~.-";
    const MARKS_OF_URLS: &str = "&=%{|}`";
    let is_mark = |c: char| MARKS.contains(c) || MARKS_OF_URLS.contains(c);
    let is_other = |c: char| !c.is_ascii() && !c.is_whitespace();
    let is_local = |c: char| c.is_ascii_alphanumeric() || MARKS.contains(c) || is_other(c);
    let is_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || is_other(c);
    let mut found = Vec::new();
    let (mut seen, mut is_url) = (0, false);
    // Of the fields of a query.
    let (mut has_and, mut has_equals) = (false, false);
    for (at, _) in text.match_indices('@') {
        let (before, behind) = (&text[..at], &text[at + 1..]);
        for c in text[seen..at].chars() {
            let goes_on = !c.is_whitespace();
            has_and = c == '&' || has_and && goes_on;
            has_equals = c == '=' || has_equals && goes_on;
            is_url = matches!(c, '/' | '?') || has_and && has_equals || is_url && goes_on;
        }
        seen = at;
        let quoted = before.strip_suffix('"').and_then(|inner| inner.rfind('"'));
        let start = quoted.unwrap_or_else(|| {
            let in_url = before.trim_end_matches(is_local).len();
            let start = match is_url && in_url < at {
                true => in_url,
                false => before.trim_end_matches(|c| is_local(c) || is_mark(c)).len(),
            };
            // An apostrophe before it is no part of it.
            let local = before[start..].trim_start_matches(is_mark).len();
            if local == 0 { start } else { at - local }
        });
        let in_brackets =
            behind.strip_prefix('[').and_then(|inner| inner.bytes().take(64).position(|byte| byte == b']'));
        let domain = match in_brackets {
            Some(length) => &behind[..length + 2],
            None => {
                let length = behind.find(|c| !is_domain(c)).unwrap_or(behind.len());
                behind[..length].trim_end_matches(['.', '-', '_'])
            }
        };
        if start < at && (domain.contains('.') || domain.starts_with('[')) {
            found.push((start, at + 1 + domain.len()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_within_texts() {
        let found = |text: &'static str| -> Vec<&str> {
            addresses_in(text).into_iter().map(|(start, end)| &text[start..end]).collect()
        };
        assert_eq!(
            found("550 <ana@example.org>: unknown; try bo.b+x@mail.example.co."),
            ["ana@example.org", "bo.b+x@mail.example.co"]
        );
        assert_eq!(found("é.ö@exämple.org"), ["é.ö@exämple.org"]);
        assert_eq!(found("User 'ana@example.org' *bo@example.org*"), ["ana@example.org", "bo@example.org"]);
        assert_eq!(
            found(r#"to "ana b"@example.org, bo@[10.0.0.1]"#),
            [r#""ana b"@example.org"#, "bo@[10.0.0.1]"]
        );
        assert_eq!(
            found("to {tom&jerry@example.org} or ana=@example.org, a%b|c@my_host.example.org"),
            ["tom&jerry@example.org", "ana=@example.org", "a%b|c@my_host.example.org"]
        );
        assert_eq!(found("bounces+1-ana=example.org@em.x.com"), ["bounces+1-ana=example.org@em.x.com"]);
        assert_eq!(found("x.org/u?a=b@c.org&e=d@e.org f=g@h.org"), ["b@c.org", "d@e.org", "f=g@h.org"]);
        assert_eq!(found("https://x.org/?e=ana=@c.org"), ["e=ana=@c.org"]);
        assert_eq!(found("=@example.org"), ["=@example.org"]);
        for none in ["a @ b.c", "https://x.org/@ana.b", "@example.org", "a@localhost", "12 @ 3.50", "a@.", ""]
        {
            assert!(found(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_character_by_character() {
        for (text, plain) in [
            ("%C3%A9%aa%40x", "é%aa@x"),
            ("%25%34%30", "@"),
            ("%E2%82%AC%f0%9f%98%80", "€😀"),
            ("é%C3%C3%A9%C3", "é%C3é%C3"),
            ("%4", "%4"),
            ("%+4%4g%4é", "%+4%4g%4é"),
            ("%", "%"),
            // As JSON writes a text within a text, once and twice.
            (r#"\"a\/b\nc\rd\te\x"#, r#""a/b c d e\x"#),
            (r#"\\"a\\/b\\u0040\ud800"#, "\"a/b@\u{fffd}"),
            (r"\u004", r"\u004"),
        ] {
            assert_eq!(Unescaped::of(text).text, plain, "{text}");
        }
        let undone = Unescaped::of("a%C3%A9%2540b");
        assert_eq!((&*undone.text, undone.source(1, 3), undone.source(3, 4)), ("aé@b", (1, 7), (7, 12)));
    }

    #[test]
    fn a_run_of_backslashes_is_counted_no_further_than_json_goes() {
        let after = |slashes: usize| ["\\".repeat(slashes).as_bytes(), b"u0040"].concat();
        assert_eq!(escaped(&after(MOST_SLASHES)), Some(('@', MOST_SLASHES + 5)));
        assert_eq!(escaped(&after(MOST_SLASHES + 1)), None);
        assert_eq!(escaped(b"u0040"), None);
    }

    #[test]
    fn a_text_that_is_an_address_and_no_more() {
        for whole in [
            "ana@example.org",
            "tom&jerry@example.org",
            "tom/jerry@example.org",
            "a=b/c@example.org",
            "a&b/c@example.org",
            "bounces+1-ana=example.org@em.x.com",
            "ana@exa$mple.org",
            r#""ana b"@example.org"#,
            "bo@[10.0.0.1]",
        ] {
            assert!(is_address(whole), "{whole}");
        }
        // What has one within: its hash must be that of the address.
        for within in [
            "<ana@example.org>",
            "rfc822;ana@example.org",
            "ana@example.org,",
            "(ana@example.org)",
            r#"["ana@example.org"]"#,
            "mailto:ana@example.org",
            "https://x.org/?e=ana@example.org",
            "?e=ana@example.org",
            "/u/ana@example.org",
        ] {
            assert!(!is_address(within), "{within}");
            let [(start, end)] = addresses_in(within)[..] else { panic!("{within}") };
            assert_eq!(&within[start..end], "ana@example.org");
        }
        for none in ["medium.com/@ana.b", "ana@localhost", "@example.org"] {
            assert!(!is_address(none) && addresses_in(none).is_empty(), "{none}");
        }
    }
}
