//! The production template, deployed on this machine and read back: what a security review would ask of the account,
//! and an upgrade.
//!
//! MiniStack keeps all that is read here, but it does not carry out everything: it enforces no policy, raises no
//! alarm, makes no metric of a log line, and leaves `ReservedConcurrentExecutions`, `RecursiveLoop` and a bucket's
//! encryption, owner and lifecycle out of what it creates (`template.rs` looks at those).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local::{Project, Service, Settings, Stack};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What AWS itself measures, of all that is used here.
const OF_AWS: [(&str, &[&str]); 5] = [
    ("AWS/Firehose", &["DeliveryToS3.DataFreshness"]),
    (
        "AWS/Lambda",
        &[
            "Duration",
            "Errors",
            "Invocations",
            "Throttles",
            "Url4xxCount",
            "Url5xxCount",
            "UrlRequestCount",
            "UrlRequestLatency",
        ],
    ),
    ("AWS/Logs", &["IncomingBytes"]),
    ("AWS/S3", &["PutRequests"]),
    (
        "AWS/SQS",
        &[
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfEmptyReceives",
            "NumberOfMessagesReceived",
            "NumberOfMessagesSent",
        ],
    ),
];

/// Each alarm, what it watches, and whether the topic hears of its end as well.
const ALARMS: [(&str, &str, bool); 18] = [
    ("DeadLetters", "AWS/SQS ApproximateNumberOfMessagesVisible", true),
    ("QueueAge", "AWS/SQS ApproximateAgeOfOldestMessage", true),
    ("IngestErrors", "AWS/Lambda Url5xxCount", false),
    ("Unqueued", "vero-relay Unqueued", false),
    ("UnqueuedInLog", "vero-relay UnqueuedInLog", false),
    ("WorkerErrors", "AWS/Lambda Errors", true),
    ("WorkerThrottles", "AWS/Lambda Throttles", true),
    ("IngestThrottles", "AWS/Lambda Throttles", false),
    ("Quiet", "vero-relay Received", true),
    ("SegmentKey", "vero-relay SegmentUnauthorized", true),
    ("VeroKey", "vero-relay VeroTrackUnauthorized", true),
    ("OldestOwed", "vero-relay OldestOwed", true),
    ("Truncated", "vero-relay Truncated", false),
    ("WrongToken", "vero-relay Unauthorized", false),
    ("ArchiveBehind", "AWS/Firehose DeliveryToS3.DataFreshness", true),
    ("ArchiveErrors", "AWS/S3 PutRequests", false),
    ("Unrecorded", "vero-relay Unrecorded", false),
    ("ReplayErrors", "AWS/Lambda Errors", false),
];

