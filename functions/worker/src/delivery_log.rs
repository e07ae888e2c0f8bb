//! The delivery log: a row for each event, destination and outcome, in a Firehose delivery stream.
//!
//! A record, no destination: it holds nothing up and brings no message back.

use std::time::Duration;

use futures_util::future::join_all;
use relay_core::archive::delivery_row;
use relay_core::delivery::DeliveryOutcome;
use relay_core::timestamp::Timestamp;
use relay_platform::aws::Aws;
use relay_platform::firehose::{Stream, calls};
use relay_platform::world;
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::event::{Event, ParsedPayload};

/// Tries of one call, one right after the other.
const TRIES: u32 = 2;

/// For one of them: settling takes about as long.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// Half of what Firehose takes as one record.
const RECORD_BYTES: usize = 500_000;

/// Where outcomes are written down; nowhere when it is off.
#[derive(Debug)]
pub struct DeliveryLog {
    stream: Option<Stream>,
}

impl DeliveryLog {
    pub fn new(config: &Config, aws: &Aws) -> Self {
        let stream = config.deliveries_stream.clone().map(|name| Stream::new(aws.firehose(), name));
        DeliveryLog { stream }
    }

    /// The rows of an event, as far as something is settled.
    pub fn rows(&self, event: &Event<'_>, outcomes: &[(String, DeliveryOutcome)]) -> Vec<String> {
        if self.stream.is_none() {
            return Vec::new();
        }
        let now = Timestamp::from_system(world::now());
        let kind = match &event.payload {
            ParsedPayload::Webhook(webhook) => webhook.kind.as_deref(),
            ParsedPayload::FirstParty(event) => Some(event.kind.as_str()),
        };
        outcomes
            .iter()
            .filter_map(|(name, outcome)| delivery_row(&event.envelope, kind, name, outcome, now))
            .collect()
    }

    /// Writes rows; the result is how many are not known to be written.
    pub async fn write(&self, rows: &[String], deadline: Instant) -> usize {
        let Some(stream) = &self.stream else { return 0 };
        let records = packed(rows);
        let calls = calls(&records).into_iter().map(|records| async move {
            let mut left: Vec<&str> = records.iter().map(String::as_str).collect();
            for _ in 0..TRIES {
                match timeout_at(deadline, stream.put(&left, TIMEOUT)).await {
                    Ok(Ok(put)) => {
                        left =
                            put.refused.iter().filter_map(|(place, _)| left.get(*place).copied()).collect();
                        if left.is_empty() {
                            break;
                        }
                        tracing::warn!("Firehose did not take all of the delivery log");
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "the delivery log could not be written"),
                    Err(_) => break,
                }
            }
            left.iter().map(|record| record.lines().count()).sum::<usize>()
        });
        join_all(calls).await.into_iter().sum()
    }
}

/// Rows as records of many lines each: Firehose charges for 5 kB at least a record.
fn packed(rows: &[String]) -> Vec<String> {
    let mut records: Vec<String> = Vec::new();
    for row in rows {
        match records.last_mut() {
            Some(record) if record.len() + row.len() <= RECORD_BYTES => record.push_str(row),
            _ => records.push(row.clone()),
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_as_many_rows_as_fit() {
        let rows = vec![format!("{}\n", "x".repeat(199)); 5_001];
        let records = packed(&rows);
        assert_eq!(
            records.iter().map(|record| record.lines().count()).collect::<Vec<_>>(),
            [2_500, 2_500, 1]
        );
        assert_eq!(records.concat(), rows.concat());
        assert!(packed(&[]).is_empty());
    }
}
