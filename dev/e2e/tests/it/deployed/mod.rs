//! The production template, deployed on this machine and read back: what a security review would ask of the account,
//! and an upgrade.
//!
//! MiniStack keeps all that is read here, but it does not carry out everything: it enforces no policy, raises no
//! alarm, makes no metric of a log line, and leaves `ReservedConcurrentExecutions`, `RecursiveLoop` and a bucket's
//! encryption, owner and lifecycle out of what it creates (`template.rs` looks at those).

mod alarms;
mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use local::{Project, Service, Settings, Stack};
use serde_json::{Value, json};

use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

/// What parameters add.
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
const OPTIONS: [(&str, &str); 7] = [
    ("SegmentTokenSha256", "33b4ede268bafdc0af425fff0a05058de7a7fa9dd3909c7d7a6c0ea7131244fd"),
    ("SegmentSharedSecretParameter", "/other/shared-secret"),
    ("BlueprintParameter", "/other/blueprint"),
    ("AddressHashSecretParameter", "/other/address-hash-secret"),
    ("KmsKeyArn", KEY),
    ("Tracing", "Active"),
    ("AlarmEmail", "ops@example.com"),
];

#[tokio::test]
async fn what_is_created_is_locked_down_and_watched() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings { endpoint: true, ..Settings::default() }).await?;
    let deployed = Deployed { names: stack.resources().await?, stack };

    deployed.has_safe_queues().await?;
    deployed.has_a_safe_archive().await?;
    deployed.has_one_way_in().await?;
    deployed.feeds_the_worker_from_the_queue().await?;
    deployed.logs_where_it_should("30").await?;
    deployed.raises_alarms().await?;
    deployed.has_a_dashboard_of_what_exists().await?;
    deployed.has_roles_that_may_do_what_they_must().await?;

    deployed.stack.update(&OPTIONS).await?;
    deployed.has_roles_that_may_do_what_options_add().await?;
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
    let token = harness::digest(deployed.stack.webhook_token());
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
    async fn has_one_way_in(&self) -> Result<()> {
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
}

fn parsed(json: &Value) -> Result<Value> {
    serde_json::from_str(text(json)).with_context(|| format!("no JSON: {json}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
