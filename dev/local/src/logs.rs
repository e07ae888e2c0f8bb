//! What the functions write, from MiniStack's CloudWatch Logs.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::aws::Cloud;
use crate::project::FUNCTIONS;

/// The functions' log groups.
#[derive(Debug)]
pub struct Logs {
    cloud: Cloud,
    read: Mutex<Read>,
}

/// How far the logs have been read.
#[derive(Debug, Default)]
struct Read {
    /// The latest line's time. Others of that millisecond may follow.
    until: u64,
    /// The lines of the last reading, by what makes each unique.
    lines: HashSet<String>,
}

impl Logs {
    pub(crate) fn new(cloud: Cloud) -> Self {
        Logs { cloud, read: Mutex::default() }
    }

    /// Warnings, errors and what is no JSON line of ours, since the last call; with `all`, everything that
    /// the functions wrote.
    ///
    /// # Errors
    /// If MiniStack does not answer, or a line has metrics that CloudWatch would not take.
    pub async fn news(&self, all: bool) -> Result<Vec<String>> {
        let since = self.read().until;
        let (mut lines, mut now) = (Vec::new(), Read { until: since, lines: HashSet::new() });
        for function in FUNCTIONS {
            let group = format!("/aws/lambda/vero-relay-{function}");
            let query = json!({"logGroupName": group, "startTime": since});
            let answer = self.cloud.json("logs", "Logs_20140328.FilterLogEvents", query).await?;
            for event in answer["events"].as_array().into_iter().flatten() {
                let line = event["message"].as_str().unwrap_or_default().trim_end();
                now.until = now.until.max(event["timestamp"].as_u64().unwrap_or_default());
                let unique = format!("{} {line}", event["logStreamName"]); // MiniStack's stream is one call
                let new = !self.read().lines.contains(&unique);
                if !now.lines.insert(unique) || !new || is_platform(line) {
                    continue;
                }
                if let Ok(json) = serde_json::from_str(line) {
                    harness::metrics(&json).with_context(|| format!("{function} wrote {line}"))?;
                }
                if all || matters(line) {
                    lines.push(format!("{function}: {line}"));
                }
            }
        }
        *self.read() = now;
        Ok(lines)
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matters(line: &str) -> bool {
    let level = serde_json::from_str::<Value>(line).map(|line| line["level"].clone());
    !level.is_ok_and(|level| ["INFO", "DEBUG", "TRACE"].iter().any(|quiet| level == *quiet))
}

/// Lambda's own lines around each call.
fn is_platform(line: &str) -> bool {
    line.is_empty() || ["START ", "END ", "REPORT ", "INIT_"].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_what_is_not_ours_matter() {
        assert!(!matters(r#"{"level":"INFO","message":"m"}"#));
        assert!(matters(r#"{"level":"ERROR","message":"m"}"#));
        assert!(matters("thread 'main' panicked"));
        assert!(is_platform("START RequestId: 1 Version: $LATEST"));
    }
}
