//! The delivery log: a row for each event, destination and outcome, in a Firehose delivery stream.
//!
//! A record, no destination: it holds nothing up and brings no message back.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use relay_core::archive::delivery_row;
use relay_core::delivery::Outcome;
use relay_core::timestamp::Timestamp;
use relay_platform::aws::Aws;
use relay_platform::firehose::{Stream, calls};
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::event::{Content, Event};

/// Tries of one call, one right after the other.
const TRIES: u32 = 2;

/// For one of them: settling takes about as long.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Where outcomes are written down; nowhere when it is off.
#[derive(Debug)]
pub struct DeliveryLog {
    stream: Option<Stream>,
}

impl DeliveryLog {
    /// As configured.
    pub fn new(config: &Config, aws: &Aws) -> Self {
        let stream = config.deliveries_stream.clone().map(|name| Stream::new(aws.firehose(), name));
        DeliveryLog { stream }
    }

    /// The rows of an event, as far as something is settled.
    pub fn rows<'o>(
        &self,
        event: &Event<'_>,
        outcomes: impl Iterator<Item = (&'o str, &'o Outcome)>,
    ) -> Vec<String> {
        if self.stream.is_none() {
            return Vec::new();
        }
        let now = Timestamp::from_system(SystemTime::now());
        let kind = match &event.content {
            Content::Webhook(webhook) => webhook.kind.as_deref(),
            Content::FirstParty(event) => Some(event.kind.as_str()),
        };
        outcomes
            .filter_map(|(name, outcome)| delivery_row(&event.envelope, kind, name, outcome, now))
            .collect()
    }

    /// Writes rows; the answer is how many are not known to be written.
    pub async fn write(&self, rows: &[String], deadline: Instant) -> usize {
        let Some(stream) = &self.stream else { return 0 };
        let calls = calls(rows).into_iter().map(async |rows| {
            let mut rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            for _ in 0..TRIES {
                match timeout_at(deadline, stream.put(&rows, PATIENCE)).await {
                    Ok(Ok(refused)) => {
                        rows = refused.iter().filter_map(|(place, _)| rows.get(*place).copied()).collect();
                        if rows.is_empty() {
                            break;
                        }
                        tracing::warn!(
                            rows = rows.len(),
                            "Firehose did not take all rows of the delivery log"
                        );
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(rows = rows.len(), %error, "the delivery log could not be written");
                    }
                    Err(_) => break,
                }
            }
            rows.len()
        });
        join_all(calls).await.into_iter().sum()
    }
}
