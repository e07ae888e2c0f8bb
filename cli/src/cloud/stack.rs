//! CloudFormation: the stack, and changes of its parameters.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{
    Capability, ChangeSetStatus, ChangeSetType, DeploymentMode, Parameter, StackStatus,
};
use tokio::time::{Instant, sleep};

use super::Cloud;
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::time::At;

/// A change set of a parameter is made within seconds, and carried out within minutes.
const CHANGE: Duration = Duration::from_secs(15 * 60);

/// A resource that a change set touches.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Change {
    /// `Modify` or another.
    pub action: String,
    /// The resource's name in the template.
    pub resource: String,
    /// Whether it is made anew: `True`, `False` or `Conditional`.
    pub replacement: String,
}

/// A change set that can be carried out.
#[derive(Debug)]
pub struct ChangeSet {
    id: String,
    /// What it touches.
    pub changes: Vec<Change>,
}

impl Cloud {
    fn cloudformation(&self) -> Client {
        Client::new(&self.config)
    }

    /// The stack, its parameters, outputs and resources.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of this name.
    pub async fn describe(&self) -> Result<Stack, Error> {
        let client = self.cloudformation();
        let call = client.describe_stacks().stack_name(&self.stack).send().await;
        let described =
            call.map_err(Error::aws("CloudFormation DescribeStacks")).map_err(|error| match &error {
                Error::Aws { code, problem, .. }
                    if code == "ValidationError" && problem.contains("not exist") =>
                {
                    Error::NotFound(format!(
                        "there is no stack {} in {}; --stack, --region and --profile name another",
                        self.stack, self.region
                    ))
                }
                _ => error,
            })?;
        let stack = described.stacks().first().ok_or_else(|| {
            Error::NotFound(format!("CloudFormation describes no stack {} in {}", self.stack, self.region))
        })?;
        let parameters = stack.parameters().iter().filter_map(|parameter| {
            let name = parameter.parameter_key()?;
            // An address, which nobody has asked for.
            let is_address = name == "AlarmEmail" && parameter.parameter_value() != Some("");
            let value = if is_address { "(an address)" } else { parameter.parameter_value()? };
            Some((name.to_owned(), value.to_owned()))
        });
        let outputs = stack
            .outputs()
            .iter()
            .filter_map(|output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned())));
        let changed_at = stack.last_updated_time().or(stack.creation_time());
        let mut described = Stack {
            name: self.stack.clone(),
            region: self.region.clone(),
            is_local: self.local.is_some(),
            status: stack.stack_status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
            status_reason: stack.stack_status_reason().map(str::to_owned),
            changed_at: changed_at.and_then(|at| at.to_millis().ok()).map(At::from_ms),
            parameters: parameters.collect(),
            outputs: outputs.collect(),
            resources: BTreeMap::new(),
        };
        // DescribeStackResources gives at most 100 of them; there are some 50.
        let resources = client.describe_stack_resources().stack_name(&self.stack).send().await;
        let resources = resources.map_err(Error::aws("CloudFormation DescribeStackResources"))?;
        described.resources = { resources.stack_resources().iter() }
            .filter_map(|resource| {
                Some((
                    resource.logical_resource_id()?.to_owned(),
                    resource.physical_resource_id()?.to_owned(),
                ))
            })
            .collect();
        Ok(described)
    }

    /// Prepares a change of parameters. All others keep their values, and the template stays as it is.
    ///
    /// # Errors
    /// If CloudFormation does not take a value, or nothing would change.
    pub async fn prepare(
        &self,
        stack: &Stack,
        values: &BTreeMap<String, String>,
    ) -> Result<ChangeSet, Error> {
        self.prepare_by(stack, values, None).await
    }

    /// Prepares to set back what was changed by hand; `None` if nothing was.
    ///
    /// # Errors
    /// If CloudFormation does not answer.
    pub async fn prepare_repair(&self, stack: &Stack) -> Result<Option<ChangeSet>, Error> {
        let revert = Some(DeploymentMode::RevertDrift);
        match self.prepare_by(stack, &BTreeMap::new(), revert).await {
            Err(Error::Refused(reason))
                if reason.contains("contain changes") || reason.contains("No updates") =>
            {
                Ok(None)
            }
            set => set.map(Some),
        }
    }

    async fn prepare_by(
        &self,
        stack: &Stack,
        values: &BTreeMap<String, String>,
        mode: Option<DeploymentMode>,
    ) -> Result<ChangeSet, Error> {
        let client = self.cloudformation();
        let parameters = stack.parameters.keys().map(|name| {
            let parameter = Parameter::builder().parameter_key(name);
            match values.get(name) {
                Some(value) => parameter.parameter_value(value).build(),
                None => parameter.use_previous_value(true).build(),
            }
        });
        let made = client
            .create_change_set()
            .stack_name(&self.stack)
            .change_set_name(format!("relay-{}", At::now().ms()))
            .change_set_type(ChangeSetType::Update)
            .use_previous_template(true)
            .set_parameters(Some(parameters.collect()))
            .capabilities(Capability::CapabilityIam)
            .capabilities(Capability::CapabilityAutoExpand)
            .set_deployment_mode(mode)
            .description("by the command relay")
            .send()
            .await
            .map_err(Error::aws("CloudFormation CreateChangeSet"))?;
        let id = made.id().unwrap_or_default().to_owned();
        let deadline = Instant::now() + CHANGE;
        loop {
            let set = client.describe_change_set().change_set_name(&id).stack_name(&self.stack).send().await;
            let set = set.map_err(Error::aws("CloudFormation DescribeChangeSet"))?;
            match set.status() {
                Some(ChangeSetStatus::CreateComplete) => {
                    let changes = set.changes().iter().filter_map(|change| {
                        let change = change.resource_change()?;
                        Some(Change {
                            action: change.action().map(|action| action.as_str().to_owned())?,
                            resource: change.logical_resource_id()?.to_owned(),
                            replacement: change
                                .replacement()
                                .map_or("False", |kind| kind.as_str())
                                .to_owned(),
                        })
                    });
                    return Ok(ChangeSet { id, changes: changes.collect() });
                }
                Some(ChangeSetStatus::Failed) => {
                    let reason = set.status_reason().unwrap_or("CloudFormation gives no reason").to_owned();
                    self.discard(&ChangeSet { id, changes: Vec::new() }).await;
                    return Err(Error::Refused(format!("the change was not accepted: {reason}")));
                }
                _ if Instant::now() > deadline => {
                    return Err(Error::Refused("the change set was not made in time; try again".to_owned()));
                }
                _ => sleep(self.pause()).await,
            }
        }
    }

    /// Takes a change set back. That it stays would harm nothing.
    pub async fn discard(&self, set: &ChangeSet) {
        let delete =
            self.cloudformation().delete_change_set().change_set_name(&set.id).stack_name(&self.stack);
        let _ = delete.send().await;
    }

    /// Carries a change set out, and waits for its end.
    ///
    /// # Errors
    /// If CloudFormation rolled it back.
    pub async fn carry_out(&self, set: &ChangeSet) -> Result<(), Error> {
        let client = self.cloudformation();
        let before = self.describe().await?.changed_at;
        let execute =
            client.execute_change_set().change_set_name(&set.id).stack_name(&self.stack).send().await;
        execute.map_err(Error::aws("CloudFormation ExecuteChangeSet"))?;
        let deadline = Instant::now() + CHANGE;
        loop {
            sleep(self.pause()).await;
            let call = client.describe_stacks().stack_name(&self.stack).send().await;
            let described = call.map_err(Error::aws("CloudFormation DescribeStacks"))?;
            let stack = described.stacks().first();
            let changed_at =
                stack.and_then(|stack| stack.last_updated_time()?.to_millis().ok()).map(At::from_ms);
            let status = stack.and_then(|stack| stack.stack_status()).filter(|_| changed_at != before);
            match status {
                Some(StackStatus::UpdateComplete | StackStatus::UpdateCompleteCleanupInProgress) => {
                    return Ok(());
                }
                Some(status) if !status.as_str().ends_with("_IN_PROGRESS") => {
                    let reason =
                        stack.and_then(|stack| stack.stack_status_reason()).unwrap_or("no reason given");
                    return Err(Error::Refused(format!(
                        "the stack is {} now ({reason}); what it was before is in place",
                        status.as_str()
                    )));
                }
                _ if Instant::now() > deadline => {
                    return Err(Error::Refused(
                        "the change is still under way; `relay status` says when it is done".to_owned(),
                    ));
                }
                _ => (),
            }
        }
    }

    /// Between two questions whether something is done.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_millis(if self.local.is_some() { 50 } else { 1_000 })
    }
}
