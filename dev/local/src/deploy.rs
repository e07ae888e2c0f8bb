//! The production template, deployed to MiniStack.

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::aws::{Cloud, tags};
use crate::project::{self, FUNCTIONS, Project};

pub(crate) const STACK: &str = "vero-relay";
const BUCKET: &str = "code";
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// Values of the template's parameters, by name.
pub(crate) type Parameters<'p> = Vec<(&'p str, &'p str)>;

/// What the deployed stack is known by.
#[derive(Debug, Clone)]
pub(crate) struct Outputs {
    /// The path at MiniStack under which it serves the Function URL.
    pub(crate) function_path: String,
    pub(crate) queue_url: String,
    pub(crate) dead_letter_queue_url: String,
    pub(crate) archive_bucket: String,
    pub(crate) archive_database: String,
    pub(crate) archive_workgroup: String,
    pub(crate) replay_function: String,
    pub(crate) replay_queue_url: String,
}

/// Keeps a secret where the functions look for it.
pub(crate) async fn put_secret(cloud: &Cloud, name: &str, value: &str) -> Result<()> {
    let parameter = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
    cloud.json("ssm", "AmazonSSM.PutParameter", parameter).await.map(drop)
}

/// Deploys `template.yaml` with the given binaries.
pub(crate) async fn deploy(
    cloud: &Cloud,
    project: &Project,
    binaries: &[PathBuf],
    parameters: &Parameters<'_>,
) -> Result<Outputs> {
    let template = packaged(cloud, project, binaries, "").await?;
    outputs(&change(cloud, "CreateStack", &template, parameters).await?)
}

/// Deploys `template.yaml` over the stack that is there, as its next release: the code is uploaded anew, and each
/// parameter keeps its value unless `changes` has another one.
pub(crate) async fn update(
    cloud: &Cloud,
    project: &Project,
    binaries: &[PathBuf],
    changes: &Parameters<'_>,
) -> Result<()> {
    let stack = cloud.cloudformation("DescribeStacks", &[("StackName", STACK)]).await?;
    let pairs = tags(&stack, "ParameterKey").zip(tags(&stack, "ParameterValue"));
    let kept = pairs.filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let parameters = kept.chain(changes.iter().copied()).collect();
    let template = packaged(cloud, project, binaries, "next/").await?;
    change(cloud, "UpdateStack", &template, &parameters).await.map(drop)
}

/// Uploads the binaries and `template.yaml` with each `CodeUri` pointing there, as `sam package` does it, and for this
/// machine's processor, as docs/runbook.md#another-processor says; nothing else is changed. Gives the template's URL, since CloudFormation takes no more than 51,200 bytes in the call itself.
async fn packaged(cloud: &Cloud, project: &Project, binaries: &[PathBuf], folder: &str) -> Result<String> {
    let path = project.root.join("template.yaml");
    let mut template =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let processor = |name: &str| format!("Architectures: [{name}]\n");
    ensure!(template.matches(&processor("arm64")).count() == 1, "template.yaml must name its processor once");
    template = template.replace(&processor("arm64"), &processor(project::architecture()?));
    cloud.put_s3(BUCKET, "", Default::default()).await?;
    for (function, binary) in FUNCTIONS.iter().zip(binaries) {
        let program = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        let key = format!("{folder}{function}.zip");
        cloud.put_s3(BUCKET, &key, zipped(&program)?.into()).await?;
        let source = format!("CodeUri: functions/{function}\n");
        ensure!(template.matches(&source).count() == 1, "template.yaml must say `{}` once", source.trim());
        template = template.replace(&source, &format!("CodeUri: s3://{BUCKET}/{key}\n"));
    }
    let key = format!("{folder}template.yaml");
    cloud.put_s3(BUCKET, &key, template.into()).await?;
    Ok(format!("https://s3.amazonaws.com/{BUCKET}/{key}"))
}

