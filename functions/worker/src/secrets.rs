//! The destinations' keys, from SSM or, for local runs, from the environment.

use std::collections::HashMap;

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::Parameter;
use relay_platform::aws::Aws;
use relay_platform::environment::{Fault, Faults};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, PARAMETER, SecretSource};

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
/// The variables whose parameters cannot be read; a destination whose key is missing must not quietly stay off.
pub async fn read(aws: &Aws, config: &Config) -> Result<Secrets, Faults> {
    let sources = [&config.segment, &config.vero].map(|access| access.as_ref().map(|access| &access.secret));
    let named: Vec<(&str, &str)> = sources.iter().flatten().filter_map(|source| source.parameter()).collect();
    let values = if named.is_empty() { HashMap::new() } else { parameters(aws, &named).await? };
    let mut faults = Faults::default();
    let [segment, vero] = sources.map(|source| match source? {
        SecretSource::Plain(secret) => Some(secret.clone()),
        SecretSource::Parameter { variable, name } => {
            let value = values.get(name).filter(|value| !value.expose_secret().is_empty());
            if value.is_none() {
                let problem = format!("names {name}, which does not exist in this region or is empty");
                faults.0.push(Fault { variable: variable.clone(), problem, form: PARAMETER });
            }
            value.cloned()
        }
    });
    if faults.0.is_empty() { Ok(Secrets { segment, vero }) } else { Err(faults) }
}

impl SecretSource {
    /// The variable and the parameter that it names.
    fn parameter(&self) -> Option<(&str, &str)> {
        match self {
            SecretSource::Parameter { variable, name } => Some((variable, name)),
            SecretSource::Plain(_) => None,
        }
    }
}

/// The parameters' values, under each name by which they can be asked for.
async fn parameters(aws: &Aws, named: &[(&str, &str)]) -> Result<HashMap<String, SecretString>, Faults> {
    let mut names: Vec<String> = named.iter().map(|(_, name)| (*name).to_owned()).collect();
    names.sort();
    names.dedup(); // SSM refuses a name that comes twice
    let (shared, endpoint) = aws.ssm_parts();
    let mut config = aws_sdk_ssm::config::Builder::from(shared);
    config.set_endpoint_url(endpoint);
    let client = aws_sdk_ssm::Client::from_conf(config.build());
    let call = client.get_parameters().set_names(Some(names)).with_decryption(true).send();
    let answer = call.await.map_err(|error| {
        let code = error.as_service_error().and_then(|error| error.code()).unwrap_or("no answer");
        let fault = |(variable, name): &(&str, &str)| {
            let problem = format!(
                "names {name}, which SSM did not hand out ({code}); the role needs ssm:GetParameters on it, and \
                 kms:Decrypt where a key of your own encrypts it"
            );
            Fault { variable: (*variable).to_owned(), problem, form: PARAMETER }
        };
        Faults(named.iter().map(fault).collect())
    })?;
    let mut values = HashMap::new();
    for parameter in answer.parameters() {
        if let Some(value) = parameter.value() {
            let value = SecretString::from(value.trim());
            values.extend(known_as(parameter).map(|name| (name, value.clone())));
        }
    }
    Ok(values)
}

/// Asked for by an ARN or with a version or label behind a colon, SSM answers with the bare name.
fn known_as(parameter: &Parameter) -> impl Iterator<Item = String> {
    let name = parameter.name().unwrap_or_default();
    let selected = parameter.selector().map(|selector| format!("{name}{selector}"));
    [Some(name.to_owned()), parameter.arn().map(str::to_owned), selected].into_iter().flatten()
}
