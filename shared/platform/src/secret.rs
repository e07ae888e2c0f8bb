//! Secrets, and other texts too large for a variable, from SSM or, for local runs, from the environment.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use crate::aws::Aws;
use crate::environment::{Environment, Fault, Faults, Form};

/// The form of a variable that names a parameter.
const PARAMETER: Form =
    Form { is: "the name of an SSM SecureString parameter", example: "/vero-relay/segment-write-key" };

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
    /// A [`Fault`] when both are, or when the parameter's name cannot be one.
    pub fn of(environment: &Environment, name: &str, form: Form) -> Result<Option<Self>, Fault> {
        let parameter = format!("{name}_PARAMETER");
        match (environment.get(name), environment.get(&parameter)) {
            (Some(_), Some(_)) => {
                let problem = format!("and {parameter} are both set; one of them has to go");
                Err(Fault { variable: name.to_owned(), problem, form })
            }
            (Some(plain), None) => Ok(Some(SecretSource::Plain(plain.into()))),
            (None, Some(path)) if path.contains(char::is_whitespace) => {
                Err(Fault { variable: parameter, problem: "holds white space".to_owned(), form: PARAMETER })
            }
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

/// Reads secrets, with at most one call to SSM; the answer has their order.
///
/// # Errors
/// The variables whose parameters cannot be read, do not exist or are empty: whatever needs one must not quietly go
/// without it.
pub async fn read_all<const N: usize>(
    aws: &Aws,
    sources: [Option<&SecretSource>; N],
) -> Result<[Option<SecretString>; N], Faults> {
    let named: Vec<(&str, &str)> = sources.iter().flatten().filter_map(|source| source.parameter()).collect();
    let values = if named.is_empty() { HashMap::new() } else { parameters(aws, &named).await? };
    let mut faults = Faults::default();
    let secrets = sources.map(|source| match source? {
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
    if faults.0.is_empty() { Ok(secrets) } else { Err(faults) }
}

/// The parameters' values, under each name by which they can be asked for.
async fn parameters(aws: &Aws, named: &[(&str, &str)]) -> Result<HashMap<String, SecretString>, Faults> {
    let mut names: Vec<String> = named.iter().map(|(_, name)| (*name).to_owned()).collect();
    names.sort();
    names.dedup(); // SSM refuses a name that comes twice
    let found = aws.get_parameters(names).await.map_err(|reason| {
        let fault = |(variable, name): &(&str, &str)| {
            let problem = format!(
                "names {name}, which SSM did not hand out ({reason}); the role needs ssm:GetParameters on it, and \
                 kms:Decrypt where a key of your own encrypts it"
            );
            Fault { variable: (*variable).to_owned(), problem, form: PARAMETER }
        };
        Faults(named.iter().map(fault).collect())
    })?;
    let mut values = HashMap::new();
    for parameter in found {
        let value = SecretString::from(parameter.value.expose_secret().trim());
        values.extend(parameter.names().map(|name| (name, value.clone())));
    }
    Ok(values)
}
