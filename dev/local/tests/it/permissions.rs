//! What the functions were seen to ask of AWS, and what AWS itself asks in their roles' names, held against the roles
//! by a simulator of IAM: each call is allowed, the same to a neighbour's resources is not, and nothing is allowed that
//! nobody asks for. Needs Node and npm.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use local::samples::{self, Sample};
use local::{Project, Settings, Stack, install};
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::DEADLINE_AFTER;

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// The stack, and the nearest neighbour that it could have.
const STACK: &str = "vero-relay";
const NEIGHBOUR: &str = "vero-relay-shop";

/// What no request tells of here: calls of Lambda and Firehose themselves, which MiniStack makes within, and those of
/// functions in need. Each by role, actions, and a resource of the template with what follows its name.
const UNSEEN: [(&str, &[&str], &str); 16] = [
    ("IngestRole", &["logs:CreateLogStream", "logs:PutLogEvents"], "IngestLogs:log-stream:2026"),
    ("WorkerRole", &["logs:CreateLogStream", "logs:PutLogEvents"], "WorkerLogs:log-stream:2026"),
    ("ReplayRole", &["logs:CreateLogStream", "logs:PutLogEvents"], "ReplayLogs:log-stream:2026"),
    ("ArchiveRole", &["logs:PutLogEvents"], "ArchiveLogs:log-stream:data"),
    ("WorkerRole", &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], "Queue"),
    ("ReplayRole", &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], "ReplayQueue"),
    // Out of time; a destination that is down.
    ("WorkerRole", &["sqs:ChangeMessageVisibility", "sqs:SendMessage"], "Queue"),
    ("ReplayRole", &["sqs:SendMessage"], "ReplayQueue"),
    ("ReplayRole", &["s3:AbortMultipartUpload"], "ArchiveBucket/data/day=2026-11-01/source=vero/1"),
    ("ReplayRole", &["s3:AbortMultipartUpload"], "ArchiveBucket/requeued/0193"),
    ("ArchiveRole", &["s3:GetBucketLocation"], "ArchiveBucket"),
    ("ArchiveRole", &["s3:ListBucket"], "ArchiveBucket"),
    ("ArchiveRole", &["s3:ListBucketMultipartUploads"], "ArchiveBucket"),
    ("ArchiveRole", &OBJECTS, "ArchiveBucket/data/day=2026-11-01/source=vero/1"),
    ("ArchiveRole", &OBJECTS, "ArchiveBucket/deliveries/day=2026-11-01/1"),
    ("ArchiveRole", &OBJECTS, "ArchiveBucket/errors/processing-failed/1"),
];
const OBJECTS: [&str; 3] = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"];

/// Each function's role.
const ROLES: [(&str, &str); 3] =
    [("Ingest", "IngestRole"), ("Worker", "WorkerRole"), ("Replay", "ReplayRole")];

