//! Documents that operators write in JSON, and their mistakes.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A mistake in a document, for a log: it quotes no value, since the document may be another than was meant, and no name
/// that could be an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has a mistake at `{path}`: {problem}")]
pub struct DocumentError {
    /// Where in the document, from its top: `events.Signed Up.rename`.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

impl DocumentError {
    /// A mistake at this path.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        let is_plain = |c: char| c.is_alphanumeric() || " _.-[]?".contains(c);
        let (path, problem) = (path.into(), problem.into());
        let path =
            if path.chars().all(is_plain) { path } else { "(a place whose name is not shown)".to_owned() };
        DocumentError { path, problem }
    }
}

/// Reads JSON.
///
/// # Errors
/// If the text is none.
pub(crate) fn parse(json: &str) -> Result<Value, DocumentError> {
    serde_json::from_str(json)
        .map_err(|error| DocumentError::new(".", format!("the document is no JSON ({error})")))
}

/// What must be an object. serde would read an array as a struct, field by field.
///
/// # Errors
/// For the first that is none.
pub(crate) fn require_objects<'v>(
    parts: impl IntoIterator<Item = (String, &'v Value)>,
) -> Result<(), DocumentError> {
    match parts.into_iter().find(|(_, part)| !part.is_object()) {
        Some((path, _)) => Err(DocumentError::new(path, "it is no object")),
        None => Ok(()),
    }
}

/// Reads a document as its type.
///
/// # Errors
/// The first mistake, with its path.
pub(crate) fn read<T: DeserializeOwned>(document: Value) -> Result<T, DocumentError> {
    serde_path_to_error::deserialize(document)
        .map_err(|error| DocumentError::new(error.path().to_string(), expected(&error.inner().to_string())))
}

/// What serde expected. Before that it says what it found, word for word.
fn expected(error: &str) -> String {
    match (error.rsplit_once(", expected "), error.strip_prefix("missing field ")) {
        (Some((_, expected)), _) => format!("expected {expected}"),
        (None, Some(field)) => format!("lacks the field {field}"),
        (None, None) => "it cannot be read".to_owned(),
    }
}
