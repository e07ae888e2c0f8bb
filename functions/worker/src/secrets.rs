//! The destinations' keys, from SSM or, for local runs, from the environment.

use std::collections::HashMap;

use relay_platform::aws::Aws;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, SecretSource};

/// Why a key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// SSM did not answer, or refused.
    #[error(
        "SSM did not hand out the parameters {names} ({code}). The function's role must be allowed \
         ssm:GetParameters on them, and kms:Decrypt if they are encrypted with a key of your own"
    )]
    Unreadable {
        /// The parameters' names.
        names: String,
        /// SSM's error code.
        code: String,
    },
    /// A parameter is not there, or has no value.
    #[error(
        "the SSM parameter {0} does not exist in this region or is empty. Make it with `aws ssm put-parameter \
         --type SecureString --name {0} --value …`"
    )]
    Missing(String),
}

/// The keys of the destinations that are on.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Segment's write key.
    pub segment: Option<SecretString>,
    /// Vero's auth token.
    pub vero: Option<SecretString>,
}

/// Reads all keys, with at most one call to SSM.
///
/// # Errors
/// [`SecretError`]; a destination whose key is missing must not quietly stay off.
pub async fn read(aws: &Aws, config: &Config) -> Result<Secrets, SecretError> {
    let sources = [&config.segment, &config.vero].map(|access| access.as_ref().map(|access| &access.secret));
    let names: Vec<String> = sources
        .iter()
        .flatten()
        .filter_map(|source| match source {
            SecretSource::Parameter(name) => Some(name.clone()),
            SecretSource::Plain(_) => None,
        })
        .collect();
    let values = if names.is_empty() { HashMap::new() } else { parameters(aws, names).await? };
    let secret = |source: Option<&SecretSource>| match source {
        None => Ok(None),
        Some(SecretSource::Plain(secret)) => Ok(Some(secret.clone())),
        Some(SecretSource::Parameter(name)) => {
            let value = values.get(name).filter(|value| !value.expose_secret().is_empty());
            value.cloned().map(Some).ok_or_else(|| SecretError::Missing(name.clone()))
        }
    };
    Ok(Secrets { segment: secret(sources[0])?, vero: secret(sources[1])? })
}

async fn parameters(aws: &Aws, mut names: Vec<String>) -> Result<HashMap<String, SecretString>, SecretError> {
    use aws_sdk_ssm::error::ProvideErrorMetadata;
    names.sort();
    names.dedup(); // SSM refuses a name that comes twice
    let (shared, endpoint) = aws.ssm_parts();
    let mut config = aws_sdk_ssm::config::Builder::from(shared);
    config.set_endpoint_url(endpoint);
    let client = aws_sdk_ssm::Client::from_conf(config.build());
    let call = client.get_parameters().set_names(Some(names.clone())).with_decryption(true).send();
    let answer = call.await.map_err(|error| SecretError::Unreadable {
        names: names.join(", "),
        code: error.as_service_error().and_then(|error| error.code()).unwrap_or("no answer").to_owned(),
    })?;
    let value = |parameter: &aws_sdk_ssm::types::Parameter| {
        Some((parameter.name()?.to_owned(), parameter.value()?.trim().to_owned().into()))
    };
    Ok(answer.parameters().iter().filter_map(value).collect())
}
