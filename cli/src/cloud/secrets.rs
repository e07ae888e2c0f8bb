//! SSM: keys and the blueprint. A value leaves this file only to be compared, or because it is no secret.

use std::collections::BTreeMap;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::put_parameter::builders::PutParameterFluentBuilder;
use aws_sdk_ssm::types::{ParameterStringFilter, ParameterTier, ParameterType};
use relay_core::blueprint::Blueprint;
use relay_core::endpoints::{Endpoints, Reach};

use super::Cloud;
use crate::error::Error;
use crate::model::known::Known;
use crate::model::state::{Secret, Stack};

/// The template's parameter that names the blueprint.
pub const BLUEPRINT: &str = "BlueprintParameter";

/// The template's parameter that names the settings of webhook endpoints.
const ENDPOINTS: &str = "WebhookEndpointSettingsParameter";

/// Of the shared secret each line is one.
const SHARED_SECRET: &str = "SegmentSharedSecretParameter";

/// Why the worker cannot use a document.
fn fault(parameter: &str, value: &str, stack: &Stack) -> Option<String> {
    match parameter {
        BLUEPRINT => fault_of_blueprint(value, stack),
        ENDPOINTS => fault_of_endpoints(value, stack),
        _ => None,
    }
}

/// Why a stack's worker cannot use settings of endpoints.
pub fn fault_of_endpoints(value: &str, stack: &Stack) -> Option<String> {
    let allows_private = stack.parameter("WebhookPrivateAddresses") == "true";
    match Endpoints::parse(value, if allows_private { Reach::Anywhere } else { Reach::Public }) {
        Err(error) => Some(error.to_string()),
        Ok(endpoints) => {
            let missing = stack.endpoints().into_iter().find(|name| endpoints.get(name).is_none());
            missing.map(|name| format!("they do not describe {name}, which is on"))
        }
    }
}

fn fault_of_blueprint(value: &str, stack: &Stack) -> Option<String> {
    match Blueprint::parse(value) {
        Err(error) => Some(error.to_string()),
        Ok(blueprint)
            if blueprint.webhooks().hashes_at().is_some()
                && stack.parameter("AddressHashSecretParameter").is_empty() =>
        {
            Some("it hashes addresses, and AddressHashSecretParameter is empty".to_owned())
        }
        Ok(_) => None,
    }
}

fn has_blanks(parameter: &str, value: &str) -> bool {
    let is_blank = |c: char| c.is_whitespace() && !(c == '\n' && parameter == SHARED_SECRET);
    value.chars().any(is_blank)
}

impl Cloud {
    fn ssm(&self) -> Client {
        Client::new(&self.config)
    }

    /// What the stack reads from SSM, by the template's parameters that name it.
    pub async fn secrets(&self, stack: &Stack) -> BTreeMap<String, Known<Secret>> {
        let named =
            stack.parameters.iter().filter(|(name, value)| name.ends_with("Parameter") && !value.is_empty());
        let named: Vec<(&String, &String)> = named.collect();
        if named.is_empty() {
            return BTreeMap::new();
        }
        let names = named.iter().map(|(_, value)| (*value).clone()).collect();
        let call = self.ssm().get_parameters().set_names(Some(names)).with_decryption(true).send().await;
        let answer = match call.map_err(Error::aws("SSM GetParameters")) {
            Ok(answer) => answer,
            Err(error) => {
                let unknown = || Known::No { unknown: error.to_string() };
                return named.into_iter().map(|(name, _)| (name.clone(), unknown())).collect();
            }
        };
        let found = |name: &str| answer.parameters().iter().find(|parameter| parameter.name() == Some(name));
        let secret = |(parameter, name): &(&String, &String)| {
            let Some(found) = found(name) else {
                return Secret {
                    name: (*name).clone(),
                    kind: None,
                    is_empty: false,
                    has_blanks: false,
                    same_as: Vec::new(),
                    fault: None,
                };
            };
            let value = found.value().unwrap_or_default();
            let is_document = [BLUEPRINT, ENDPOINTS].contains(&parameter.as_str());
            let others = answer.parameters().iter().filter(|other| other.name() != Some(name.as_str()));
            let same = others.filter(|other| other.value() == Some(value) && !value.is_empty());
            Secret {
                name: (*name).clone(),
                kind: found.r#type().map(|kind| kind.as_str().to_owned()),
                is_empty: value.trim().is_empty(),
                has_blanks: !is_document && has_blanks(parameter, value),
                same_as: same.filter_map(|other| other.name().map(str::to_owned)).collect(),
                fault: fault(parameter, value, stack),
            }
        };
        named.iter().map(|pair| (pair.0.clone(), Known::Yes(secret(pair)))).collect()
    }