/// A zip file with the program `bootstrap`, not compressed: it never leaves this machine.
fn zipped(program: &[u8]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("bootstrap", stored.unix_permissions(0o755))?;
    zip.write_all(program)?;
    Ok(zip.finish()?.into_inner())
}

/// Has CloudFormation create or update the stack, waits for it, and gives its description.
async fn change(cloud: &Cloud, action: &str, template: &str, parameters: &Parameters<'_>) -> Result<String> {
    let names: Vec<(String, String)> = (1..=parameters.len())
        .map(|n| format!("Parameters.member.{n}"))
        .map(|member| (format!("{member}.ParameterKey"), format!("{member}.ParameterValue")))
        .collect();
    let mut form = vec![
        ("StackName", STACK),
        ("TemplateURL", template),
        ("Capabilities.member.1", "CAPABILITY_IAM"),
        ("Capabilities.member.2", "CAPABILITY_AUTO_EXPAND"),
    ];
    for ((key, value), (name, setting)) in names.iter().zip(parameters) {
        form.extend([(key.as_str(), *name), (value.as_str(), *setting)]);
    }
    cloud.cloudformation(action, &form).await?;
    wait(cloud).await
}

/// Waits until the stack is complete, and gives CloudFormation's description of it.
async fn wait(cloud: &Cloud) -> Result<String> {
    let deadline = Instant::now() + DEADLINE_AFTER;
    loop {
        let stack = cloud.cloudformation("DescribeStacks", &[("StackName", STACK)]).await?;
        let status = tags(&stack, "StackStatus").next().unwrap_or("UNKNOWN");
        if ["CREATE_COMPLETE", "UPDATE_COMPLETE"].contains(&status) {
            return Ok(stack);
        }
        if !status.ends_with("_IN_PROGRESS") || Instant::now() > deadline {
            let events = cloud.cloudformation("DescribeStackEvents", &[("StackName", STACK)]).await?;
            let reasons: Vec<&str> = tags(&events, "ResourceStatusReason").collect();
            bail!("the template could not be deployed ({status}):\n  {}", reasons.join("\n  "));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn outputs(stack: &str) -> Result<Outputs> {
    let output = |name: &str| {
        let mut pairs = tags(stack, "OutputKey").zip(tags(stack, "OutputValue"));
        let found = pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        found.with_context(|| format!("the stack has no output {name}"))
    };
    // https://<id>.lambda-url.<region>.on.aws/health is /_aws/lambda-url/<id>/health at MiniStack.
    let url = output("HealthUrl")?;
    let id = url.trim_start_matches("https://").split('.').next().unwrap_or_default();
    Ok(Outputs {
        function_path: format!("/_aws/lambda-url/{id}"),
        queue_url: output("QueueUrl")?,
        dead_letter_queue_url: output("DeadLetterQueueUrl")?,
        archive_bucket: output("ArchiveBucket")?,
        archive_database: output("ArchiveDatabase")?,
        archive_workgroup: output("ArchiveWorkgroup")?,
        replay_function: output("ReplayFunction")?,
        replay_queue_url: output("ReplayQueueUrl")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_outputs() {
        let values = [
            ("HealthUrl", "https://abc.lambda-url.us-east-1.on.aws/health"),
            ("DeadLetterQueueUrl", "http://d"),
            ("QueueUrl", "http://q"),
            ("ArchiveBucket", "b"),
            ("ArchiveDatabase", "d"),
            ("ArchiveWorkgroup", "w"),
            ("ReplayFunction", "r"),
            ("ReplayQueueUrl", "http://r"),
        ];
        let output =
            |(name, value)| format!("<OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue>");
        let outputs = outputs(&values.map(output).concat()).unwrap();
        assert_eq!(outputs.function_path, "/_aws/lambda-url/abc");
        assert_eq!(
            (outputs.queue_url.as_str(), outputs.dead_letter_queue_url.as_str()),
            ("http://q", "http://d")
        );
    }
}
