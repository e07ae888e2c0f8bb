//! The archive of the production template, deployed on this machine: what was posted is what the stack's own queries
//! find, in the words that they have in production. Here DuckDB runs them, at AWS Athena.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use local::{Settings, Stack, Table, samples};
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

/// Three messages of one campaign and one of another, each step as often as Vero tells of it.
const MESSAGES: [(&str, &str, u32); 11] = [
    ("sent", "m-1", 1),
    ("sent", "m-2", 1),
    ("sent", "m-3", 1),
    ("delivered", "m-1", 1),
    ("delivered", "m-2", 1),
    ("opened", "m-1", 1),
    ("opened", "m-1", 1),
    ("clicked", "m-1", 1),
    ("bounced", "m-3", 1),
    ("sent", "m-4", 2),
    ("delivered", "m-4", 2),
];
const USER: [&str; 2] = [
    r#"{"type":"user_created","user":{"id":7,"email":"ann@example.com"}}"#,
    r#"{"type":"user_updated","user":{"id":7,"email":"ann@example.com"},"changes":{"plan":["free","pro"]}}"#,
];

#[tokio::test]
async fn queries_find_what_was_posted() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let mut posted = BTreeMap::new();
    for (webhook_type, message, campaign) in MESSAGES {
        let webhook = format!(
            r#"{{"type":"{webhook_type}", "user":{{"id":7}},"campaign":{{"id":{campaign},"message_id":"{message}"}},"n":1.00}}"#
        );
        posted.insert(stack.post(&webhook).await?, webhook);
    }
    for webhook in USER {
        posted.insert(stack.post(webhook).await?, webhook.to_owned());
    }
    assert_eq!(stack.archived(posted.len(), DEADLINE_AFTER).await?, posted.len());
    let rows = stack.query("select id, payload from data").await?.rows;
    assert_eq!(rows.into_iter().map(pair).collect::<BTreeMap<_, _>>(), posted, "to the letter");

    twice(&stack, &posted).await?;
    let funnel = stack.query(&stack.named_query("funnel").await?).await?;
    assert_eq!(
        text(&funnel),
        "campaign_id,sent,delivered,opened,clicked,delivered_percent,opened_percent,clicked_percent\n\
         1,3,2,1,1,66.7,50.0,100.0\n\
         2,1,1,0,0,100.0,0.0,-"
    );

    let sql = stack.named_query("latest row per key").await?;
    let newest = stack.query(&format!("select key, type from ({sql}) latest order by key")).await?;
    assert_eq!(
        text(&newest),
        "key,type\nmessage m-1,clicked\nmessage m-2,delivered\nmessage m-3,bounced\nmessage m-4,delivered\n\
         user 7,user_updated"
    );
    the_view_is_that_query(&stack, &sql).await
}

/// Firehose promises to deliver at least once.
async fn twice(stack: &Stack, posted: &BTreeMap<String, String>) -> Result<()> {
    let (id, webhook) = posted.first_key_value().context("nothing posted")?;
    let at = stack.query(&format!("select received_at from data where id = '{id}'")).await?.rows.remove(0);
    let at = at.into_iter().flatten().next().context("no time of receipt")?;
    enqueue(stack, id, &at, Some("archive"), webhook).await?;
    let count = "select count(*), count(distinct id) from data";
    wait_for(stack, count, &format!("{},{}", posted.len() + 1, posted.len())).await
}

/// Athena's form of a view: the query and the columns that it gives, as JSON in base64.
async fn the_view_is_that_query(stack: &Stack, sql: &str) -> Result<()> {
    let query = json!({"DatabaseName": "vero_relay", "Name": "latest"});
    let view = stack.json("glue", "AWSGlue.GetTable", query).await?["Table"].take();
    assert_eq!(
        (&view["TableType"], &view["Parameters"]["presto_view"]),
        (&json!("VIRTUAL_VIEW"), &json!("true"))
    );
    let definition = view["ViewOriginalText"].as_str().unwrap_or_default();
    let definition = definition.strip_prefix("/* Presto View: ").and_then(|rest| rest.strip_suffix(" */"));
    let definition = base64::prelude::BASE64_STANDARD.decode(definition.context("no definition")?)?;
    let definition: Value = serde_json::from_slice(&definition)?;
    assert_eq!((&definition["originalSql"], &definition["schema"]), (&json!(sql), &json!("vero_relay")));

    // What Presto calls varchar and integer, Glue calls string and int.
    let glue = |kind: &str| kind.replace("varchar", "string").replace("integer", "int");
    let columns = |list: &Value, name: &str, kind: &str| -> Vec<(String, String)> {
        let columns = list.as_array().into_iter().flatten();
        let field = |column: &Value, field: &str| column[field].as_str().unwrap_or_default().to_owned();
        columns.map(|column| (field(column, name), glue(&field(column, kind)))).collect()
    };
    let defined = columns(&definition["columns"], "name", "type");
    assert_eq!(defined, columns(&view["StorageDescriptor"]["Columns"], "Name", "Type"));
    let names: Vec<String> = defined.into_iter().map(|(name, _)| name).collect();
    assert_eq!(stack.query(sql).await?.columns, names);
    Ok(())
}

