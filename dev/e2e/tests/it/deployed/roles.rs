//! What each role may do and to what, held against the calls that the code makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use local::Project;
use serde_json::Value;

use super::{Deployed, KEY};

/// The calls that the code makes: the SDK's methods, each with the action that it needs.
const CALLS: [(&str, &str); 7] = [
    ("change_message_visibility_batch", "sqs:ChangeMessageVisibility"),
    ("filter_log_events", "logs:FilterLogEvents"),
    ("get_parameters", "ssm:GetParameters"),
    ("get_queue_attributes", "sqs:GetQueueAttributes"),
    ("put_record_batch", "firehose:PutRecordBatch"),
    ("send_message", "sqs:SendMessage"),
    ("send_message_batch", "sqs:SendMessage"),
];
/// Those that Lambda makes in a function's name: for the log and, of the other two, for the event source.
const LAMBDAS_CALLS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// Those of replay's client for S3, which is none of the SDK's.
const STORES_CALLS: [&str; 4] = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject"];
const EVENT_SOURCES_CALLS: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// What each role may do and to what: the calls above, by function.
const INGEST_MAY: [(&str, &str); 5] = [
    ("logs:CreateLogStream", "IngestLogs"),
    ("logs:PutLogEvents", "IngestLogs"),
    ("sqs:GetQueueAttributes", "Queue"),
    ("sqs:SendMessage", "DeadLetterQueue"),
    ("sqs:SendMessage", "Queue"),
];
const WORKER_MAY: [(&str, &str); 13] = [
    ("firehose:PutRecordBatch", "ArchiveStream"),
    ("firehose:PutRecordBatch", "DeliveriesStream"),
    ("logs:CreateLogStream", "WorkerLogs"),
    ("logs:PutLogEvents", "WorkerLogs"),
    ("sqs:ChangeMessageVisibility", "Queue"),
    ("sqs:DeleteMessage", "Queue"),
    ("sqs:GetQueueAttributes", "Queue"),
    ("sqs:ReceiveMessage", "Queue"),
    ("sqs:SendMessage", "DeadLetterQueue"),
    ("sqs:SendMessage", "Queue"),
    ("ssm:GetParameters", "/vero-relay/segment-write-key"),
    ("ssm:GetParameters", "/vero-relay/vero-auth-token"),
    ("ssm:GetParameters", "/vero-relay/webhook-endpoints"),
];
const REPLAY_MAY: [(&str, &str); 16] = [
    ("logs:CreateLogStream", "ReplayLogs"),
    ("logs:FilterLogEvents", "IngestLogs"),
    ("logs:PutLogEvents", "ReplayLogs"),
    ("s3:AbortMultipartUpload", "ArchiveBucket/data/*"),
    ("s3:AbortMultipartUpload", "ArchiveBucket/requeued/*"),
    ("s3:GetObject", "ArchiveBucket/athena/*"),
    ("s3:GetObject", "ArchiveBucket/data/*"),
    ("s3:GetObject", "ArchiveBucket/requeued/*"),
    ("s3:ListBucket", "ArchiveBucket"),
    ("s3:PutObject", "ArchiveBucket/data/*"),
    ("s3:PutObject", "ArchiveBucket/requeued/*"),
    ("sqs:DeleteMessage", "ReplayQueue"),
    ("sqs:GetQueueAttributes", "ReplayQueue"),
    ("sqs:ReceiveMessage", "ReplayQueue"),
    ("sqs:SendMessage", "Queue"),
    ("sqs:SendMessage", "ReplayQueue"),
];
/// Firehose's own.
const ARCHIVE_MAY: [(&str, &str); 13] = [
    ("logs:PutLogEvents", "ArchiveLogs"),
    ("s3:AbortMultipartUpload", "ArchiveBucket/data/*"),
    ("s3:AbortMultipartUpload", "ArchiveBucket/deliveries/*"),
    ("s3:AbortMultipartUpload", "ArchiveBucket/errors/*"),
    ("s3:GetBucketLocation", "ArchiveBucket"),
    ("s3:GetObject", "ArchiveBucket/data/*"),
    ("s3:GetObject", "ArchiveBucket/deliveries/*"),
    ("s3:GetObject", "ArchiveBucket/errors/*"),
    ("s3:ListBucket", "ArchiveBucket"),
    ("s3:ListBucketMultipartUploads", "ArchiveBucket"),
    ("s3:PutObject", "ArchiveBucket/data/*"),
    ("s3:PutObject", "ArchiveBucket/deliveries/*"),
    ("s3:PutObject", "ArchiveBucket/errors/*"),
];

