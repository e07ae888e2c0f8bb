//! SSM's parameter store, as far as secrets are read from it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::ApiError;
use crate::aws::{ACCOUNT, REGION};

pub(super) fn perform(
    parameters: &BTreeMap<String, String>,
    operation: &str,
    request: &Value,
) -> Result<Value, ApiError> {
    let decrypt = request["WithDecryption"].as_bool().unwrap_or_default();
    let find = |name: &str| parameters.get(name).map(|value| parameter(name, value, decrypt));
    match operation {
        "GetParameter" => {
            let name = request["Name"].as_str().ok_or_else(|| ApiError::missing("Name"))?;
            let found = find(name);
            let found = found.ok_or_else(|| ApiError::new("ParameterNotFound", "ParameterNotFound", ""))?;
            Ok(json!({ "Parameter": found }))
        }
        "GetParameters" => {
            let names = request["Names"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !(1..=10).contains(&names.len()) {
                let message = "Names must have between 1 and 10 members";
                return Err(ApiError::new("ValidationException", "ValidationException", message));
            }
            let names = names.iter().filter_map(Value::as_str);
            let (known, unknown): (Vec<_>, Vec<_>) = names.partition(|name| parameters.contains_key(*name));
            let found: Vec<_> = known.into_iter().filter_map(find).collect();
            Ok(json!({ "Parameters": found, "InvalidParameters": unknown }))
        }
        _ => Err(ApiError::new("UnknownOperationException", "UnknownOperationException", "")),
    }
}

fn parameter(name: &str, value: &str, decrypt: bool) -> Value {
    json!({
        "ARN": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{}", name.trim_start_matches('/')),
        "DataType": "text",
        "LastModifiedDate": 1_700_000_000.0,
        "Name": name,
        "Type": "SecureString",
        "Value": if decrypt { value } else { "AQICAHh-not-decrypted" },
        "Version": 1,
    })
}
