//! What was deployed, read back from MiniStack by AWS's own calls; and the next release, deployed over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::Value;

use crate::aws::tags;
use crate::deploy;
use crate::project::{self, Project};
use crate::stack::Stack;

/// The services whose calls are forms and whose answers are XML, with the versions of their APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    CloudFormation,
    Iam,
    Sns,
}

/// A call that a function made to AWS, in IAM's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub function: String,
    /// What it asked for: `sqs:SendMessage`.
    pub action: String,
    /// The ARN of what it asked that of.
    pub resource: String,
}

impl Stack {
    /// The calls that the functions have made so far, each once, as `additions.py` notes them.
    pub fn calls(&self) -> Result<BTreeSet<Call>> {
        let log = fs::read_to_string(&self.ministack.log)?;
        let calls = log.lines().filter_map(|line| line.strip_prefix("CALL "));
        let call = |line: &str| -> Result<Call> {
            let call: Value = serde_json::from_str(line)?;
            let text = |name: &str| call[name].as_str().with_context(|| format!("{line} has no {name}"));
            let (function, action) = (text("function")?.to_owned(), text("action")?);
            // A batch is no action of its own.
            let action =
                action.strip_suffix("Batch").filter(|_| action.starts_with("sqs:")).unwrap_or(action);
            Ok(Call { function, action: action.to_owned(), resource: text("resource")?.to_owned() })
        };
        calls.map(call).collect()
    }

    /// Where the stand-in for AWS listens.
    pub fn aws(&self) -> SocketAddr {
        self.ministack.cloud.0
    }

    /// A call of a service that speaks JSON: SQS, CloudWatch and its logs, Firehose, Glue, Athena.
    pub async fn json(&self, service: &str, target: &str, body: Value) -> Result<Value> {
        self.ministack.cloud.json(service, target, body).await
    }

    /// A call of a service that answers XML: the texts in each `tag` of the answer.
    pub async fn texts(
        &self,
        service: Service,
        action: &str,
        parameters: &[(&str, &str)],
        tag: &str,
    ) -> Result<Vec<String>> {
        let (service, version) = match service {
            Service::CloudFormation => ("cloudformation", "2010-05-15"),
            Service::Iam => ("iam", "2010-05-08"),
            Service::Sns => ("sns", "2010-03-31"),
        };
        let answer = self.ministack.cloud.query(service, version, action, parameters).await?;
        Ok(tags(&answer, tag).map(unescaped).collect())
    }

    /// A call of Lambda.
    pub async fn lambda(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let method = Method::from_bytes(method.as_bytes())?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.ministack.cloud.lambda(method, path, body.into()).await
    }

    /// What S3 answers to a GET: of an object, or of a bucket's settings.
    pub async fn s3(&self, path: &str) -> Result<String> {
        self.ministack.cloud.get_s3(path).await
    }

    /// Keeps an object in the archive's bucket.
    pub async fn put_in_archive(&self, key: &str, text: &str) -> Result<()> {
        self.ministack.cloud.put_s3(&self.outputs.archive_bucket, key, text.to_owned().into()).await
    }

    /// The stack's resources: their names in the template, and at AWS.
    pub async fn resources(&self) -> Result<BTreeMap<String, String>> {
        let (service, action) = (Service::CloudFormation, "DescribeStackResources");
        let stack = [("StackName", deploy::STACK)];
        let logical = self.texts(service, action, &stack, "LogicalResourceId").await?;
        let physical = self.texts(service, action, &stack, "PhysicalResourceId").await?;
        Ok(logical.into_iter().zip(physical).collect())
    }

    /// The one policy of a role.
    pub async fn policy(&self, role: &str) -> Result<Value> {
        let names = self.texts(Service::Iam, "ListRolePolicies", &[("RoleName", role)], "member").await?;
        let [name] = names.as_slice() else { anyhow::bail!("{role} has not one policy but {names:?}") };
        let query = [("RoleName", role), ("PolicyName", name.as_str())];
        let document = self.texts(Service::Iam, "GetRolePolicy", &query, "PolicyDocument").await?;
        let document = document.first().context("no policy document")?;
        // IAM gives it percent-encoded.
        let document = form_urlencoded::parse(document.as_bytes()).next().context("an empty policy")?.0;
        Ok(serde_json::from_str(&document)?)
    }

    /// Deploys the template over this stack, as its next release. Each parameter keeps its value unless `changes`
    /// has another one.
    pub async fn update(&self, changes: &[(&str, &str)]) -> Result<()> {
        let project = Project::find().await?;
        let binaries = project::build_functions().await?;
        deploy::update(&self.ministack.cloud, &project, &binaries, &changes.to_vec()).await
    }
}

fn unescaped(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}
