//! Secrets, and other texts too large for a variable, from SSM or, for local runs, from the environment.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use crate::aws::Aws;
use crate::environment::{ConfigError, ConfigErrors, Environment, Expected};
use crate::ssm;

/// The form of a variable that names a parameter.
const PARAMETER: Expected =
    Expected { form: "the name of an SSM SecureString parameter", example: "/vero-relay/segment-write-key" };

/// A secret, or the name of the SSM parameter that holds it.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The secret itself: for local runs.
    Plain(SecretString),
    /// The name of an SSM SecureString, and the variable that holds that name.
    Parameter {
        /// The variable.
        variable: String,
        /// The name.
        name: String,
    },
}

impl SecretSource {
    /// From the variable `name`, or from the parameter that `name` and `_PARAMETER` names; `None` when neither is
    /// set.
    ///
    /// # Errors
    /// A [`ConfigError`] when both are, or when the parameter's name cannot be one.
    pub fn of(
        environment: &Environment,
        name: &str,
        expected: Expected,
    ) -> Result<Option<Self>, ConfigError> {
        let parameter = format!("{name}_PARAMETER");
        match (environment.get(name), environment.get(&parameter)) {
            (Some(_), Some(_)) => {
                let problem = format!("and {parameter} are both set; one of them has to go");
                Err(ConfigError { variable: name.to_owned(), problem, expected })
            }
            (Some(plain), None) => Ok(Some(SecretSource::Plain(plain.into()))),
            (None, Some(path)) if path.contains(char::is_whitespace) => Err(ConfigError {
                variable: parameter,
                problem: "holds white space".to_owned(),
                expected: PARAMETER,
            }),
            (None, Some(path)) => {
                Ok(Some(SecretSource::Parameter { variable: parameter, name: path.to_owned() }))
            }
            (None, None) => Ok(None),
        }
    }

    /// The variable and the parameter that it names.
    fn parameter(&self) -> Option<(&str, &str)> {
        match self {
            SecretSource::Parameter { variable, name } => Some((variable, name)),
            SecretSource::Plain(_) => None,
        }
    }
}

/// Reads secrets, with at most one call to SSM; the result has their order.
///
/// # Errors
/// The variables whose parameters cannot be read, do not exist or are empty: whatever needs one must not quietly go
/// without it.
pub async fn read_all(aws: &Aws, sources: &[&SecretSource]) -> Result<Vec<SecretString>, ConfigErrors> {
    let named: Vec<(&str, &str)> = sources.iter().filter_map(|source| source.parameter()).collect();
    let values = if named.is_empty() { HashMap::new() } else { parameters(aws, &named).await? };
    let mut errors = ConfigErrors::default();
    let mut secrets = Vec::with_capacity(sources.len());
    for source in sources {
        match source {
            SecretSource::Plain(secret) => secrets.push(secret.clone()),
            SecretSource::Parameter { variable, name } => {
                match values.get(name).filter(|value| !value.expose_secret().is_empty()) {
                    Some(value) => secrets.push(value.clone()),
                    None => {
                        let problem =
                            format!("names {name}, which does not exist in this region or is empty");
                        errors.0.push(ConfigError {
                            variable: variable.clone(),
                            problem,
                            expected: PARAMETER,
                        });
                    }
                }
            }
        }
    }
    if errors.0.is_empty() { Ok(secrets) } else { Err(errors) }
}

/// The parameters' values, under each name by which they can be asked for.
async fn parameters(
    aws: &Aws,
    named: &[(&str, &str)],
) -> Result<HashMap<String, SecretString>, ConfigErrors> {
    let mut names: Vec<String> = named.iter().map(|(_, name)| (*name).to_owned()).collect();
    names.sort();
    names.dedup(); // SSM refuses a name that comes twice
    let found = aws.get_parameters(names).await.map_err(|reason| {
        let error = |(variable, name): &(&str, &str)| {
            let problem = format!(
                "names {name}, which SSM did not hand out ({reason}); the role needs ssm:GetParameters on it, and \
                 kms:Decrypt where a key of your own encrypts it"
            );
            ConfigError { variable: (*variable).to_owned(), problem, expected: PARAMETER }
        };
        ConfigErrors(named.iter().map(error).collect())
    })?;
    let mut values = HashMap::new();
    for parameter in found {
        let value = SecretString::from(parameter.value().unwrap_or_default().trim());
        values.extend(ssm::names(&parameter).map(|name| (name, value.clone())));
    }
    Ok(values)
}
