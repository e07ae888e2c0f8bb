//! The event of an invocation: what it is to do, and who asked.

use relay_core::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::TaskError;
use crate::fields::BadRequest;
use crate::time_limit::Invoker;
use crate::{forget, replay, requeue};

/// The largest event, in bytes: with how far it has come it must fit into a message of SQS's, 1 MiB. In an event of
/// SQS's it is longer, as a text in JSON.
const MAX_EVENT: usize = 900_000;

/// After so many stops in a row it is given up, and SQS brings it to the dead-letter queue.
const MAX_FAILURES: u32 = 20;

/// In a continuation: how often it was stopped.
const FAILURES: &str = "failures";

const EXAMPLE: &str = replay::EXAMPLE;
const CONTINUATION: &str = r#"{"request":{…},"progress":{…}}"#;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Send what is archived again.
    Replay(replay::ReplayRequest, replay::ReplayProgress),
    /// Queue what only the log has.
    Requeue(requeue::RequeueRequest),
    /// Delete what is archived of a user.
    Forget(forget::ForgetRequest, forget::ForgetProgress),
}

impl Task {
    /// Its name, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Replay(..) => "replay",
            Task::Requeue(_) => "heal",
            Task::Forget(..) => "forget",
        }
    }
}

/// An invocation's event, read.
#[derive(Debug)]
pub struct Invocation {
    /// Who waits.
    pub invoker: Invoker,
    /// What to do.
    pub task: Task,
    /// How often it was stopped since an invocation last had its whole time.
    pub failures: u32,
    /// The request as it came, to be carried on.
    request: Map<String, Value>,
}

impl Invocation {
    /// Reads an event: a request, what goes on with one, or the latter as a message of SQS's. `bucket` is the archive's.
    ///
    /// # Errors
    /// If it is none of these, or says something that cannot be meant.
    pub fn read(event: &RawValue, bucket: &str, now: Timestamp) -> Result<Self, BadRequest> {
        let length = event.get().len();
        let mut event = object(event.get())?;
        let invoker = match event.remove("Records") {
            None if length > MAX_EVENT => {
                let problem = "is too large: ask for less, or name a result of Athena's as `result`";
                return Err(BadRequest::new("event", problem, EXAMPLE));
            }
            None => Invoker::Direct,
            Some(records) => {
                event = object(only_body(&records)?)?;
                Invoker::OwnQueue
            }
        };
        let failures = event.remove(FAILURES).and_then(|count| count.as_u64()).unwrap_or(0) as u32;
        let (request, progress) = match event.remove("request") {
            Some(Value::Object(request)) => {
                let progress = event.remove("progress").filter(|progress| !progress.is_null());
                if !event.is_empty() {
                    let problem = "has a field that is none of request, progress";
                    return Err(BadRequest::new("event", problem, CONTINUATION));
                }
                (request, progress)
            }
            Some(_) => return Err(BadRequest::new("request", "must be an object", CONTINUATION)),
            None => (event, None),
        };
        let (task, request) = task(request, progress, bucket, now)?;
        Ok(Invocation { invoker, task, failures, request })
    }

    /// Whether what stopped it is tried again by itself: only what its own queue brought, which nobody waits for, and not
    /// for ever (some four hours).
    pub fn goes_on_after(&self, cause: &TaskError) -> bool {
        self.invoker == Invoker::OwnQueue
            && self.failures < MAX_FAILURES
            && !matches!(cause, TaskError::TooMuch | TaskError::NotHandedOver(_))
    }

    /// What goes on from here, to be read by [`Invocation::read`].
    pub fn continuation(&self) -> Value {
        let mut continuation = json!({"request": self.request});
        if let Some(progress) = self.progress() {
            continuation["progress"] = progress;
        }
        if self.failures > 0 {
            continuation[FAILURES] = self.failures.into();
        }
        continuation
    }

    /// How far it has come; `None`: it has to begin anew, since it knows by itself what is done.
    pub fn progress(&self) -> Option<Value> {
        // Both are JSON always.
        match &self.task {
            Task::Replay(_, progress) => serde_json::to_value(progress).ok(),
            Task::Forget(_, progress) => serde_json::to_value(progress).ok(),
            Task::Requeue(_) => None,
        }
    }
}

impl Task {
    /// How far it has come, for a log.
    pub fn shown_progress(&self) -> Option<Value> {
        match self {
            Task::Replay(_, progress) => serde_json::to_value(progress.shown()).ok(),
            Task::Forget(_, progress) => serde_json::to_value(progress.shown()).ok(),
            Task::Requeue(_) => None,
        }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, BadRequest> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(BadRequest::new("event", "must be a JSON object", EXAMPLE)),
    }
}

