//! Whom an event is about.

use std::borrow::Cow;

use crate::json::{Json, Kind};

/// Vero takes ids, addresses and event names of fewer characters than this (Track API reference).
pub const VERO_TEXT_LIMIT: usize = 255;

/// Whom an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The customer's own id, not blank.
    pub id: Option<String>,
    /// An address that looks like one.
    pub email: Option<String>,
}

/// Whether Vero refuses an id, an address or a name for its length.
pub fn is_too_long(text: &str) -> bool {
    text.chars().count() >= VERO_TEXT_LIMIT
}

/// An id: a text that is not blank, trimmed, or a number in its own spelling.
pub fn id(value: Json<'_>) -> Option<String> {
    match value.kind() {
        Kind::Number => Some(value.get().to_owned()),
        _ => trimmed(value).filter(|id| !id.is_empty()).map(Cow::into_owned),
    }
}

/// An address, trimmed: one `@` with something before it and a dot after it, no white space, under 255
/// characters. Vero refuses the whole call for an address that is none (github.com/getvero/vero, issue 52).
pub fn email(value: Json<'_>) -> Option<String> {
    trimmed(value).filter(|text| is_email(text)).map(Cow::into_owned)
}

/// Whether a text is an address, and nothing else.
pub(crate) fn is_email(text: &str) -> bool {
    !is_too_long(text)
        && !text.contains(char::is_whitespace)
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.contains('@') && domain.contains('.'))
}

/// A JSON string's text without white space around it.
pub(crate) fn trimmed(value: Json<'_>) -> Option<Cow<'_, str>> {
    value.as_str().map(|text| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    })
}
