//! What an invocation is to do, and how far that has come.

use relay_core::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::forget::{ForgetProgress, ForgetRequest};
use crate::replay::{ReplayProgress, ReplayRequest};
use crate::request_fields::BadRequest;
use crate::requeue::RequeueRequest;

/// For errors.
pub const CONTINUATION_EXAMPLE: &str = r#"{"request":{…},"progress":{…}}"#;

#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Send archived events again.
    Replay(ReplayRequest, ReplayProgress),
    /// Queue the webhooks that only the log has.
    Requeue(RequeueRequest),
    /// Delete the archived rows of a user.
    Forget(ForgetRequest, ForgetProgress),
}

impl Task {
    /// Makes the range of `request` a fixed one, so that a continuation has the same.
    pub fn parse(
        request: &mut Map<String, Value>,
        progress: Option<Value>,
        bucket: &str,
        endpoints: &[String],
        now: Timestamp,
    ) -> Result<Self, BadRequest> {
        if request.contains_key("forget") {
            let forget = ForgetRequest::parse(request.clone())?;
            let progress = parse_progress(progress, ForgetProgress::is_valid)?;
            return Ok(Task::Forget(forget, progress.unwrap_or_default()));
        }
        if request.contains_key("source") {
            let requeue = RequeueRequest::parse(request.clone(), now)?;
            if progress.is_some() {
                return Err(BadRequest::new("progress", "is not for the log", r#"{"source":"log"}"#));
            }
            request.insert("from".to_owned(), requeue.from.iso().into());
            request.insert("to".to_owned(), requeue.to.iso().into());
            return Ok(Task::Requeue(requeue));
        }
        let replay = ReplayRequest::parse(request.clone(), bucket, endpoints)?;
        let progress = parse_progress(progress, ReplayProgress::is_valid)?;
        Ok(Task::Replay(replay, progress.unwrap_or_else(ReplayProgress::new)))
    }

    /// The field `job` of log lines.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Replay(..) => "replay",
            Task::Requeue(_) => "requeue",
            Task::Forget(..) => "forget",
        }
    }

    /// `None`: the task begins anew each time, and finds out what is done.
    pub fn progress(&self) -> Option<Value> {
        // Both are JSON always.
        match self {
            Task::Replay(_, progress) => serde_json::to_value(progress).ok(),
            Task::Requeue(_) => None,
            Task::Forget(_, progress) => serde_json::to_value(progress).ok(),
        }
    }

    /// The same, as a log may have it.
    pub fn redacted_progress(&self) -> Option<Value> {
        match self {
            Task::Replay(_, progress) => serde_json::to_value(progress.redacted()).ok(),
            Task::Requeue(_) => None,
            Task::Forget(_, progress) => serde_json::to_value(progress.redacted()).ok(),
        }
    }
}

fn parse_progress<P: DeserializeOwned>(
    progress: Option<Value>,
    is_valid: impl Fn(&P) -> bool,
) -> Result<Option<P>, BadRequest> {
    let Some(progress) = progress else { return Ok(None) };
    serde_json::from_value(progress).ok().filter(is_valid).map(Some).ok_or_else(|| {
        let problem = "must be what an earlier invocation said of how far it came";
        BadRequest::new("progress", problem, CONTINUATION_EXAMPLE)
    })
}