/// The body of the one message of an SQS event. One, because a message that failed would bring others back with it.
fn only_body(records: &Value) -> Result<&str, BadRequest> {
    let body = match records.as_array().map(Vec::as_slice) {
        Some([record]) => record["body"].as_str(),
        _ => None,
    };
    body.ok_or_else(|| {
        let problem = "must be one message with a body: the event source mapping's BatchSize has to be 1";
        BadRequest::new("Records", problem, r#"[{"messageId":"…","body":"{\"request\":{…}}"}]"#)
    })
}

fn task(
    mut request: Map<String, Value>,
    progress: Option<Value>,
    bucket: &str,
    now: Timestamp,
) -> Result<(Task, Map<String, Value>), BadRequest> {
    let original = request.clone();
    if request.contains_key("forget") {
        let task = Task::Forget(
            forget::ForgetRequest::parse(request)?,
            read_progress(progress, forget::ForgetProgress::is_ours)?.unwrap_or_default(),
        );
        return Ok((task, original));
    }
    if request.contains_key("source") {
        let log = requeue::RequeueRequest::parse(std::mem::take(&mut request), now)?;
        // The range stays what it was when it was asked for.
        request = original;
        request.insert("from".to_owned(), log.from.iso().into());
        request.insert("to".to_owned(), log.to.iso().into());
        return match progress {
            None => Ok((Task::Requeue(log), request)),
            Some(_) => Err(BadRequest::new("progress", "is not for the log", r#"{"source":"log"}"#)),
        };
    }
    let task = Task::Replay(
        replay::ReplayRequest::parse(request, bucket)?,
        read_progress(progress, replay::ReplayProgress::is_ours)?.unwrap_or_else(replay::ReplayProgress::new),
    );
    Ok((task, original))
}

fn read_progress<P: DeserializeOwned>(
    progress: Option<Value>,
    is_ours: impl Fn(&P) -> bool,
) -> Result<Option<P>, BadRequest> {
    let Some(progress) = progress else { return Ok(None) };
    serde_json::from_value(progress).ok().filter(is_ours).map(Some).ok_or_else(|| {
        let problem = "must be what an earlier invocation said of how far it came";
        BadRequest::new("progress", problem, CONTINUATION)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Value) -> Result<Invocation, String> {
        let event: Box<RawValue> = serde_json::from_str(&event.to_string()).unwrap();
        let now = Timestamp::parse("2026-11-21T12:00:00Z").unwrap();
        Invocation::read(&event, "archive", now).map_err(|error| error.to_string())
    }

    fn replay() -> Value {
        json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["segment"]})
    }

    fn record(body: &Value) -> Value {
        json!({"Records": [{"messageId": "m1", "body": body.to_string()}]})
    }

    #[test]
    fn shapes_are_told_apart() {
        assert!(matches!(read(&replay()).unwrap().task, Task::Replay(..)));
        assert!(matches!(read(&json!({"source": "log"})).unwrap().task, Task::Requeue(_)));
        let forget = read(&json!({"forget": {"user_id": "123"}})).unwrap();
        assert!(matches!((forget.invoker, forget.task), (Invoker::Direct, Task::Forget(..))));
    }

    #[test]
    fn what_goes_on_is_what_was_asked_for() {
        for event in
            [replay(), json!({"source": "log"}), json!({"forget": {"user_id": "1"}, "dry_run": true})]
        {
            let first = read(&event).unwrap();
            let second = read(&record(&first.continuation())).unwrap();
            assert_eq!((second.invoker, &second.task), (Invoker::OwnQueue, &first.task));
            assert_eq!(second.continuation(), first.continuation());
            assert_eq!(read(&first.continuation()).unwrap().task, first.task, "by hand");
        }
        let requeued = read(&json!({"source": "log"})).unwrap().continuation();
        assert_eq!(requeued["request"]["from"], "2026-11-20T10:00:00.000Z");
        assert_eq!(requeued["request"]["to"], "2026-11-21T11:00:00.000Z");
    }

    #[test]
    fn the_largest_goes_on_too() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("{n:0>64}")).collect();
        let mut event = replay();
        event["ids"] = json!(ids);
        let continuation = read(&event).unwrap().continuation();
        assert!(continuation.to_string().len() < 1024 * 1024);
        assert_eq!(read(&record(&continuation)).unwrap().continuation(), continuation);
    }

    #[test]
    fn everything_else_is_refused() {
        let too_large = json!({"from": "x".repeat(MAX_EVENT)});
        for (event, start) in [
            (json!([]), "`event` must be a JSON object"),
            (json!({}), "`from` is missing"),
            (json!({"source": "aws.events"}), "`source` must be log"),
            (json!({"Records": []}), "`Records` must be one message"),
            (json!({"Records": [{"body": "{}"}, {"body": "{}"}]}), "`Records` must be one message"),
            (record(&json!("x")), "`event` must be a JSON object"),
            (json!({"request": 1}), "`request` must be an object"),
            (
                json!({"request": replay(), "cursor": 1}),
                "`event` has a field that is none of request, progress",
            ),
            (json!({"request": replay(), "progress": {"lines": 1}}), "`progress` must be what an earlier"),
            (json!({"request": {"source": "log"}, "progress": {}}), "`progress` is not for the log"),
            (too_large, "`event` is too large"),
        ] {
            let error = read(&event).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
