//! CloudWatch Logs, as far as a log group is searched.

use serde_json::{Value, json};

use super::error::ApiError;

/// How many lines a page has: so few that every reader has to ask for more.
const PAGE: usize = 2;

/// A line of the one log group that there is.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    pub(super) at_ms: i64,
    pub(super) text: String,
}

pub(super) fn perform(lines: &[LogLine], operation: &str, request: &Value) -> Result<Value, ApiError> {
    if operation != "FilterLogEvents" {
        return Err(ApiError::new("UnknownOperationException", "UnknownOperationException", ""));
    }
    if request["logGroupName"].as_str().is_none_or(str::is_empty) {
        return Err(ApiError::missing("logGroupName"));
    }
    let from = request["startTime"].as_i64().unwrap_or(i64::MIN);
    let to = request["endTime"].as_i64().unwrap_or(i64::MAX);
    let wanted = message_of(request["filterPattern"].as_str().unwrap_or_default())?;
    let found = lines.iter().filter(|line| (from..=to).contains(&line.at_ms)).filter(|line| {
        let parsed: Value = serde_json::from_str(&line.text).unwrap_or_default();
        wanted.is_none_or(|wanted| parsed["message"] == wanted)
    });
    let start: usize = request["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let found: Vec<&LogLine> = found.skip(start).collect();
    let event = |line: &&LogLine| {
        json!({
            "eventId": "0", "ingestionTime": line.at_ms, "logStreamName": "stream", "message": line.text,
            "timestamp": line.at_ms,
        })
    };
    let mut answer = json!({"events": found.iter().take(PAGE).map(event).collect::<Vec<_>>()});
    if found.len() > PAGE {
        answer["nextToken"] = (start + PAGE).to_string().into();
    }
    Ok(answer)
}

/// The one pattern that is understood: `{ $.message = "…" }`.
fn message_of(pattern: &str) -> Result<Option<&str>, ApiError> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let wanted = pattern.strip_prefix("{ $.message = \"").and_then(|rest| rest.strip_suffix("\" }"));
    wanted.map(Some).ok_or_else(|| ApiError::invalid("not a pattern that this stand-in knows"))
}
