//! What can go wrong before the first invocation.

use relay_platform::environment::ConfigErrors;

use crate::archive::S3ClientError;

/// Why replay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    S3(#[from] S3ClientError),
}