/// Each alarm's text ends with a link to its heading in there.
const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

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
const WORKER_MAY: [(&str, &str); 12] = [
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
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
const OPTIONS: [(&str, &str); 6] = [
    ("SegmentTokenSha256", "33b4ede268bafdc0af425fff0a05058de7a7fa9dd3909c7d7a6c0ea7131244fd"),
    ("SegmentSharedSecretParameter", "/other/shared-secret"),
    ("BlueprintParameter", "/other/blueprint"),
    ("KmsKeyArn", KEY),
    ("Tracing", "Active"),
    ("AlarmEmail", "ops@example.com"),
];
const KEY_ASKS_FOR: [(&str, &str); 2] = [("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY)];
const TRACING_ASKS_FOR: [(&str, &str); 2] =
    [("xray:PutTelemetryRecords", "*"), ("xray:PutTraceSegments", "*")];

/// A cold start, a busy machine and MiniStack's polling together.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// Two stacks would install MiniStack into the same folder at the same time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn what_is_created_is_locked_down_and_watched() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let deployed = Deployed { names: stack.resources().await?, stack };

    deployed.has_safe_queues().await?;
    deployed.has_a_safe_archive().await?;
    deployed.has_one_door().await?;
    deployed.feeds_the_worker_from_the_queue().await?;
    deployed.logs_where_it_should("30").await?;
    deployed.raises_alarms().await?;
    deployed.has_a_dashboard_of_what_exists().await?;
    assert_eq!(deployed.may("IngestRole").await?, set(&[&INGEST_MAY]));
    assert_eq!(deployed.may("WorkerRole").await?, set(&[&WORKER_MAY]));
    assert_eq!(deployed.may("ReplayRole").await?, set(&[&REPLAY_MAY]));
    assert_eq!(deployed.may("ArchiveRole").await?, set(&[&ARCHIVE_MAY]));

    deployed.stack.update(&OPTIONS).await?;
    let secret = [("ssm:GetParameters", "/other/shared-secret")];
    let blueprint = [("ssm:GetParameters", "/other/blueprint")];
    let too = [KEY_ASKS_FOR, TRACING_ASKS_FOR].concat();
    assert_eq!(deployed.may("IngestRole").await?, set(&[&INGEST_MAY, &secret, &too]));
    assert_eq!(deployed.may("WorkerRole").await?, set(&[&WORKER_MAY, &blueprint, &too]));
    assert_eq!(deployed.may("ReplayRole").await?, set(&[&REPLAY_MAY, &too]));
    assert_eq!(deployed.may("ArchiveRole").await?, set(&[&ARCHIVE_MAY, &KEY_ASKS_FOR]));
    for queue in ["Queue", "DeadLetterQueue", "ReplayQueue"] {
        let attributes = deployed.attributes(queue).await?;
        assert_eq!(
            (&attributes["KmsMasterKeyId"], &attributes["SqsManagedSseEnabled"]),
            (&json!(KEY), &json!("false"))
        );
    }
    for function in ["Ingest", "Worker", "Replay"] {
        assert_eq!(deployed.function(function).await?["TracingConfig"]["Mode"], "Active");
    }
    Ok(())
}

/// As it is unless somebody asks for an archive; one that was there is kept.
#[tokio::test]
async fn without_an_archive_the_rest_is_as_it_was() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let with = stack.resources().await?;
    stack.update(&[("Archive", "false")]).await?;
    let without = stack.resources().await?;
    let of_archive: BTreeSet<&String> = with.keys().filter(|name| !without.contains_key(*name)).collect();
    let template = fs::read_to_string(Project::find().await?.root.join("template.yaml"))?;
    let template: Value = serde_saphyr::from_str(&template)?;
    for (name, resource) in template["Resources"].as_object().context("no resources")? {
        let is_optional = resource["Condition"] == "HasArchive";
        assert_eq!(of_archive.contains(name), is_optional, "{name}");
    }
    assert!(stack.s3(&format!("/{}", with["ArchiveBucket"])).await.is_ok(), "the bucket stays");
    let id = stack.post(r#"{"type":"opened","user":{"id":1}}"#).await?;
    assert_eq!(stack.deliveries(&id, 2, DEADLINE_AFTER).await.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_upgrade_keeps_the_url_and_whatever_is_queued() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let deployed = Deployed { names: stack.resources().await?, stack };
    let url = deployed.url().await?;
    let source = format!("/2015-03-31/event-source-mappings/{}", deployed.names["WorkerQueue"]);

    deployed.stack.lambda("PUT", &source, Some(json!({"Enabled": false}))).await?;
    let webhook = |user: u32| format!(r#"{{"type":"opened","user":{{"id":{user}}}}}"#);
    let mut ids = Vec::new();
    for user in 1..=3 {
        ids.push(deployed.stack.post(&webhook(user)).await?);
    }
    assert_eq!(deployed.attributes("Queue").await?["ApproximateNumberOfMessages"], "3");

    deployed.stack.update(&[("LogRetentionDays", "60"), ("WorkerMaximumConcurrency", "5")]).await?;
    assert_eq!(deployed.stack.resources().await?, deployed.names, "nothing is replaced");
    assert_eq!(deployed.url().await?, url);
    let parameters = deployed.parameters().await?;
    assert_eq!((&*parameters["LogRetentionDays"], &*parameters["WorkerMaximumConcurrency"]), ("60", "5"));
    let token = local::digest(deployed.stack.webhook_token());
    assert_eq!(parameters["WebhookTokenSha256"], token, "what is not said stays");
    deployed.logs_where_it_should("60").await?;
    assert_eq!(deployed.stack.lambda("GET", &source, None).await?["ScalingConfig"]["MaximumConcurrency"], 5);

    deployed.stack.lambda("PUT", &source, Some(json!({"Enabled": true}))).await?;
    ids.push(deployed.stack.post(&webhook(4)).await?);
    for id in ids {
        assert_eq!(deployed.stack.deliveries(&id, 2, DEADLINE_AFTER).await.len(), 2, "{id}");
    }
    assert_eq!(deployed.stack.dead_letters().await?, 0);
    Ok(())
}

/// The runbook's way: both digests, the new URL in Vero, the new digest alone. Webhooks come all the while.
#[tokio::test]
async fn a_token_is_rotated_without_a_lost_webhook() -> Result<()> {
    const NEW: &str = "a-new-token-for-this-test-0123456789-abcdef";
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let old = stack.webhook_token().to_owned();
    let webhook = r#"{"type":"opened","user":{"id":1}}"#;
    let mut ids = Vec::new();

    let both = format!("{},{}", local::digest(&old), local::digest(NEW));
    for (digests, token) in [(both, old.as_str()), (local::digest(NEW), NEW)] {
        let change = [("WebhookTokenSha256", digests.as_str())];
        let mut update = std::pin::pin!(stack.update(&change));
        loop {
            ids.push(stack.post_by(token, webhook).await?);
            if let Ok(updated) = tokio::time::timeout(Duration::from_millis(50), &mut update).await {
                updated?;
                break;
            }
        }
        ids.push(stack.post_by(NEW, webhook).await?);
    }
    let refused = stack.post_by(&old, webhook).await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    for id in ids {
        assert_eq!(stack.deliveries(&id, 2, DEADLINE_AFTER).await.len(), 2, "{id}");
    }
    Ok(())
}

/// The calls in the sources are those that the roles are for.
#[tokio::test]
async fn the_code_makes_the_calls_that_the_roles_allow() -> Result<()> {
    let root = Project::find().await?.root;
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    let services: Vec<&str> =
        workspace.lines().filter_map(|line| line.strip_prefix("aws-sdk-")?.split(' ').next()).collect();
    assert_eq!(
        services,
        ["cloudwatchlogs", "firehose", "sqs"],
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

/// The actions that a function's sources need, by the SDK's methods in them, and by the one of ours for SSM.
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

struct Deployed {
    stack: Stack,
    /// What each resource of the template is called at AWS.
    names: BTreeMap<String, String>,
}

impl Deployed {
    async fn attributes(&self, queue: &str) -> Result<Value> {
        let query = json!({"QueueUrl": self.names[queue], "AttributeNames": ["All"]});
        Ok(self.stack.json("sqs", "AmazonSQS.GetQueueAttributes", query).await?["Attributes"].take())
    }

    async fn function(&self, name: &str) -> Result<Value> {
        let path = format!("/2015-03-31/functions/{}/configuration", self.names[name]);
        self.stack.lambda("GET", &path, None).await
    }

    /// The stack's parameters.
    async fn parameters(&self) -> Result<BTreeMap<String, String>> {
        let (stack, service) = ([("StackName", "vero-relay")], Service::CloudFormation);
        let names = self.stack.texts(service, "DescribeStacks", &stack, "ParameterKey").await?;
        let values = self.stack.texts(service, "DescribeStacks", &stack, "ParameterValue").await?;
        ensure!(names.len() == values.len(), "{names:?} {values:?}");
        Ok(names.into_iter().zip(values).collect())
    }

    async fn url(&self) -> Result<Value> {
        let path = format!("/2021-10-31/functions/{}/url", self.names["Ingest"]);
        self.stack.lambda("GET", &path, None).await
    }

    async fn cloudwatch(&self, action: &str, query: Value) -> Result<Value> {
        self.stack.json("monitoring", &format!("GraniteServiceVersion20100801.{action}"), query).await
    }

    async fn has_safe_queues(&self) -> Result<()> {
        for (queue, days) in [("Queue", 7), ("DeadLetterQueue", 14), ("ReplayQueue", 14)] {
            let attributes = self.attributes(queue).await?;
            assert_eq!(attributes["SqsManagedSseEnabled"], "true", "{queue}");
            assert_eq!(attributes["MessageRetentionPeriod"], (days * 24 * 3600).to_string(), "{queue}");
            assert_eq!(attributes["DelaySeconds"], "0", "{queue}");
            let refusal = json!({
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": attributes["QueueArn"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            });
            assert_eq!(parsed(&attributes["Policy"])?["Statement"], json!([refusal]), "{queue}");
        }
        let letters = self.attributes("DeadLetterQueue").await?;
        let mut sources = Vec::new();
        for (queue, visibility, receives) in [("Queue", "150", 10), ("ReplayQueue", "960", 5)] {
            let queue = self.attributes(queue).await?;
            assert_eq!(queue["VisibilityTimeout"], visibility);
            let redrive = json!({"deadLetterTargetArn": letters["QueueArn"], "maxReceiveCount": receives});
            assert_eq!(parsed(&queue["RedrivePolicy"])?, redrive);
            sources.push(queue["QueueArn"].clone());
        }
        let allow = json!({"redrivePermission": "byQueue", "sourceQueueArns": sources});
        assert_eq!(parsed(&letters["RedriveAllowPolicy"])?, allow);
        Ok(())
    }

    async fn has_a_safe_archive(&self) -> Result<()> {
        let bucket = &self.names["ArchiveBucket"];
        let versioning = self.stack.s3(&format!("/{bucket}?versioning")).await?;
        assert!(versioning.contains("<Status>Enabled</Status>"), "{versioning}");
        let access = self.stack.s3(&format!("/{bucket}?publicAccessBlock")).await?;
        assert_eq!(access.matches(">true<").count(), 4, "all four ways to be public are blocked: {access}");
        let refusal = json!({
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        });
        let policy: Value = serde_json::from_str(&self.stack.s3(&format!("/{bucket}?policy")).await?)?;
        assert_eq!(policy["Statement"], json!([refusal]));
        let data = "data/day=!{partitionKeyFromQuery:day}/source=!{partitionKeyFromQuery:source}/";
        let folders =
            [("ArchiveStream", data), ("DeliveriesStream", "deliveries/day=!{timestamp:yyyy-MM-dd}/")];
        for (stream, folder) in folders {
            let query = json!({"DeliveryStreamName": self.names[stream]});
            let answer =
                self.stack.json("firehose", "Firehose_20150804.DescribeDeliveryStream", query).await?;
            let s3 =
                &answer["DeliveryStreamDescription"]["Destinations"][0]["ExtendedS3DestinationDescription"];
            assert_eq!(s3["BucketARN"], format!("arn:aws:s3:::{bucket}"));
            assert_eq!((&s3["CompressionFormat"], &s3["Prefix"]), (&json!("GZIP"), &json!(folder)));
        }
        Ok(())
    }

    /// The Function URL, which anybody may call, and no other way to call ingest.
    async fn has_one_door(&self) -> Result<()> {
        assert_eq!(self.url().await?["AuthType"], "NONE");
        let path = format!("/2015-03-31/functions/{}/policy", self.names["Ingest"]);
        let policy = parsed(&self.stack.lambda("GET", &path, None).await?["Policy"])?;
        let statements = policy["Statement"].as_array().context("no statements")?;
        let permissions: BTreeMap<&str, &Value> = statements
            .iter()
            .filter(|statement| statement["Effect"] == "Allow" && statement["Principal"] == "*")
            .filter_map(|statement| Some((statement["Action"].as_str()?, &statement["Condition"])))
            .collect();
        assert_eq!(
            permissions,
            BTreeMap::from([
                ("lambda:InvokeFunction", &json!({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}})),
                (
                    "lambda:InvokeFunctionUrl",
                    &json!({"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}})
                ),
            ])
        );
        assert_eq!(statements.len(), 2);
        let path = format!("/2015-03-31/functions/{}/policy", self.names["Replay"]);
        let of_replay = parsed(&self.stack.lambda("GET", &path, None).await?["Policy"])?;
        assert_eq!(of_replay["Statement"].as_array().map(Vec::len), Some(1));
        assert_eq!(of_replay["Statement"][0]["Principal"]["Service"], "events.amazonaws.com");
        let path = format!("/2015-03-31/functions/{}/policy", self.names["Worker"]);
        // AWS answers 404; MiniStack with a policy that says nothing.
        let of_worker =
            self.stack.lambda("GET", &path, None).await.and_then(|answer| parsed(&answer["Policy"]));
        assert!(of_worker.is_ok_and(|policy| policy["Statement"] == json!([])), "nobody may call the worker");
        Ok(())
    }

    async fn feeds_the_worker_from_the_queue(&self) -> Result<()> {
        let path = format!("/2015-03-31/event-source-mappings/{}", self.names["WorkerQueue"]);
        let source = self.stack.lambda("GET", &path, None).await?;
        assert_eq!(source["EventSourceArn"], self.attributes("Queue").await?["QueueArn"]);
        assert_eq!(source["FunctionArn"], self.function("Worker").await?["FunctionArn"]);
        assert_eq!(source["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
        assert_eq!(source["BatchSize"], 100);
        // MiniStack keeps a template's number parameters as text.
        assert_eq!(source["MaximumBatchingWindowInSeconds"].to_string().trim_matches('"'), "2");
        assert_eq!(source["ScalingConfig"], json!({"MaximumConcurrency": 10}));
        Ok(())
    }

    /// The functions log as JSON into groups of the stack's, and count in a namespace of the stack's.
    async fn logs_where_it_should(&self, days: &str) -> Result<()> {
        let groups = [("Ingest", "IngestLogs"), ("Worker", "WorkerLogs"), ("Replay", "ReplayLogs")];
        for (function, group) in groups {
            let function = self.function(function).await?;
            let logging = json!({
                "LogFormat": "JSON",
                "ApplicationLogLevel": "TRACE",
                "SystemLogLevel": "WARN",
                "LogGroup": self.names[group],
            });
            assert_eq!(function["LoggingConfig"], logging);
            assert_eq!(function["Environment"]["Variables"]["METRICS_NAMESPACE"], "vero-relay");
            let query = json!({"logGroupNamePrefix": self.names[group]});
            let groups = self.stack.json("logs", "Logs_20140328.DescribeLogGroups", query).await?;
            assert_eq!(groups["logGroups"][0]["retentionInDays"].to_string(), days);
        }
        Ok(())
    }

    async fn raises_alarms(&self) -> Result<()> {
        let answer = self.cloudwatch("DescribeAlarms", json!({})).await?;
        let alarms = answer["MetricAlarms"].as_array().context("no alarms")?;
        assert_eq!(alarms.len(), ALARMS.len());
        let topic = json!([self.names["AlarmTopic"]]);
        for (name, watches, tells_of_its_end) in ALARMS {
            let alarm = alarms.iter().find(|alarm| alarm["AlarmName"] == self.names[&format!("{name}Alarm")]);
            let alarm = alarm.with_context(|| format!("no alarm {name}"))?;
            let (namespace, metric) = (text(&alarm["Namespace"]), text(&alarm["MetricName"]));
            assert_eq!(format!("{namespace} {metric}"), watches, "{name}");
            self.check_metric(namespace, metric, &alarm["Dimensions"]).await?;
            assert_eq!(alarm["AlarmActions"], topic, "{name}");
            assert_eq!(
                alarm["OKActions"],
                if tells_of_its_end { topic.clone() } else { json!([]) },
                "{name}"
            );
            // No news is good news, of all but the one that waits for news.
            let silence = if name == "Quiet" { "breaching" } else { "notBreaching" };
            assert_eq!(alarm["TreatMissingData"], silence, "{name}");
            let description = text(&alarm["AlarmDescription"]);
            let link = format!("docs/runbook.md#{}", name.to_lowercase());
            assert!(description.ends_with(&link), "{description}");
            assert!(RUNBOOK.contains(&format!("\n## {name}\n")), "the runbook has no heading {name}");
            assert!(description.len() <= 1024, "CloudWatch takes no more: {description}");
        }
        let query = [("TopicArn", self.names["AlarmTopic"].as_str())];
        let policy = self.stack.texts(Service::Sns, "GetTopicAttributes", &query, "value").await?;
        let policy = policy.iter().find(|value| value.contains("Statement")).context("no topic policy")?;
        assert!(policy.contains(":alarm:vero-relay-*") && policy.contains("aws:SecureTransport"), "{policy}");
        Ok(())
    }

    async fn has_a_dashboard_of_what_exists(&self) -> Result<()> {
        let query = json!({"DashboardName": self.names["Dashboard"]});
        let dashboard = parsed(&self.cloudwatch("GetDashboard", query).await?["DashboardBody"])?;
        let mut metrics = BTreeSet::new();
        for widget in dashboard["widgets"].as_array().context("no widgets")? {
            if let Some(alarms) = widget["properties"]["alarms"].as_array() {
                assert_eq!(alarms.len(), ALARMS.len(), "all alarms are on it");
            }
            for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
                let fields: Vec<&str> =
                    metric.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let dimensions = match fields[..] {
                    [_, _, name, value] => json!([{"Name": name, "Value": value}]),
                    _ => json!([]),
                };
                self.check_metric(fields[0], fields[1], &dimensions).await?;
                metrics.insert(fields.join(" "));
            }
        }
        // The free dashboards are those of up to 50 metrics.
        assert!((20..=50).contains(&metrics.len()), "{metrics:?}");
        Ok(())
    }

    /// A metric that nobody measures would leave its alarm silent for ever.
    async fn check_metric(&self, namespace: &str, metric: &str, dimensions: &Value) -> Result<()> {
        if namespace == "vero-relay" {
            let others = ingest::METRICS.into_iter().chain(replay::METRICS).map(str::to_owned);
            let emitted: BTreeSet<String> = worker::metrics().chain(others).collect();
            ensure!(emitted.contains(metric) || self.filters_for(metric).await?, "no code emits {metric}");
            assert_eq!(dimensions, &json!([]), "{metric}");
            return Ok(());
        }
        let of_aws = OF_AWS.iter().any(|(of, metrics)| *of == namespace && metrics.contains(&metric));
        ensure!(of_aws, "AWS does not measure {metric} in {namespace}");
        let dimension = match dimensions.as_array().map(Vec::as_slice).unwrap_or_default() {
            [dimension] => dimension,
            // Which of the bucket's requests, too; `template.rs` looks at the filter.
            [bucket, filter] if namespace == "AWS/S3" && filter["Name"] == "FilterId" => bucket,
            _ => anyhow::bail!("{metric} has {dimensions}"),
        };
        let resources: &[&str] = match text(&dimension["Name"]) {
            "BucketName" => &["ArchiveBucket"],
            "DeliveryStreamName" => &["ArchiveStream", "DeliveriesStream"],
            "FunctionName" => &["Ingest", "Worker", "Replay"],
            "LogGroupName" => &["IngestLogs", "WorkerLogs"],
            "QueueName" => &["Queue", "DeadLetterQueue"],
            other => anyhow::bail!("{metric} has no dimension {other}"),
        };
        let is_ours = resources.iter().any(|resource| {
            let name = &self.names[*resource];
            let name =
                if namespace == "AWS/SQS" { name.rsplit('/').next().unwrap_or_default() } else { name };
            dimension["Value"] == name
        });
        ensure!(is_ours, "{metric} is of {}", dimension["Value"]);
        Ok(())
    }

    /// Whether a metric is made of log lines.
    async fn filters_for(&self, metric: &str) -> Result<bool> {
        let filters = self.stack.json("logs", "Logs_20140328.DescribeMetricFilters", json!({})).await?;
        let filters = filters["metricFilters"].as_array().cloned().unwrap_or_default();
        let [filter] = filters.as_slice() else { anyhow::bail!("{} metric filters", filters.len()) };
        assert_eq!(filter["logGroupName"], self.names["IngestLogs"]);
        assert_eq!(filter["filterPattern"], r#"{ $.message = "unqueued_webhook" }"#);
        let transformation = &filter["metricTransformations"][0];
        assert_eq!(transformation["metricNamespace"], "vero-relay");
        Ok(transformation["metricName"] == metric)
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

fn parsed(json: &Value) -> Result<Value> {
    serde_json::from_str(text(json)).with_context(|| format!("no JSON: {json}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
