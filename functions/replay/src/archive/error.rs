//! What S3 did not do.

use super::keys::loggable_key;

/// S3's own messages are left out, since they may quote the request.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {cause}", loggable_key(key))]
pub struct StoreError {
    what: &'static str,
    key: String,
    cause: &'static str,
}

impl StoreError {
    pub fn new(what: &'static str, key: impl Into<String>, error: &object_store::Error) -> Self {
        use object_store::Error;
        let cause = match error {
            Error::NotFound { .. } => "it is not there",
            Error::Precondition { .. } => "it was written anew meanwhile",
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => "the role may not do that",
            Error::InvalidPath { .. } => "its key is none that can be read",
            _ => "S3 did not do it in time, or broke off",
        };
        StoreError { what, key: key.into(), cause }
    }

    /// From the error of a writer, which holds the client's.
    pub fn of_writer(what: &'static str, key: &str, error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(error) => StoreError::new(what, key, error),
            None => StoreError { what, key: key.to_owned(), cause: "writing broke off" },
        }
    }

    /// For an object that another run has written since this one read it.
    pub fn overwritten(key: &str) -> Self {
        StoreError { what: "cannot write", key: key.to_owned(), cause: "it was written anew meanwhile" }
    }

    pub fn corrupt(key: &str) -> Self {
        StoreError { what: "cannot unpack", key: key.to_owned(), cause: "its gzip is cut off or garbled" }
    }
}
