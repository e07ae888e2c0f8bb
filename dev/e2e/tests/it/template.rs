//! The numbers in template.yaml agree with each other and with the delivery rules.

use std::time::Duration;

use anyhow::{Context, Result};
use relay_core::delivery::{MAX_ATTEMPTS, delay};
use serde_json::{Value, json};

/// The template; CloudFormation's tags are left out, their arguments stay.
struct Template(Value);

impl Template {
    fn read() -> Result<Self> {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml"))?;
        Ok(Self(serde_saphyr::from_str(&text)?))
    }

    fn property(&self, resource: &str, path: &str) -> Result<&Value> {
        let property = self.0["Resources"][resource]["Properties"].pointer(path);
        property.with_context(|| format!("{resource} has no {path}"))
    }

    fn seconds(&self, resource: &str, path: &str) -> Result<Duration> {
        let seconds = self.property(resource, path)?.as_u64();
        Ok(Duration::from_secs(seconds.with_context(|| format!("{path} of {resource} is no number"))?))
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// `relay status` shows it.
#[test]
fn the_stack_says_its_release() -> Result<()> {
    assert_eq!(Template::read()?.0["Outputs"]["Release"]["Value"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[test]
fn a_batch_whose_worker_died_comes_back_soon_and_not_too_soon() -> Result<()> {
    let template = Template::read()?;
    let timeout = template.seconds("Worker", "/Timeout")?;
    assert!(timeout <= Duration::from_secs(25), "{timeout:?}");
    let visibility = template.property("Queue", "/VisibilityTimeout")?.as_array().context("no condition")?;
    let [condition, short, long] = &visibility[..] else { anyhow::bail!("{visibility:?}") };
    let [short, long] =
        [short, long].map(|seconds| Duration::from_secs(seconds.as_u64().unwrap_or_default()));
    assert_eq!((condition, short), (&json!("HasShortBatchWindow"), timeout * 6));
    assert!(short < Duration::from_secs(3 * 60), "Vero's deduplication forgets by its older page");

    // What is gathered is hidden for as long, too.
    let window = &template.0["Parameters"]["BatchWindowSeconds"];
    assert_eq!((&window["MinValue"], &window["Default"]), (&json!(0), &json!(2)));
    let longest = Duration::from_secs(window["MaxValue"].as_u64().context("no MaxValue")?);
    assert_eq!((longest, long), (Duration::from_secs(300), longest + timeout * 6));
    let short_ones = template.0["Conditions"]["HasShortBatchWindow"].as_array().context("no condition")?;
    let expected: Vec<Value> =
        (0..10).map(|seconds| json!(["BatchWindowSeconds", seconds.to_string()])).collect();
    assert_eq!(short_ones, &expected);
    assert!(short - Duration::from_secs(9) > timeout * 5, "gathered for 9 s, tried for 25");
    Ok(())
}

#[test]
fn only_deaths_of_the_worker_count_towards_the_dead_letter_queue() -> Result<()> {
    let template = Template::read()?;
    assert_eq!(template.property("Queue", "/RedrivePolicy/maxReceiveCount")?, 10);
    assert_eq!(template.property("Queue", "/RedrivePolicy/deadLetterTargetArn")?, "DeadLetterQueue.Arn");
    assert!(template.property("Queue", "/DelaySeconds").is_err(), "the delay is each message's own");
    let source = |path: &str| template.property("Worker", &format!("/Events/Queue/Properties{path}"));
    assert_eq!(source("/Queue")?, "Queue.Arn");
    assert_eq!(source("/MaximumBatchingWindowInSeconds")?, "BatchWindowSeconds");
    assert_eq!(
        source("/BatchSize")?,
        &json!(["HasBatchWindow", 100, 10]),
        "over 10, Lambda asks for a window"
    );
    assert_eq!(source("/FunctionResponseTypes")?, &json!(["ReportBatchItemFailures"]));
    Ok(())
}

/// Lambda would stop them after about 16 rounds, since the worker sends them to the queue that feeds it.
#[test]
fn retries_are_no_runaway_loop() -> Result<()> {
    assert_eq!(Template::read()?.property("Worker", "/RecursiveLoop")?, "Allow");
    Ok(())
}

#[test]
fn the_queues_keep_messages_for_longer_than_the_back_off_lasts() -> Result<()> {
    let template = Template::read()?;
    let kept = template.seconds("Queue", "/MessageRetentionPeriod")?;
    let letters_kept = template.seconds("DeadLetterQueue", "/MessageRetentionPeriod")?;
    assert_eq!(letters_kept, DAY * 14);
    assert!(letters_kept > kept, "their clock goes on from the first send");
    // Each copy is a new message; but even if it were one all along:
    let back_off = |random| (1..MAX_ATTEMPTS).map(|attempt| delay(attempt, None, random)).sum::<Duration>();
    assert!(back_off(0.5).abs_diff(HOUR * 22) < HOUR, "{:?}", back_off(0.5));
    assert!(kept > back_off(1.0), "{:?}", back_off(1.0));
    assert!(back_off(0.0) > HOUR * 12, "what is half a day down needs nobody");
    Ok(())
}

#[test]
fn ingest_may_run_as_long_as_vero_waits() -> Result<()> {
    assert_eq!(Template::read()?.seconds("Ingest", "/Timeout")?, Duration::from_secs(5));
    Ok(())
}

#[test]
fn only_ingest_can_have_executions_reserved() -> Result<()> {
    let template = Template::read()?;
    let reservation = template.property("Ingest", "/ReservedConcurrentExecutions")?;
    assert_eq!(reservation, &json!(["HasReservation", "IngestReservedConcurrency", "AWS::NoValue"]));
    assert!(
        template.property("Worker", "/ReservedConcurrentExecutions").is_err(),
        "it has MaximumConcurrency"
    );
    Ok(())
}

#[test]
fn messages_outlive_the_stack() -> Result<()> {
    let template = Template::read()?;
    for queue in ["Queue", "DeadLetterQueue"] {
        let queue = &template.0["Resources"][queue];
        assert_eq!(queue["DeletionPolicy"], "RetainExceptOnCreate");
        assert_eq!(queue["UpdateReplacePolicy"], "Retain");
    }
    Ok(())
}

#[test]
fn the_archive_outlives_the_stack_and_what_is_forgotten_does_not() -> Result<()> {
    let template = Template::read()?;
    for kept in ["ArchiveBucket", "ArchiveBucketPolicy"] {
        let kept = &template.0["Resources"][kept];
        assert_eq!(kept["DeletionPolicy"], "RetainExceptOnCreate");
        assert_eq!(kept["UpdateReplacePolicy"], "Retain");
    }
    let rules = template.property("ArchiveBucket", "/LifecycleConfiguration/Rules")?;
    let rules = rules.as_array().context("no rules")?;
    let ends = |prefix: &str| rules.iter().find(|rule| rule["Prefix"] == prefix);
    assert_eq!(ends("athena/").map(|rule| &rule["ExpirationInDays"]), Some(&json!(7)));
    assert_eq!(ends("requeued/").map(|rule| &rule["ExpirationInDays"]), Some(&json!(30)));
    // Nothing else ever expires, but what was overwritten: above all not what Firehose could not place.
    assert_eq!(rules.iter().filter(|rule| !rule["ExpirationInDays"].is_null()).count(), 2);
    let everything = rules.iter().find(|rule| !rule["Id"].is_null() && rule["Prefix"].is_null());
    let undone = everything.map(|rule| &rule["NoncurrentVersionExpiration"]["NoncurrentDays"]);
    assert_eq!(undone, Some(&json!("ArchiveUndoDays")));
    Ok(())
}

#[test]
fn the_archive_is_encrypted_and_the_accounts_own() -> Result<()> {
    let template = Template::read()?;
    let path = "/BucketEncryption/ServerSideEncryptionConfiguration/0/ServerSideEncryptionByDefault";
    let by_default = json!({
        "SSEAlgorithm": ["HasKey", "aws:kms", "AES256"],
        "KMSMasterKeyID": ["HasKey", "KmsKeyArn", "AWS::NoValue"],
    });
    assert_eq!(template.property("ArchiveBucket", path)?, &by_default);
    let owner = template.property("ArchiveBucket", "/OwnershipControls/Rules/0/ObjectOwnership")?;
    assert_eq!(owner, "BucketOwnerEnforced");
    for stream in ["ArchiveStream", "DeliveriesStream"] {
        let key = template.property(stream, "/DeliveryStreamEncryptionConfigurationInput/KeyType")?;
        assert_eq!(key, &json!(["HasKey", "CUSTOMER_MANAGED_CMK", "AWS_OWNED_CMK"]));
    }
    Ok(())
}

#[test]
fn what_firehose_cannot_place_is_tried_for_long_and_raises_an_alarm() -> Result<()> {
    let template = Template::read()?;
    let destination = "/ExtendedS3DestinationConfiguration";
    let retry = format!("{destination}/DynamicPartitioningConfiguration/RetryOptions/DurationInSeconds");
    let tried = template.seconds("ArchiveStream", &retry)?;
    assert_eq!(tried, HOUR * 2, "the most that Firehose takes");
    let gathered =
        template.seconds("ArchiveStream", &format!("{destination}/BufferingHints/IntervalInSeconds"))?;
    let alarm = |path: &str| template.seconds("ArchiveBehindAlarm", path);
    let raised = alarm("/Threshold")? + alarm("/Period")? * alarm("/EvaluationPeriods")?.as_secs() as u32;
    assert!(raised < gathered + tried, "somebody hears of it before Firehose gives up");

    let errors = template.property("ArchiveBucket", "/MetricsConfigurations/0")?;
    for stream in ["ArchiveStream", "DeliveriesStream"] {
        let prefix = template.property(stream, &format!("{destination}/ErrorOutputPrefix"))?;
        let prefixes = prefix.as_str().zip(errors["Prefix"].as_str());
        assert!(prefixes.is_some_and(|(prefix, counted)| prefix.starts_with(counted)), "{stream}");
    }
    let watched = template.property("ArchiveErrorsAlarm", "/Dimensions/1/Value")?;
    assert_eq!(watched, &errors["Id"]);
    Ok(())
}

#[test]
fn firehose_writes_for_this_account_alone() -> Result<()> {
    let statement =
        Template::read()?.property("ArchiveRole", "/AssumeRolePolicyDocument/Statement/0")?.clone();
    assert_eq!(statement["Principal"]["Service"], "firehose.amazonaws.com");
    assert_eq!(statement["Condition"], json!({"StringEquals": {"sts:ExternalId": "AWS::AccountId"}}));
    Ok(())
}

#[test]
fn a_replay_is_handed_out_once() -> Result<()> {
    let template = Template::read()?;
    let timeout = template.seconds("Replay", "/Timeout")?;
    // Lambda takes no event source whose messages come back before the function's end.
    assert!(template.seconds("ReplayQueue", "/VisibilityTimeout")? > timeout);
    assert_eq!(template.property("Replay", "/Events/Continuation/Properties/BatchSize")?, 1);
    assert_eq!(template.property("Replay", "/RecursiveLoop")?, "Allow");
    Ok(())
}

#[test]
fn each_parameter_is_explained_bounded_and_in_a_group() -> Result<()> {
    let Template(template) = Template::read()?;
    let groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"].as_array();
    let mut grouped: Vec<&str> = groups
        .into_iter()
        .flatten()
        .flat_map(|group| group["Parameters"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    grouped.sort_unstable();
    let parameters = template["Parameters"].as_object().context("no parameters")?;
    let mut names: Vec<&str> = parameters.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(grouped, names);
    for (name, parameter) in parameters {
        assert!(parameter["Description"].is_string(), "{name}");
        let bounds = ["AllowedPattern", "AllowedValues", "MaxValue"];
        assert!(bounds.iter().any(|bound| !parameter[bound].is_null()), "{name} takes anything");
    }
    Ok(())
}
