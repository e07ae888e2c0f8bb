//! The event of an invocation: a task to run, and who invoked.

use relay_core::timestamp::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::replay;
use crate::request_fields::BadRequest;
use crate::task::{CONTINUATION_EXAMPLE, Task};
use crate::time_limit::Invoker;

/// In bytes. A continuation is a message, and SQS takes 1 MiB (its developer guide, "Message quotas"). The event that
/// brings the message is longer, as the message is a text in JSON there.
const MAX_EVENT: usize = 900_000;

/// After so many stops in a row the function gives up, and SQS brings the continuation to the dead-letter queue.
const MAX_FAILURES: u32 = 20;

/// In a continuation: how often it was stopped.
const FAILURES: &str = "failures";

#[derive(Debug)]
pub struct Invocation {
    pub invoker: Invoker,
    pub task: Task,
    /// How often the task was stopped since an invocation last had its whole time.
    pub failures: u32,
    /// The request, for the continuation.
    request: Map<String, Value>,
}

impl Invocation {
    /// Reads a request, a continuation, or an event of SQS with a continuation. `bucket` is the archive's;
    /// `endpoints` are those that are on.
    pub fn read(
        event: &RawValue,
        bucket: &str,
        endpoints: &[String],
        now: Timestamp,
    ) -> Result<Self, BadRequest> {
        let (invoker, mut event) = received(event.get())?;
        let failures = event.remove(FAILURES).and_then(|count| count.as_u64()).unwrap_or(0) as u32;
        let (mut request, progress) = request_and_progress(event)?;
        let task = Task::parse(&mut request, progress, bucket, endpoints, now)?;
        Ok(Invocation { invoker, task, failures, request })
    }

    /// Whether the task goes on by itself after an error: only if nobody waits for it, and for some four hours.
    pub fn may_retry(&self) -> bool {
        self.invoker == Invoker::OwnQueue && self.failures < MAX_FAILURES
    }

    /// What goes on from here. [`Invocation::read`] reads it.
    pub fn continuation(&self) -> Value {
        let mut continuation = json!({"request": self.request});
        if let Some(progress) = self.task.progress() {
            continuation["progress"] = progress;
        }
        if self.failures > 0 {
            continuation[FAILURES] = self.failures.into();
        }
        continuation
    }
}

/// Who invoked, and the request or the continuation.
fn received(text: &str) -> Result<(Invoker, Map<String, Value>), BadRequest> {
    let mut event = parse_object(text)?;
    match event.remove("Records") {
        Some(records) => Ok((Invoker::OwnQueue, parse_object(only_body(&records)?)?)),
        None if text.len() <= MAX_EVENT => Ok((Invoker::Direct, event)),
        None => {
            let problem = "is too large: ask for less, or name a result of Athena's as `result`";
            Err(BadRequest::new("event", problem, replay::EXAMPLE))
        }
    }
}

fn parse_object(text: &str) -> Result<Map<String, Value>, BadRequest> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(BadRequest::new("event", "must be a JSON object", replay::EXAMPLE)),
    }
}

/// The body of the one message of an SQS event. A message that failed would bring others of its batch back with it.
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

fn request_and_progress(
    mut event: Map<String, Value>,
) -> Result<(Map<String, Value>, Option<Value>), BadRequest> {
    let request = match event.remove("request") {
        None => return Ok((event, None)),
        Some(Value::Object(request)) => request,
        Some(_) => return Err(BadRequest::new("request", "must be an object", CONTINUATION_EXAMPLE)),
    };
    let progress = event.remove("progress").filter(|progress| !progress.is_null());
    if !event.is_empty() {
        let problem = "has a field that is none of request, progress";
        return Err(BadRequest::new("event", problem, CONTINUATION_EXAMPLE));
    }
    Ok((request, progress))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Value) -> Result<Invocation, String> {
        let event: Box<RawValue> = serde_json::from_str(&event.to_string()).unwrap();
        let now = Timestamp::parse("2026-11-21T12:00:00Z").unwrap();
        Invocation::read(&event, "archive", &[], now).map_err(|error| error.to_string())
    }

    fn replay() -> Value {
        json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["segment"]})
    }

    fn record(body: &Value) -> Value {
        json!({"Records": [{"messageId": "m1", "body": body.to_string()}]})
    }

    #[test]
    fn each_shape_is_its_task() {
        assert!(matches!(read(&replay()).unwrap().task, Task::Replay(..)));
        assert!(matches!(read(&json!({"source": "log"})).unwrap().task, Task::Requeue(_)));
        let forget = read(&json!({"forget": {"user_id": "123"}})).unwrap();
        assert!(matches!((forget.invoker, forget.task), (Invoker::Direct, Task::Forget(..))));
    }

    #[test]
    fn a_continuation_asks_for_what_the_request_asked_for() {
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
    fn the_largest_request_fits_in_a_continuation() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("{n:0>64}")).collect();
        let mut event = replay();
        event["ids"] = json!(ids);
        let continuation = read(&event).unwrap().continuation();
        assert!(continuation.to_string().len() < 1024 * 1024);
        assert_eq!(read(&record(&continuation)).unwrap().continuation(), continuation);
    }

    #[test]
    fn any_other_event_is_refused() {
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
