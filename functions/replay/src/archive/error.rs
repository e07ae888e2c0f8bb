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
            Error::NotFound { .. } => "it does not exist",
            Error::Precondition { .. } => "it was overwritten meanwhile",
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                "the function's role does not allow it"
            }
            Error::InvalidPath { .. } => "its key is invalid",
            _ => "S3 did not answer in time, or the connection broke",
        };
        StoreError { what, key: key.into(), cause }
    }

    /// From the error of a writer, which holds the client's.
    pub fn of_writer(what: &'static str, key: &str, error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(error) => StoreError::new(what, key, error),
            None => StoreError { what, key: key.to_owned(), cause: "the upload broke off" },
        }
    }

    /// For an object that another run has written since this one read it.
    pub fn overwritten(key: &str) -> Self {
        StoreError { what: "cannot write", key: key.to_owned(), cause: "it was overwritten meanwhile" }
    }

    pub fn corrupt(key: &str) -> Self {
        StoreError {
            what: "cannot decompress",
            key: key.to_owned(),
            cause: "its gzip data is cut off or corrupt",
        }
    }
}