    /// A secret's value.
    ///
    /// # Errors
    /// If SSM does not have it.
    pub async fn read_secret(&self, name: &str) -> Result<String, Error> {
        let call = self.ssm().get_parameter().name(name).with_decryption(true).send().await;
        let answer = call.map_err(Error::aws("SSM GetParameter"))?;
        Ok(answer.parameter().and_then(|parameter| parameter.value()).unwrap_or_default().to_owned())
    }

    /// The blueprint that the stack uses.
    ///
    /// # Errors
    /// If SSM does not have it.
    pub async fn blueprint(&self, stack: &Stack) -> Result<Blueprint, Error> {
        let name = stack.parameter(BLUEPRINT);
        if name.is_empty() {
            return Ok(Blueprint::default());
        }
        let text = self.read_secret(name).await?;
        Blueprint::parse(&text).map_err(|error| Error::Refused(format!("the blueprint in {name}: {error}")))
    }

    /// The names of the stack's other secrets that have this value.
    ///
    /// # Errors
    /// If SSM does not answer.
    pub async fn same_as(&self, stack: &Stack, name: &str, value: &str) -> Result<Vec<String>, Error> {
        let others = stack.parameters.iter().filter(|(parameter, _)| parameter.ends_with("Parameter"));
        let others =
            others.map(|(_, other)| other.clone()).filter(|other| !other.is_empty() && other != name);
        let others: Vec<String> = others.collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.ssm().get_parameters().set_names(Some(others)).with_decryption(true).send().await;
        let answer = call.map_err(Error::aws("SSM GetParameters"))?;
        let same = answer.parameters().iter().filter(|other| other.value() == Some(value));
        Ok(same.filter_map(|other| other.name().map(str::to_owned)).collect())
    }

    /// Stores a secret, encrypted by the key that encrypts it now. Over 4 kB it takes a tier that AWS charges for.
    ///
    /// # Errors
    /// If SSM does not take it.
    pub async fn store_secret(&self, name: &str, value: &str, kms_key: Option<&str>) -> Result<(), Error> {
        let filter = ParameterStringFilter::builder().key("Name").option("Equals").values(name).build();
        let filter = filter.unwrap_or_else(|_| unreachable!("its key is given"));
        let described = self.ssm().describe_parameters().parameter_filters(filter).send().await.ok();
        let present = described.as_ref().and_then(|answer| answer.parameters().first());
        let key = present.and_then(|parameter| parameter.key_id()).or(kms_key);
        let call = self.ssm().put_parameter().name(name).value(value).tier(ParameterTier::IntelligentTiering);
        self.put(name, call.r#type(ParameterType::SecureString).set_key_id(key.map(str::to_owned))).await
    }

    /// Stores a text that is no secret. Over 4 kB it takes a tier that AWS charges for.
    ///
    /// # Errors
    /// If SSM does not take it.
    pub async fn store_text(&self, name: &str, value: &str) -> Result<(), Error> {
        let call = self.ssm().put_parameter().name(name).value(value);
        self.put(name, call.r#type(ParameterType::String).tier(ParameterTier::IntelligentTiering)).await
    }

    /// Stores a parameter. SSM changes no parameter's type (Systems Manager API reference, PutParameter,
    /// `HierarchyTypeMismatchException`): one of another type is deleted first.
    async fn put(&self, name: &str, call: PutParameterFluentBuilder) -> Result<(), Error> {
        let put = Error::aws("SSM PutParameter");
        match call.clone().overwrite(true).send().await.map(drop).map_err(put) {
            Err(error) if error.code() == "HierarchyTypeMismatchException" => (),
            done => return done,
        }
        let delete = self.ssm().delete_parameter().name(name).send().await;
        delete.map_err(Error::aws("SSM DeleteParameter"))?;
        call.send().await.map(drop).map_err(Error::aws("SSM PutParameter")).map_err(|error| {
            Error::Refused(format!(
                "{name} was of another type and is deleted, and the new one is not stored: run the same command again at once. {error}"
            ))
        })
    }
}