#[tokio::test]
async fn reconciliation_names_what_replay_then_delivers() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let now = SystemTime::now();
    let two_hours_ago = now - Duration::from_secs(2 * 3_600);
    let webhook = r#"{"type":"opened","user":{"id":1}}"#;
    // Segment takes no event of over 32 kB.
    let too_large =
        format!(r#"{{"type":"opened","user":{{"id":1}},"campaign":{{"name":"{}"}}}}"#, "x".repeat(40_000));
    let events = [
        (1, two_hours_ago, None, webhook),
        (2, two_hours_ago, None, &too_large),
        (3, two_hours_ago, Some("archive"), webhook),
        (4, two_hours_ago, None, r#"{"type":"user_created","user":{"id":1}}"#),
        (5, now, Some("archive"), webhook),
    ];
    for (number, at, destination, webhook) in events {
        enqueue(&stack, &id(number, at)?, &Timestamp::from_system(at).iso(), destination, webhook).await?;
    }
    // Three each of the three that go everywhere, and one each of the two that only the archive got.
    wait_for(&stack, "select count(*) from deliveries", "11").await?;
    let owed = stack.query(&stack.named_query("reconciliation").await?).await?;
    let (second, third) = (id(2, two_hours_ago)?, id(3, two_hours_ago)?);
    let at = Timestamp::from_system(two_hours_ago).iso();
    assert_eq!(
        text(&owed),
        format!(
            "id,received_at,source,type,destination,last_reason\n\
             {second},{at},vero,opened,segment,too_large\n\
             {third},{at},vero,opened,segment,-\n\
             {third},{at},vero,opened,vero_track,-"
        )
    );

    let to = Timestamp::from_system(now).iso();
    let order = json!({"from": at, "to": to, "destinations": ["segment", "vero_track"], "result": owed.url});
    assert_eq!(stack.replay(&order).await?["by_type"], json!({"opened": 2}));
    assert_eq!(stack.deliveries(&third, 2, DEADLINE_AFTER).await.len(), 2, "to each, once");
    assert_eq!(stack.deliveries(&second, 1, DEADLINE_AFTER).await.len(), 1, "to Vero, as before");
    wait_for(&stack, &format!("select count(*) from deliveries where id = '{third}'"), "3").await
}

/// What a replay does not get done it hands to its own queue; and by the hour it looks into ingest's log.
#[tokio::test]
async fn replay_goes_on_by_its_queue_and_queues_what_only_the_log_has() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let stack = Stack::start(&Settings::default()).await?;
    let names = stack.resources().await?;
    let two_hours_ago = SystemTime::now() - Duration::from_secs(2 * 3_600);
    let at = Timestamp::from_system(two_hours_ago).iso();

    let in_log = samples::log_unqueued(&stack, samples::TWO_HOURS).await?;
    for queued in [1, 0] {
        assert_eq!(stack.replay(&json!({"source": "log"})).await?["sent"], queued, "once");
    }
    assert_eq!(stack.deliveries(&in_log, 2, DEADLINE_AFTER).await.len(), 2);
    assert_eq!(stack.archived(1, DEADLINE_AFTER).await?, 1);

    let to = Timestamp::from_system(SystemTime::now()).iso();
    let order = json!({"request": {"from": at, "to": to, "destinations": ["vero_track"]}});
    let message = json!({"QueueUrl": names["ReplayQueue"], "MessageBody": order.to_string()});
    stack.json("sqs", "AmazonSQS.SendMessage", message).await?;
    assert_eq!(stack.deliveries(&in_log, 3, DEADLINE_AFTER).await.len(), 3);
    assert_eq!(stack.dead_letters().await?, 0);
    Ok(())
}

/// An id that ingest could have made then.
fn id(number: u32, at: SystemTime) -> Result<String> {
    let time = format!("{:012x}", at.duration_since(UNIX_EPOCH)?.as_millis());
    Ok(format!("{}-{}-7000-8000-{number:012}", &time[..8], &time[8..]))
}

fn envelope(id: &str, at: &str, destination: Option<&str>, webhook: &str) -> String {
    let destinations = destination.map(|name| format!(r#""destinations":["{name}"],"#)).unwrap_or_default();
    format!(
        r#"{{"version":1,"id":"{id}","source":"vero","received_at":"{at}",{destinations}"payload":{webhook}}}"#
    )
}

/// Puts an envelope on the queue, as ingest or a redrive would.
async fn enqueue(stack: &Stack, id: &str, at: &str, destination: Option<&str>, webhook: &str) -> Result<()> {
    let envelope = envelope(id, at, destination, webhook);
    let message = json!({"QueueUrl": stack.resources().await?["Queue"], "MessageBody": envelope});
    stack.json("sqs", "AmazonSQS.SendMessage", message).await.map(drop)
}

async fn wait_for(stack: &Stack, sql: &str, expected: &str) -> Result<()> {
    let deadline = std::time::Instant::now() + DEADLINE_AFTER;
    loop {
        let answer = stack.query(sql).await?;
        let answer = text(&Table { columns: Vec::new(), ..answer });
        if answer.trim_start() == expected {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{sql}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn pair(row: Vec<Option<String>>) -> (String, String) {
    let mut cells = row.into_iter().map(Option::unwrap_or_default);
    (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
}

/// A table as lines, for one look; null is a dash.
fn text(table: &Table) -> String {
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("-"));
        cells.collect::<Vec<_>>().join(",")
    });
    [table.columns.join(",")].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}
