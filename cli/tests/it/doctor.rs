//! `relay doctor` and `relay repair`: silent on a healthy stack, and each fault named that is planted by AWS's own calls.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use local::{Service, VERO_AUTH_TOKEN};
use serde_json::{Value, json};

use crate::relay::{Relay, start};
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME, WEBHOOK, rights};

impl Relay {
    /// The codes of what the doctor finds.
    async fn findings(&self) -> Result<BTreeSet<String>> {
        let (code, document) = self.json("doctor").await?;
        let findings = document["findings"].as_array().with_context(|| format!("{code}: {document}"))?;
        ensure!(code == if findings.is_empty() { 0 } else { 5 }, "{code}: {document}");
        let codes = findings.iter().filter_map(|finding| finding["code"].as_str());
        Ok(codes.map(str::to_owned).collect())
    }
}

fn queue_with(url: &str, attribute: &str) -> Value {
    json!({"QueueUrl": url, "AttributeNames": [attribute]})
}

fn codes<const N: usize>(codes: [&str; N]) -> BTreeSet<String> {
    codes.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_doctor_is_silent_until_something_is_wrong_and_then_names_it() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let names = stack.resources().await?;
    let id = stack.post(WEBHOOK).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    assert_eq!(relay.findings().await?, codes([]), "a healthy stack is silent");
    let (_, document) = relay.json("doctor").await?;
    assert_eq!(document["unknown"], json!([]), "and everything can be looked at");

    // A change of the stack leaves everything as it can be looked at.
    assert_eq!(relay.json("set QuietHours=48 --yes").await?, (0, json!({"QuietHours": "48"})));
    let (_, document) = relay.json("doctor").await?;
    assert_eq!((&document["findings"], &document["unknown"]), (&json!([]), &json!([])));

    // Each is planted by AWS's own calls, and taken away again.
    let source = format!("/2015-03-31/event-source-mappings/{}", names["WorkerQueue"]);
    stack.lambda("PUT", &source, Some(json!({"Enabled": false}))).await?;
    assert_eq!(relay.findings().await?, codes(["event_source_disabled"]));
    assert_eq!(relay.json("repair --yes").await?.0, 0);
    assert_eq!(relay.findings().await?, codes([]), "its mend mends it");

    let queue = |attributes: Value| json!({"QueueUrl": names["Queue"], "Attributes": attributes});
    for (changed, back, code) in [
        ("VisibilityTimeout", "150", "visibility_too_short"),
        ("MessageRetentionPeriod", "604800", "retention_changed"),
    ] {
        stack.json("sqs", "AmazonSQS.SetQueueAttributes", queue(json!({changed: "60"}))).await?;
        assert_eq!(relay.findings().await?, codes([code]));
        stack.json("sqs", "AmazonSQS.SetQueueAttributes", queue(json!({changed: back}))).await?;
    }

    let secret = |value: &str, kind: &str| json!({"Name": "/vero-relay/vero-auth-token", "Value": value, "Type": kind, "Overwrite": true});
    for (value, kind, expected) in [
        ("local-segment-write-key", "SecureString", codes(["secrets_alike"])),
        ("local-vero-auth-token ", "SecureString", codes(["secret_has_blanks"])),
        ("local-vero-auth-token", "String", codes(["secret_not_encrypted"])),
    ] {
        // SSM changes no parameter's type.
        stack
            .json("ssm", "AmazonSSM.DeleteParameter", json!({"Name": "/vero-relay/vero-auth-token"}))
            .await?;
        stack.json("ssm", "AmazonSSM.PutParameter", secret(value, kind)).await?;
        assert_eq!(relay.findings().await?, expected);
        let (code, stored) = relay.json_of("key set vero", &format!("{VERO_AUTH_TOKEN}\n")).await?;
        assert_eq!(code, 0, "{stored}");
        assert_eq!(relay.findings().await?, codes([]), "its mend mends it");
    }
    stack.json("ssm", "AmazonSSM.DeleteParameter", json!({"Name": "/vero-relay/vero-auth-token"})).await?;
    assert_eq!(relay.findings().await?, codes(["secret_missing"]));
    stack.json("ssm", "AmazonSSM.PutParameter", secret(VERO_AUTH_TOKEN, "SecureString")).await?;

    ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");
    assert_eq!(relay.findings().await?, codes(["dead_letters"]));
    let (code, deleted) = relay.json("letters delete --reason not_json").await?;
    assert_eq!((code, &deleted["stdout"]), (3, &json!("")), "nobody said yes");
    let (code, deleted) = relay.json("letters delete --reason not_json --yes").await?;
    assert_eq!((code, deleted), (0, json!({"deleted": 1})));
    assert_eq!(relay.findings().await?, codes([]), "mended");

    for _ in 0..10 {
        ensure!(stack.post_by("no-token-of-this-stack", WEBHOOK).await.is_err());
    }
    assert_eq!(relay.findings().await?, codes(["token_rejected"]));

    for (function, code) in [("Ingest", "ingest_may_not_run"), ("Worker", "worker_may_not_run")] {
        let path = format!("/2017-10-31/functions/{}/concurrency", names[function]);
        stack.lambda("PUT", &path, Some(json!({"ReservedConcurrentExecutions": 0}))).await?;
        let found = relay.findings().await?;
        assert!(found.contains(code), "{code}: {found:?}");
        assert_eq!(relay.json("repair --yes").await?.0, 0);
        let found = relay.findings().await?;
        assert!(!found.contains(code), "{code}: {found:?}");
    }

    // What somebody sets, and what only a look into AWS shows.
    let set = "PausedDestinations=segment LogLevel=error SegmentEndpoint=https://api.segment.io/v1 BlueprintParameter=/vero-relay/blueprint";
    let blueprint = json!({"Name": "/vero-relay/blueprint", "Value": "{", "Type": "String"});
    stack.json("ssm", "AmazonSSM.PutParameter", blueprint).await?;
    let before = relay.json("status").await?.1["stack"]["parameters"].clone();
    assert_eq!(relay.json(&format!("set {set} --yes")).await?.0, 0);
    let policy = stack
        .json("sqs", "AmazonSQS.GetQueueAttributes", queue_with(&names["Queue"], "RedrivePolicy"))
        .await?;
    let policy = policy["Attributes"]["RedrivePolicy"].as_str().context("no redrive policy")?.to_owned();
    let early = policy.replace("10", "1");
    ensure!(early != policy, "{policy}");
    stack.json("sqs", "AmazonSQS.SetQueueAttributes", queue(json!({"RedrivePolicy": early}))).await?;
    stack.put_in_archive("errors/data/1", r#"{"errorCode":"S3.AccessDenied","rawData":""}"#).await?;
    let role = names["WorkerRole"].as_str();
    let more = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:DeleteBucket", "Resource": "*"}]});
    let more = more.to_string();
    let put = [("RoleName", role), ("PolicyName", "by-hand"), ("PolicyDocument", more.as_str())];
    stack.texts(Service::Iam, "PutRolePolicy", &put, "RequestId").await?;
    let planted = codes([
        "blueprint_faulty",
        "destination_paused",
        "endpoint_is_wrong",
        "log_is_silent",
        "misplaced_rows",
        "redrive_policy_changed",
        "role_has_more_rights",
    ]);
    let found = relay.findings().await?;
    assert!(planted.is_subset(&found), "{found:?}");
    let back: Vec<String> = set
        .split(' ')
        .filter_map(|pair| pair.split('=').next())
        .map(|name| format!("{name}={}", before[name].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(relay.json(&format!("set {} --yes", back.join(" "))).await?.0, 0);
    stack.json("sqs", "AmazonSQS.SetQueueAttributes", queue(json!({"RedrivePolicy": policy}))).await?;
    stack.texts(Service::Iam, "DeleteRolePolicy", &put[..2], "RequestId").await?;
    let found = relay.findings().await?;
    assert_eq!(found.intersection(&planted).collect::<Vec<_>>(), ["misplaced_rows"], "the others are mended");

    let begin = Instant::now();
    relay.json("doctor").await?;
    println!("the doctor took {:?}", begin.elapsed());
    rights::are_documented(&stack, rights::Policy::Both)
}
