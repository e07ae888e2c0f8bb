//! What may not be known: an account without the right to look, or a stand-in for AWS that lacks the call.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// A value, or why there is none. In JSON the value itself, or `{"unknown": "why"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Known<T> {
    /// Not known.
    No {
        /// Why not.
        unknown: String,
    },
    /// Known.
    Yes(T),
}

impl<T> Known<T> {
    /// The value, if it is known.
    pub fn yes(&self) -> Option<&T> {
        match self {
            Known::Yes(value) => Some(value),
            Known::No { .. } => None,
        }
    }

    /// This, or the other if this is not known.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if matches!(self, Known::Yes(_)) { self } else { other }
    }

    /// Why it is not known.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Known::No { unknown } => Some(unknown),
            Known::Yes(_) => None,
        }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known::No { unknown: "nobody has looked".to_owned() }
    }
}

impl<T, E: Display> From<Result<T, E>> for Known<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Known::Yes(value),
            Err(error) => Known::No { unknown: error.to_string() },
        }
    }
}
