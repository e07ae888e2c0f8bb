//! Which lines of the log are to be read.

use std::time::Duration;

use relay_core::timestamp::Timestamp;
use serde_json::{Map, Value};

use crate::request_fields::{BadRequest, RequestFields};

const EXAMPLE: &str = r#"{"source":"log"}"#;

/// The range if the request names none, as the hourly run's does not. So each line is read for a day. It is first read an
/// hour after it was written, when the archive has the webhooks that SQS took after all.
const FROM: Duration = Duration::from_secs(26 * 3_600);
const TO: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequeueRequest {
    pub from: Timestamp,
    /// Not part of the range.
    pub to: Timestamp,
    pub dry_run: bool,
}

impl RequeueRequest {
    pub fn parse(event: Map<String, Value>, now: Timestamp) -> Result<Self, BadRequest> {
        let mut fields = RequestFields::new("event", event, EXAMPLE);
        if fields.text("source", "\"log\"")?.as_deref() != Some("log") {
            return Err(BadRequest::new("source", "must be log; for a replay it is left out", EXAMPLE));
        }
        let from = fields.time("from")?.unwrap_or_else(|| now.earlier_by(FROM));
        let to = fields.time("to")?.unwrap_or_else(|| now.earlier_by(TO));
        let dry_run = fields.flag("dry_run")?;
        fields.end()?;
        if to <= from {
            return Err(BadRequest::new("to", "must be later than `from`", r#""2026-11-21T05:00:00Z""#));
        }
        Ok(RequeueRequest { from, to, dry_run })
    }
}
