//! What can go wrong before the first batch.

use relay_platform::environment::ConfigErrors;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable cannot be used, or a key not be had.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// No connection can be made at all.
    #[error("the HTTP client could not be made; is the system's certificate store readable?")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}
