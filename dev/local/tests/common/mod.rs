//! What the tests of the deployed stack share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use local::Stack;
use relay_core::timestamp::Timestamp;
use serde_json::json;

/// Writes a webhook of two hours ago into ingest's log, as ingest does when SQS does not take it, and gives its id.
pub async fn unqueued(stack: &Stack) -> Result<String> {
    let at = SystemTime::now() - Duration::from_secs(2 * 3_600);
    let milliseconds = at.duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let time = format!("{milliseconds:012x}");
    let id = format!("{}-{}-7000-8000-000000000001", &time[..8], &time[8..]);
    let envelope = json!({
        "version": 1,
        "id": id,
        "source": "vero",
        "received_at": Timestamp::from_system(at).iso(),
        "payload": {"type": "opened", "user": {"id": 1}},
    });
    let line = json!({
        "level": "ERROR", "message": "unqueued_webhook", "id": id, "part": 1, "parts": 1,
        "envelope": envelope.to_string(),
    });
    let mut stream = json!({"logGroupName": "/aws/lambda/vero-relay-ingest", "logStreamName": "an-outage"});
    stack.json("logs", "Logs_20140328.CreateLogStream", stream.clone()).await?;
    stream["logEvents"] = json!([{"timestamp": milliseconds, "message": line.to_string()}]);
    stack.json("logs", "Logs_20140328.PutLogEvents", stream).await?;
    Ok(id)
}
