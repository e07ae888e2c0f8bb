//! Which lines of the log are looked at.

use std::time::Duration;

use relay_core::timestamp::Timestamp;
use serde_json::{Map, Value};

use crate::fields::{BadRequest, Fields};

const EXAMPLE: &str = r#"{"source":"log"}"#;

/// From when on to when a run looks, by itself: an hourly one sees each line a day long, beginning an hour after it was
/// written, when the archive has what came through after all.
const FROM: Duration = Duration::from_secs(26 * 3_600);
const TO: Duration = Duration::from_secs(3_600);

/// Which lines to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequeueRequest {
    /// The first time.
    pub from: Timestamp,
    /// The time at which they end.
    pub to: Timestamp,
    /// Nothing is sent.
    pub dry_run: bool,
}

impl RequeueRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that is at fault.
    pub fn parse(event: Map<String, Value>, now: Timestamp) -> Result<Self, BadRequest> {
        let mut fields = Fields::of("event", event, EXAMPLE);
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
