//! What scripts read: the form of each command's JSON, as a snapshot. A field that goes or changes its type breaks
//! somebody's script.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local::{VERO_AUTH_TOKEN, samples};
use serde_json::{Map, Value, json};

use crate::relay::start;
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME, WEBHOOK, rights};

/// Objects whose keys are data.
const MAPS: [&str; 13] = [
    "parameters",
    "outputs",
    "resources",
    "functions",
    "queues",
    "secrets",
    "roles",
    "parts",
    "streams",
    "outcomes",
    "by_type",
    "reasons",
    "causes",
];

/// Commands, each after the ones whose work it needs. `ID` is an event's, `DEAD` a dead letter's.
const COMMANDS: [&str; 34] = [
    "status",
    "doctor",
    "tail --no-follow --since 1h",
    "event ID",
    "event DEAD",
    "events --since 1h",
    "letters list",
    "letters show DEAD",
    "letters redrive --all --dry-run",
    "query",
    "query funnel",
    "metrics",
    "doctor --send",
    "letters redrive --reason not_json",
    "letters delete --reason too_large --yes",
    "send events/vero-opened.json",
    "token new",
    "token rotate --yes",
    "token rotate --finish --yes",
    "key set vero",
    "rules check events/blueprint.json",
    "rules set events/blueprint.json",
    "endpoints check events/endpoints.json",
    "endpoints set events/endpoints.json",
    "pause segment --yes",
    "resume segment --yes",
    "set QuietHours=48 --yes",
    "repair --yes",
    "replay --from 2026-11-01 --to 2030-01-01 --destination segment --new-ids --yes",
    "forget --user 1 --yes",
    "requeue --yes",
    "misplaced list",
    "misplaced restore --yes",
    "event 01935f3a-0000-7000-8000-000000000009",
];
/// The first that is more than a look.
const FIRST_CHANGE: &str = "doctor --send";

/// A row that Firehose could not place.
const MISPLACED: &str = r#"{"id":"01935f3a-0000-7000-8000-000000000009","_sequence":1795237443123000001,"received_at":"2026-11-21T05:04:03.123Z","source":"vero","type":"sent","payload":"{}"}"#;

#[tokio::test]
async fn documents_keep_their_form() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let id = stack.post(WEBHOOK).await?;
    stack.deliveries(&id, 2, DEADLINE_AFTER).await;
    stack.archived(1, DEADLINE_AFTER).await?;
    // Segment takes no event of over 32 kB.
    let large = WEBHOOK.replacen('{', &format!(r#"{{"campaign":{{"name":"{}"}},"#, "x".repeat(40_000)), 1);
    let dead = stack.post(&large).await?;
    stack.deliveries(&dead, 1, DEADLINE_AFTER).await;
    ensure!(stack.post("not JSON").await.is_err(), "what is no JSON is refused");
    while stack.dead_letters().await? < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    samples::log_unqueued(&stack, samples::TWO_HOURS).await?;
    let misplaced = json!({"errorCode": "S3.AccessDenied", "errorMessage": "no right", "rawData": STANDARD.encode(MISPLACED)});
    stack.put_in_archive("errors/data/1", &misplaced.to_string()).await?;

    let mut documents = Map::new();
    let mut token = stack.webhook_token().to_owned();
    for command in COMMANDS {
        if command == FIRST_CHANGE {
            rights::are_documented(&stack, rights::Policy::Look)?;
        }
        let line = command.replace("DEAD", &dead).replace("ID", &id);
        let (code, document) = match command {
            "key set vero" => relay.json_of(&line, &format!("{VERO_AUTH_TOKEN}\n")).await,
            _ if command.starts_with("token rotate") => relay.json_by(&line, &token).await,
            _ => relay.json(&line).await,
        }
        .context(command)?;
        ensure!(matches!(code, 0 | 5), "{command} ends with {code}: {document}");
        if command == "token rotate --yes" {
            document["token"].as_str().context("no token")?.clone_into(&mut token);
        }
        documents.insert(command.to_owned(), form(&document, ""));
    }
    insta::assert_json_snapshot!(documents);
    rights::are_documented(&stack, rights::Policy::Both)
}

/// A document with types in the place of values: of a list or a map, one form for all that is in it.
fn form(value: &Value, name: &str) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(all) => json!([merged(all.iter().map(|one| form(one, "")))]),
        Value::Object(all) if MAPS.contains(&name) && !all.contains_key("unknown") => {
            json!({"*": merged(all.values().map(|one| form(one, "")))})
        }
        Value::Object(all) => {
            let fields: BTreeMap<&String, Value> =
                all.iter().map(|(name, value)| (name, form(value, name))).collect();
            json!(fields)
        }
    }
}

/// What any of them has.
fn merged(forms: impl Iterator<Item = Value>) -> Value {
    forms.fold(Value::Null, |all, one| match (all, one) {
        (Value::Null, one) | (one, Value::Null) => one,
        (Value::Object(mut all), Value::Object(one)) => {
            for (name, form) in one {
                let before = all.remove(&name).unwrap_or_default();
                all.insert(name, merged([before, form].into_iter()));
            }
            Value::Object(all)
        }
        (Value::Array(all), Value::Array(one)) => json!([merged(all.into_iter().chain(one))]),
        (all, one) if all == one => all,
        (all, one) => {
            let texts = [&all, &one].map(|form| form.as_str().map_or(form.to_string(), str::to_owned));
            let types: BTreeSet<&str> = texts.iter().flat_map(|text| text.split(" or ")).collect();
            json!(types.into_iter().collect::<Vec<_>>().join(" or "))
        }
    })
}