/// What parameters add.
const KEY_ASKS_FOR: [(&str, &str); 2] = [("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY)];
const TRACING_ASKS_FOR: [(&str, &str); 2] =
    [("xray:PutTelemetryRecords", "*"), ("xray:PutTraceSegments", "*")];

/// The calls in the sources are those that the roles are for.
#[tokio::test]
async fn the_code_makes_the_calls_that_the_roles_allow() -> Result<()> {
    let root = Project::find().await?.root;
    let mut services = BTreeSet::new();
    for package in ["shared/platform", "functions/ingest", "functions/worker", "functions/replay"] {
        let manifest = fs::read_to_string(root.join(package).join("Cargo.toml"))?;
        let of_aws = manifest.lines().filter_map(|line| line.strip_prefix("aws-sdk-")?.split('.').next());
        services.extend(of_aws.map(str::to_owned));
    }
    assert_eq!(
        services,
        ["cloudwatchlogs", "firehose", "sqs", "ssm"].map(str::to_owned).into(),
        "another service: the methods below have to know its calls"
    );

    // Ingest reads a secret where one is set.
    let ingest_may = INGEST_MAY.iter().map(|(action, _)| *action).chain(["ssm:GetParameters"]);
    let ingest = actions_of(&root, "functions/ingest/src")?;
    assert_eq!(ingest.into_iter().chain(LAMBDAS_CALLS).collect::<BTreeSet<_>>(), ingest_may.collect());
    let worker_may = WORKER_MAY.iter().map(|(action, _)| *action).collect();
    let worker = actions_of(&root, "functions/worker/src")?;
    let lambdas = LAMBDAS_CALLS.into_iter().chain(EVENT_SOURCES_CALLS);
    assert_eq!(worker.into_iter().chain(lambdas.clone()).collect::<BTreeSet<_>>(), worker_may);
    let replay_may = REPLAY_MAY.iter().map(|(action, _)| *action).collect();
    let replay = actions_of(&root, "functions/replay/src")?;
    let replay = replay.into_iter().chain(lambdas).chain(STORES_CALLS);
    assert_eq!(replay.collect::<BTreeSet<_>>(), replay_may);
    Ok(())
}

/// The actions that a function's sources need, by the SDK's methods in them.
fn actions_of(root: &Path, function: &str) -> Result<BTreeSet<&'static str>> {
    let mut sources = String::new();
    for folder in [function, "shared/core/src"] {
        read_sources(&root.join(folder), &mut sources)?;
    }
    // Of shared/platform, what the function names.
    for module in fs::read_dir(root.join("shared/platform/src"))? {
        let module = module?.path();
        let name = module.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if sources.contains(&format!("{name}::")) {
            sources.extend(fs::read_to_string(&module)?.split_whitespace());
        }
    }
    let methods: BTreeSet<&str> = sources
        .split('.')
        .filter_map(|text| text.split_once('(')?.0.into())
        .filter(|name| is_call(name) || name.contains("parameter") && name.contains('_'))
        .collect();
    let action = |method: &&str| {
        let known = CALLS.iter().find(|(name, _)| name == method);
        known
            .map(|(_, action)| *action)
            .with_context(|| format!("{method} needs an action that CALLS does not name"))
    };
    methods.iter().map(action).collect()
}

/// The names of calls have few words: a verb and one of these.
fn is_call(method: &str) -> bool {
    let objects = ["message", "messages", "message_batch", "message_visibility", "message_visibility_batch"];
    let others = ["queue", "queues", "queue_attributes", "queue_url", "queue_tags", "permission"];
    let of_firehose = ["record", "record_batch", "delivery_stream", "delivery_streams"];
    let of_logs = ["log_events", "log_group", "log_groups", "log_stream", "log_streams"];
    let object = method.split_once('_').map_or("", |(_, object)| object);
    let verb = method.split('_').next().unwrap_or_default();
    let verbs = [
        "add", "change", "create", "delete", "describe", "filter", "get", "list", "purge", "put", "receive",
        "remove", "send", "set", "tag",
    ];
    verbs.contains(&verb) && [&objects[..], &others, &of_firehose, &of_logs].concat().contains(&object)
}

fn read_sources(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, into)?;
        } else {
            into.extend(fs::read_to_string(&path)?.split_whitespace());
        }
    }
    Ok(())
}

