//! What can go wrong before the first batch.

use relay_platform::environment::ConfigErrors;

/// Why the worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key cannot be had.
    #[error(transparent)]
    Secrets(#[from] ConfigErrors),
    /// An HTTP client cannot be made.
    #[error("the HTTP client could not be made; is the system's certificate store readable?")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}
