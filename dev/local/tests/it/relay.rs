//! The command `relay` against the template on this machine: the built binary, by `--local`. The docs' own examples are
//! tried by [`crate::commands`].

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local::{Project, Settings, Stack};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

const WEBHOOK: &str = r#"{"type":"opened","user":{"id":1,"email":"steve@example.com"}}"#;

/// The binary, in the folder of the repository.
struct Relay {
    binary: PathBuf,
    root: PathBuf,
}

impl Relay {
    async fn build(project: &Project) -> Result<Self> {
        let [binary] = harness::build(["relay"], "dev").await?;
        Ok(Relay { binary, root: project.root.clone() })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--local").args(line.split(' ')).current_dir(&self.root).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command's exit code, and what it prints for scripts.
    async fn json(&self, line: &str) -> Result<(i32, Value)> {
        self.json_by(line, "").await
    }

    /// The same with a token that is asked for.
    async fn json_by(&self, line: &str, token: &str) -> Result<(i32, Value)> {
        let mut command = self.command(&format!("--json {line}"));
        if !token.is_empty() {
            command.env("RELAY_TOKEN", token);
        }
        let output = command.output();
        let output =
            tokio::time::timeout(DEADLINE_AFTER, output).await.with_context(|| line.to_owned())??;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().with_context(|| errors.clone())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let document =
            serde_json::from_str(&text).unwrap_or_else(|_| json!({"stdout": text, "stderr": errors}));
        Ok((code, document))
    }

    /// The codes of what the doctor finds.
    async fn findings(&self) -> Result<BTreeSet<String>> {
        let (code, document) = self.json("doctor").await?;
        let findings = document["findings"].as_array().with_context(|| format!("{code}: {document}"))?;
        ensure!(code == if findings.is_empty() { 0 } else { 5 }, "{code}: {document}");
        let codes = findings.iter().filter_map(|finding| finding["code"].as_str());
        Ok(codes.map(str::to_owned).collect())
    }
}

fn codes<const N: usize>(codes: [&str; N]) -> BTreeSet<String> {
    codes.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_doctor_is_silent_until_something_is_wrong_and_then_names_it() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let relay = Relay::build(&Project::find().await?).await?;
    let stack = Stack::start(&Settings::default()).await?;
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
        stack.json("ssm", "AmazonSSM.PutParameter", secret(value, kind)).await?;
        assert_eq!(relay.findings().await?, expected);
    }
    stack.json("ssm", "AmazonSSM.DeleteParameter", json!({"Name": "/vero-relay/vero-auth-token"})).await?;
    assert_eq!(relay.findings().await?, codes(["secret_missing"]));
    stack.json("ssm", "AmazonSSM.PutParameter", secret("local-vero-auth-token", "SecureString")).await?;

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

    let begin = Instant::now();
    relay.json("doctor").await?;
    println!("the doctor took {:?}", begin.elapsed());
    has_no_more_rights_than_the_docs_say(&stack)
}

/// Actions that the stand-in takes for others, and IAM's names of them.
const STAND_IN: [(&str, &str); 2] = [
    ("lambda:GetFunction", "lambda:GetFunctionConfiguration"),
    ("lambda:ListEventSourceMappings", "lambda:GetEventSourceMapping"),
];

/// What `relay` has asked for so far is in the policy of docs/relay.md.
fn has_no_more_rights_than_the_docs_say(stack: &Stack) -> Result<()> {
    let docs = include_str!("../../../../docs/relay.md");
    let documented: BTreeSet<&str> =
        docs.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
    let calls = stack.calls()?;
    let asked: BTreeSet<&str> =
        calls.iter().filter(|call| call.function == "relay").map(|call| call.action.as_str()).collect();
    ensure!(asked.len() > 15, "{asked:?}");
    let iam = |action: &str| {
        STAND_IN
            .iter()
            .find(|(own, _)| *own == action)
            .map_or(action.to_owned(), |(_, iam)| (*iam).to_owned())
    };
    let others: Vec<String> =
        asked.into_iter().map(iam).filter(|action| !documented.contains(action.as_str())).collect();
    ensure!(others.is_empty(), "docs/relay.md lacks {others:?}");
    Ok(())
}