impl Deployed {
    pub(super) async fn has_roles_that_may_do_what_they_must(&self) -> Result<()> {
        assert_eq!(self.may("IngestRole").await?, set(&[&INGEST_MAY]));
        assert_eq!(self.may("WorkerRole").await?, set(&[&WORKER_MAY]));
        assert_eq!(self.may("ReplayRole").await?, set(&[&REPLAY_MAY]));
        assert_eq!(self.may("ArchiveRole").await?, set(&[&ARCHIVE_MAY]));
        Ok(())
    }

    /// After an update with all of `OPTIONS`.
    pub(super) async fn has_roles_that_may_do_what_options_add(&self) -> Result<()> {
        let secret = [("ssm:GetParameters", "/other/shared-secret")];
        let documents =
            ["blueprint", "address-hash-secret"].map(|name| ("ssm:GetParameters", format!("/other/{name}")));
        let documents = documents.each_ref().map(|(action, name)| (*action, name.as_str()));
        let too = [KEY_ASKS_FOR, TRACING_ASKS_FOR].concat();
        assert_eq!(self.may("IngestRole").await?, set(&[&INGEST_MAY, &secret, &too]));
        assert_eq!(self.may("WorkerRole").await?, set(&[&WORKER_MAY, &documents, &too]));
        assert_eq!(self.may("ReplayRole").await?, set(&[&REPLAY_MAY, &too]));
        assert_eq!(self.may("ArchiveRole").await?, set(&[&ARCHIVE_MAY, &KEY_ASKS_FOR]));
        Ok(())
    }

    /// What a role may do, and to what: the template's names of resources, the names of SSM parameters.
    async fn may(&self, role: &str) -> Result<BTreeSet<(String, String)>> {
        let policy = self.stack.policy(&self.names[role]).await?;
        let mut allowed = BTreeSet::new();
        for statement in policy["Statement"].as_array().context("no statements")? {
            assert_eq!(statement["Effect"], "Allow");
            assert_eq!(statement.as_object().map(|statement| statement.len()), Some(3), "{statement}");
            for action in one_or_many(&statement["Action"]) {
                for resource in one_or_many(&statement["Resource"]) {
                    allowed.insert((action.to_owned(), self.name_of(resource)));
                }
            }
        }
        Ok(allowed)
    }

    fn name_of(&self, arn: &str) -> String {
        if let Some((_, parameter)) = arn.split_once(":parameter") {
            return parameter.to_owned();
        }
        if let Some(path) = arn.strip_prefix("arn:aws:s3:::") {
            return path.replacen(&self.names["ArchiveBucket"], "ArchiveBucket", 1);
        }
        let name = arn.trim_end_matches(":*").rsplit(':').next().unwrap_or_default();
        let name = name.trim_start_matches("deliverystream/");
        let resource = self.names.iter().find(|(_, physical)| {
            arn.starts_with("arn:aws:sqs:") && physical.ends_with(&format!("/{name}"))
                || ["logs", "firehose"].iter().any(|of| arn.starts_with(&format!("arn:aws:{of}:")))
                    && *physical == name
        });
        resource.map_or(arn, |(logical, _)| logical).to_owned()
    }
}

fn set(parts: &[&[(&str, &str)]]) -> BTreeSet<(String, String)> {
    parts.concat().into_iter().map(|(action, resource)| (action.to_owned(), resource.to_owned())).collect()
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter().filter_map(Value::as_str)
}