#[tokio::test]
async fn each_role_allows_what_is_called_and_no_more() -> Result<()> {
    let project = Project::find().await?;
    let stack = Stack::start(&Settings::default()).await?;
    use_everything(&project, &stack).await?;
    let names = stack.resources().await?;

    let mut asked = BTreeSet::new();
    for call in stack.calls()? {
        let role = ROLES.iter().find(|(function, _)| names[*function] == call.function);
        let (_, role) = role.with_context(|| format!("{} has no role here", call.function))?;
        // In IAM a log group's calls are about its streams.
        let of_logs = if call.action.starts_with("logs:") { ":log-stream:" } else { "" };
        asked.insert((*role, call.action, call.resource + of_logs));
    }
    for (_, role) in ROLES {
        ensure!(asked.iter().any(|(of, ..)| *of == role), "no call of {role} was seen");
    }
    for (role, actions, resource) in UNSEEN {
        let resource = arn(&names, resource)?;
        asked.extend(actions.iter().map(|action| (role, (*action).to_owned(), resource.clone())));
    }

    let simulator = Simulator::install(&project).await?;
    let mut policies = BTreeMap::new();
    for (role, ..) in &asked {
        policies.insert(*role, stack.policy(&names[*role]).await?);
    }
    let mut requests = Vec::new();
    for (role, action, resource) in &asked {
        let elsewhere = resource.replacen(STACK, NEIGHBOUR, 1);
        ensure!(elsewhere != *resource, "{resource} is not named after the stack");
        for resource in [resource, &elsewhere] {
            requests.push(json!({
                "principal": format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/here", names[*role]),
                "policy": policies[role],
                "resourcePolicy": resource_policy(&stack, &names, resource).await?,
                "action": action,
                "resource": resource,
            }));
        }
    }
    let answers = simulator.ask(&requests)?;
    let wrong: Vec<String> = requests
        .iter()
        .zip(&answers)
        .zip(["Allowed", "ImplicitlyDenied"].iter().cycle())
        .filter(|((_, answer), expected)| answer != expected)
        .map(|((request, answer), _)| {
            format!("{} {} of {}: {answer}", request["principal"], request["action"], request["resource"])
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (role, policy) in policies {
        for (action, pattern) in grants(&policy) {
            let is_asked = asked.iter().any(|(of, asked, resource)| {
                *of == role
                    && *asked == action
                    && pattern
                        .strip_suffix('*')
                        .map_or(*resource == pattern, |start| resource.starts_with(start))
            });
            assert!(is_asked, "nobody was seen to use {role}'s {action} of {pattern}");
        }
    }
    Ok(())
}

/// Has each function do all that it does when the world is well, and keep what is no event.
async fn use_everything(project: &Project, stack: &Stack) -> Result<()> {
    let posted = samples::post(stack, Sample::all(project)?).await;
    ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");
    let too_large =
        format!(r#"{{"type":"opened","user":{{"id":7}},"campaign":{{"name":"{}"}}}}"#, "x".repeat(40_000));
    stack.post(&too_large).await?;
    stack.archived(posted.len() + 1, DEADLINE_AFTER).await?;
    let deadline = Instant::now() + DEADLINE_AFTER;
    while stack.dead_letters().await? < 2 {
        ensure!(Instant::now() < deadline, "two letters are dead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let result = stack.query(&stack.named_query("reconciliation").await?).await?.url;
    let [from, to] = [SystemTime::now() - DEADLINE_AFTER * 60, SystemTime::now()]
        .map(|at| Timestamp::from_system(at).iso());
    let mut range = json!({"from": from, "to": to, "destinations": ["segment"]});
    let report = stack.replay(&range).await?;
    ensure!(report["sent"].as_u64() > Some(0), "{report}");
    range["result"] = result.into();
    stack.replay(&range).await?;
    stack.replay(&json!({"forget": {"user_id": "123"}})).await?;
    samples::log_unqueued(stack, samples::TWO_HOURS).await?;
    let report = stack.replay(&json!({"source": "log"})).await?;
    ensure!(report["sent"] == 1, "{report}");
    Ok(())
}

/// The ARN of a resource of the template, given by its name there and what follows.
fn arn(names: &BTreeMap<String, String>, resource: &str) -> Result<String> {
    let end = resource.find([':', '/']).unwrap_or(resource.len());
    let (name, rest) = resource.split_at(end);
    let physical = names.get(name).with_context(|| format!("the stack has no {name}"))?;
    Ok(match (name, physical.rsplit_once('/')) {
        ("ArchiveBucket", _) => format!("arn:aws:s3:::{physical}{rest}"),
        ("Queue" | "ReplayQueue", Some((_, queue))) => format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
        _ => format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{physical}{rest}"),
    })
}

/// The policy that a queue or the bucket has of its own.
async fn resource_policy(
    stack: &Stack,
    names: &BTreeMap<String, String>,
    resource: &str,
) -> Result<Option<Value>> {
    let bucket = &names["ArchiveBucket"];
    if let Some(path) = resource.strip_prefix("arn:aws:s3:::") {
        let is_ours = path.split('/').next() == Some(bucket);
        return Ok(if is_ours {
            Some(serde_json::from_str(&stack.s3(&format!("/{bucket}?policy")).await?)?)
        } else {
            None
        });
    }
    let queue = resource.strip_prefix("arn:aws:sqs:").and_then(|arn| arn.rsplit(':').next());
    let url = queue.and_then(|queue| names.values().find(|name| name.ends_with(&format!("/{queue}"))));
    let Some(url) = url else { return Ok(None) };
    let query = json!({"QueueUrl": url, "AttributeNames": ["Policy"]});
    let answer = stack.json("sqs", "AmazonSQS.GetQueueAttributes", query).await?;
    let policy = answer["Attributes"]["Policy"].as_str().with_context(|| format!("{url} has no policy"))?;
    Ok(Some(serde_json::from_str(policy)?))
}

/// The actions that a policy allows, each with each of its resources.
fn grants(policy: &Value) -> Vec<(String, String)> {
    let many = |value: &Value| -> Vec<String> {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let statements = policy["Statement"].as_array().into_iter().flatten();
    let pairs = statements.flat_map(|statement| {
        let resources = many(&statement["Resource"]);
        many(&statement["Action"]).into_iter().flat_map(move |action| {
            resources.clone().into_iter().map(move |resource| (action.clone(), resource))
        })
    });
    pairs.collect()
}

/// `simulate/` with its packages, under Cargo's target folder.
struct Simulator(PathBuf);

impl Simulator {
    async fn install(project: &Project) -> Result<Simulator> {
        let source = project.root.join("dev/local/simulate");
        let target = project.target.join("local/simulate");
        install::npm(&source, &target, "a simulator of IAM").await?;
        Ok(Simulator(target.join("simulate.js")))
    }

    /// What IAM would say to each request.
    fn ask(&self, requests: &[Value]) -> Result<Vec<Value>> {
        let mut node = Command::new("node");
        let mut node = node.arg(&self.0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        node.stdin.take().context("no input")?.write_all(serde_json::to_string(requests)?.as_bytes())?;
        let output = node.wait_with_output()?;
        ensure!(output.status.success(), "the simulator failed; its message is above");
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        ensure!(answers.len() == requests.len(), "{} answers to {} requests", answers.len(), requests.len());
        Ok(answers)
    }
}