#[tokio::test]
async fn an_event_s_story_is_told_whole() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let relay = Relay::build(&Project::find().await?).await?;
    let stack = Stack::start(&Settings::default()).await?;
    let id = stack.post(WEBHOOK).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    stack.archived(1, DEADLINE_AFTER).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let begin = Instant::now();
    let (code, story) = relay.json(&format!("event vr-{id}")).await?;
    println!("the story took {:?}", begin.elapsed());
    assert_eq!((code, &story["source"], &story["type"]), (0, &json!("vero"), &json!("opened")), "{story}");
    let of = |name: &str| {
        let all = story["destinations"].as_array().into_iter().flatten();
        { all }.find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    for (name, mapped_to) in
        [("segment", "track Email Opened"), ("vero_track", "/api/v2/events/track Email Opened")]
    {
        let one = of(name);
        assert_eq!(
            (&one["state"]["is"], &one["mapped_to"][0]),
            (&json!("accepted"), &json!(mapped_to)),
            "{one}"
        );
    }
    assert_eq!(of("archive")["state"]["is"], "accepted");
    assert!(!story.to_string().contains("steve@example.com"), "{story}");
    let (_, whole) = relay.json(&format!("event {id} --show-addresses")).await?;
    assert_eq!(whole["envelope"]["payload"]["user"]["email"], "steve@example.com");

    // Segment takes no event of over 32 kB.
    let large = WEBHOOK.replacen('{', &format!(r#"{{"campaign":{{"name":"{}"}},"#, "x".repeat(40_000)), 1);
    let large = stack.post(&large).await?;
    stack.deliveries(&large, 1, DEADLINE_AFTER).await;
    let deadline = Instant::now() + DEADLINE_AFTER;
    let dead = loop {
        let (_, story) = relay.json(&format!("event {large}")).await?;
        let dead = story["destinations"][0]["state"].clone();
        if dead["is"] == "dead_letter" || Instant::now() > deadline {
            break dead;
        }
    };
    assert_eq!(dead, json!({"is": "dead_letter", "reason": "too_large"}));

    assert_eq!(
        relay.json("event 01935f3a-0000-7000-8000-000000000001").await?.0,
        4,
        "nothing is known of it"
    );
    assert_eq!(relay.json("event no|id").await?.0, 1);
    let (code, events) = relay.json("events --email STEVE@example.com --since 1h").await?;
    assert_eq!((code, events.as_array().map(Vec::len)), (0, Some(2)), "{events}");
    Ok(())
}

/// Killed between a letter's arrival on the queue and its deletion, it is there twice. Lost it is never.
#[tokio::test]
async fn a_thousand_letters_are_redriven_by_a_command_that_is_killed_ten_times() -> Result<()> {
    const LETTERS: usize = 1_000;
    let _turn = ONE_AT_A_TIME.lock().await;
    let relay = Relay::build(&Project::find().await?).await?;
    let stack = Stack::start(&Settings::default()).await?;
    let names = stack.resources().await?;
    // Nobody takes them away while they are counted.
    let source = format!("/2015-03-31/event-source-mappings/{}", names["WorkerQueue"]);
    stack.lambda("PUT", &source, Some(json!({"Enabled": false}))).await?;
    let letter = |number: usize, reason: &str| {
        format!(
            r#"{{"version":1,"id":"e{number}","source":"vero","received_at":"2026-11-21T05:04:03.123Z","destinations":["segment"],"payload":{{"type":"sent"}},"reason":"{reason}"}}"#
        )
    };
    for first in (0..LETTERS + 10).step_by(10) {
        let reason = if first < LETTERS { "timeout" } else { "refused" };
        let entries: Vec<Value> = (first..first + 10)
            .map(|n| json!({"Id": n.to_string(), "MessageBody": letter(n, reason)}))
            .collect();
        let batch = json!({"QueueUrl": names["DeadLetterQueue"], "Entries": entries});
        stack.json("sqs", "AmazonSQS.SendMessageBatch", batch).await?;
    }
    let mut kills = 0;
    for kill in 0..10_u64 {
        let mut command = relay.command("letters redrive --reason timeout").spawn()?;
        let over = tokio::time::timeout(Duration::from_millis(150 + 40 * kill), command.wait()).await;
        if over.is_err() {
            command.kill().await?;
            kills += 1;
        }
    }
    let deadline = Instant::now() + 3 * DEADLINE_AFTER;
    // What a killed command had received is shown again after a minute.
    while count(&stack, &names["DeadLetterQueue"]).await? > 10 && Instant::now() < deadline {
        let (code, document) = relay.json("letters redrive --reason timeout").await?;
        ensure!(code == 0, "{document}");
    }
    let (_, left) = relay.json("letters list").await?;
    assert_eq!(left["counts"], json!([{"reason": "refused", "destination": "segment", "count": 10}]));
    let mut times: HashMap<String, usize> = HashMap::new();
    while count(&stack, &names["Queue"]).await? > 0 {
        let receive =
            json!({"QueueUrl": names["Queue"], "MaxNumberOfMessages": 10, "VisibilityTimeout": 600});
        let received = stack.json("sqs", "AmazonSQS.ReceiveMessage", receive).await?;
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        for message in messages {
            let body: Value = serde_json::from_str(message["Body"].as_str().unwrap_or_default())?;
            *times.entry(body["id"].as_str().context("no id")?.to_owned()).or_default() += 1;
        }
    }
    let doubled = times.values().filter(|count| **count > 1).count();
    println!("killed {kills} times; {} letters arrived, {doubled} of them twice", times.len());
    assert_eq!(times.len(), LETTERS, "nothing is lost");
    assert!(kills >= 5 && doubled <= 10 * kills, "a batch for each kill at most: {doubled}, {kills}");
    Ok(())
}

/// All messages of a queue that can be received or are hidden.
async fn count(stack: &Stack, url: &str) -> Result<u64> {
    let query = json!({"QueueUrl": url, "AttributeNames": ["All"]});
    let answer = stack.json("sqs", "AmazonSQS.GetQueueAttributes", query).await?;
    let number = |name: &str| answer["Attributes"][name].as_str().and_then(|count| count.parse::<u64>().ok());
    Ok(number("ApproximateNumberOfMessages").unwrap_or(0)
        + number("ApproximateNumberOfMessagesNotVisible").unwrap_or(0))
}

/// The runbook's way, while webhooks come in all the time.
#[tokio::test]
async fn a_token_is_rotated_without_a_lost_webhook() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let relay = Relay::build(&Project::find().await?).await?;
    let stack = Stack::start(&Settings::default()).await?;
    let before = relay.json("status").await?.1["stack"]["parameters"].clone();
    let old = stack.webhook_token().to_owned();
    let mut ids = Vec::new();
    let mut new = old.clone();
    for line in ["token rotate --yes", "token rotate --finish --yes"] {
        let token = new.clone();
        let mut rotate = std::pin::pin!(relay.json_by(line, &token));
        let (code, document) = loop {
            // The old token until the new one is given out, and from then on the new one.
            match stack.post_by(&new, WEBHOOK).await {
                Ok(id) => ids.push(id),
                // The stand-in ends a process that it updates, whatever it is at. Lambda does not.
                Err(error) if error.to_string().contains("Runtime.ExitError") => (),
                refused => drop(refused?),
            }
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(30), &mut rotate).await {
                break done?;
            }
        };
        assert_eq!(code, 0, "{document}");
        if let Some(token) = document["token"].as_str() {
            ids.push(stack.post_by(&old, WEBHOOK).await?);
            new = token.to_owned();
        }
    }
    ids.push(stack.post_by(&new, WEBHOOK).await?);
    let (code, unknown) = relay.json_by("token rotate --finish --yes", "no-token").await?;
    assert_eq!((code, &unknown["digest"]), (0, &json!(harness::digest(&new))), "nothing is left to be done");
    let refused = stack.post_by(&old, WEBHOOK).await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    println!("{} webhooks came in meanwhile", ids.len());
    for id in ids {
        assert_eq!(stack.deliveries(&id, 2, DEADLINE_AFTER).await.len(), 2, "{id}");
    }
    let mut after = relay.json("status").await?.1["stack"]["parameters"].clone();
    assert_eq!(after["WebhookTokenSha256"], harness::digest(&new));
    after["WebhookTokenSha256"] = before["WebhookTokenSha256"].clone();
    assert_eq!(after, before, "all others stay");
    assert_eq!(stack.dead_letters().await?, 0);
    Ok(())
}
