//! Alarms, the dashboard, and whether somebody measures what they show.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use local::Service;
use serde_json::{Value, json};

use super::{Deployed, parsed, text};

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
const ALARMS: [(&str, &str, bool); 19] = [
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
    ("WebhookKey", "vero-relay WebhookUnauthorized", true),
    ("OldestOwed", "vero-relay OldestOwed", true),
    ("Truncated", "vero-relay Truncated", false),
    ("WrongToken", "vero-relay Unauthorized", false),
    ("ArchiveBehind", "AWS/Firehose DeliveryToS3.DataFreshness", true),
    ("ArchiveErrors", "AWS/S3 PutRequests", false),
    ("Unrecorded", "vero-relay Unrecorded", false),
    ("ReplayErrors", "AWS/Lambda Errors", false),
];

/// Each alarm's text ends with a link to its heading in there.
const RUNBOOK: &str = include_str!("../../../../../docs/runbook.md");

impl Deployed {
    pub(super) async fn raises_alarms(&self) -> Result<()> {
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

    pub(super) async fn has_a_dashboard_of_what_exists(&self) -> Result<()> {
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
}
