//! Ingest before a rig's queue, and what posts to it.

use std::collections::BTreeMap;

use anyhow::Result;
use harness::{Function, UrlAnswer, WEBHOOK_TOKEN, url_event};
use serde_json::Value;

use crate::programs::Programs;
use crate::rig::Rig;

/// A process of ingest.
pub struct Ingest {
    pub function: Function,
}

/// What a post was answered.
pub struct Posted {
    /// 202 when all is queued.
    pub status: u16,
    pub ids: Vec<String>,
}

impl Ingest {
    /// Another process of ingest.
    pub async fn start(programs: &Programs, rig: &Rig) -> Result<Self> {
        Ok(Self { function: rig.ingest(&programs.ingest, &[]).await? })
    }

    /// Posts one webhook, or an array of them. An error when there is no answer.
    pub async fn post(&self, body: &Value) -> Result<Posted> {
        let body = body.to_string();
        let event = url_event("POST", &format!("/vero/{WEBHOOK_TOKEN}"), "", &[], body.as_bytes(), false);
        let answer = UrlAnswer::of(&self.function.invoke(&event).await?);
        let body = answer.json();
        let ids = body["ids"].as_array().cloned().unwrap_or_else(|| vec![body["id"].clone()]);
        let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        Ok(Posted { status: answer.status, ids })
    }

    /// The envelopes that SQS did not take, read back from the log by the field `message`, as the documented
    /// command does.
    pub fn unqueued(&self) -> Vec<String> {
        let mut envelopes: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
        for line in self.function.log_entries() {
            if let ("unqueued_webhook", Some(id), Some(part), Some(envelope)) = (
                line["message"].as_str().unwrap_or_default(),
                line["id"].as_str(),
                line["part"].as_u64(),
                line["envelope"].as_str(),
            ) {
                envelopes.entry(id.to_owned()).or_default().insert(part, envelope.to_owned());
            }
        }
        envelopes.into_values().map(|parts| parts.into_values().collect()).collect()
    }
}
