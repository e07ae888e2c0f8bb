//! IAM: what the functions' roles allow; and KMS: the key.

use aws_sdk_iam::Client;
use serde_json::Value;

use super::Cloud;
use crate::error::Error;
use crate::model::state::Role;

impl Cloud {
    /// What a role allows.
    ///
    /// # Errors
    /// If IAM does not answer.
    pub async fn role(&self, name: &str) -> Result<Role, Error> {
        let client = Client::new(&self.config);
        let (policies, attached) = tokio::join!(
            client.list_role_policies().role_name(name).send(),
            client.list_attached_role_policies().role_name(name).send(),
        );
        let policies = policies.map_err(Error::aws("IAM ListRolePolicies"))?;
        let attached = attached.map_err(Error::aws("IAM ListAttachedRolePolicies"))?;
        let mut actions = Vec::new();
        for policy in policies.policy_names() {
            let call = client.get_role_policy().role_name(name).policy_name(policy).send().await;
            let answer = call.map_err(Error::aws("IAM GetRolePolicy"))?;
            actions.extend(allowed(answer.policy_document()));
        }
        actions.sort();
        actions.dedup();
        let attached = attached.attached_policies().iter().filter_map(|policy| policy.policy_name());
        Ok(Role { name: name.to_owned(), actions, attached: attached.map(str::to_owned).collect() })
    }

    /// The state of a KMS key: `Enabled`, or another.
    ///
    /// # Errors
    /// If KMS does not answer.
    pub async fn kms_key_state(&self, arn: &str) -> Result<String, Error> {
        let call = aws_sdk_kms::Client::new(&self.config).describe_key().key_id(arn).send().await;
        let answer = call.map_err(Error::aws("KMS DescribeKey"))?;
        let state = answer.key_metadata().and_then(|key| key.key_state());
        Ok(state.map(|state| state.as_str().to_owned()).unwrap_or_default())
    }
}

/// The actions that a policy allows. IAM gives a policy percent-encoded (RFC 3986).
fn allowed(document: &str) -> Vec<String> {
    let decoded = reqwest::Url::parse(&format!("x:?{}", document.replace('+', "%2B")))
        .ok()
        .and_then(|url| url.query_pairs().next().map(|(name, _)| name.into_owned()))
        .unwrap_or_default();
    let policy: Value =
        serde_json::from_str(document).or_else(|_| serde_json::from_str(&decoded)).unwrap_or_default();
    let texts = |value: &Value| -> Vec<String> {
        let one = std::slice::from_ref(value);
        let all = value.as_array().map_or(one, Vec::as_slice);
        all.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let statements = policy["Statement"].as_array().into_iter().flatten();
    statements
        .filter(|statement| statement["Effect"] == "Allow")
        .flat_map(|statement| texts(&statement["Action"]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_with_and_without_percent_signs() {
        let policy = r#"{"Statement":[{"Effect":"Allow","Action":"sqs:SendMessage"},{"Effect":"Deny","Action":"s3:*"},{"Effect":"Allow","Action":["logs:PutLogEvents"]}]}"#;
        let encoded: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for document in [policy, &encoded] {
            assert_eq!(allowed(document), ["sqs:SendMessage", "logs:PutLogEvents"], "{document}");
        }
    }
}
