//! How far a forget has come, in a form that a continuation carries.

use serde::{Deserialize, Serialize};

use crate::archive::loggable_key;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetProgress {
    /// The key of the last object that is done; `None`: none is.
    pub after: Option<String>,
    #[serde(default)]
    pub counts: ForgetCounts,
}

impl ForgetProgress {
    /// Whether an earlier invocation may have returned this. Whoever invokes brings it, and it is logged.
    pub fn is_valid(&self) -> bool {
        self.after.as_ref().is_none_or(|key| loggable_key(key) == key)
    }

    /// The same, as a log may have it.
    pub fn redacted(&self) -> Self {
        ForgetProgress {
            after: self.after.as_deref().map(|key| loggable_key(key).to_owned()),
            ..self.clone()
        }
    }
}

/// The names are those of the response (docs/archive.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetCounts {
    /// Objects that were read.
    pub objects: u64,
    /// Objects that had rows of the user.
    pub matched: u64,
    /// Objects that were written again.
    pub rewritten: u64,
    /// Rows of the user.
    pub rows: u64,
    /// Lines that are no rows of the archive. They stay; whether they are the user's is not known.
    pub unreadable: u64,
    /// Objects that stay, since they cannot be read to their end.
    pub left: u64,
}
