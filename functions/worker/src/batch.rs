//! Lambda's side: the batch of SQS messages that comes in, and the partial batch response that goes out.

use std::borrow::Cow;

use relay_core::json::{Json, Kind};
use relay_platform::trace::TraceHeader;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Debug)]
pub struct Message<'a> {
    /// SQS's id, never empty. It changes on redrive: the event's id is in the envelope.
    pub id: MessageId<'a>,
    /// For changing the message's visibility.
    pub receipt_handle: Option<Cow<'a, str>>,
    pub receive_count: u32,
    pub trace: Option<TraceHeader>,
    pub body: Cow<'a, str>,
}

/// The id of a message of the batch at hand. Only [`parse`] makes one, so that a response can only name messages
/// that Lambda asked about: an empty or made-up id would bring the whole batch back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageId<'a>(Cow<'a, str>);

impl std::fmt::Display for MessageId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(relay_platform::known::id(&self.0))
    }
}

/// The event is no batch of SQS messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event is no batch of SQS messages: {0}. The worker is meant to be invoked by an SQS event source mapping"
)]
pub struct NotAnSqsEvent(&'static str);

impl From<NotAnSqsEvent> for lambda_runtime::Diagnostic {
    fn from(error: NotAnSqsEvent) -> Self {
        lambda_runtime::Diagnostic { error_type: "NotAnSqsEvent".into(), error_message: error.to_string() }
    }
}

#[derive(Deserialize)]
struct SqsEvent<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<Json<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, rename = "messageId")]
    message_id: Json<'a>,
    #[serde(borrow, rename = "receiptHandle")]
    receipt_handle: Option<Json<'a>>,
    #[serde(borrow)]
    body: Option<Json<'a>>,
    #[serde(borrow)]
    attributes: Option<Json<'a>>,
}

/// A batch, taken apart.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// The most received first: what there was no time for last time goes first now.
    pub messages: Vec<Message<'a>>,
    /// Messages without a text for a body, which must come back.
    pub unreadable: Vec<MessageId<'a>>,
}

/// Takes a batch apart.
///
/// # Errors
/// If the event is none of SQS's, or a record has no id: it could not be reported back.
pub fn parse(event: &RawValue) -> Result<Batch<'_>, NotAnSqsEvent> {
    let no_records = NotAnSqsEvent("it has no list of Records");
    if Json::from(event).kind() != Kind::Object {
        return Err(no_records);
    }
    let batch: SqsEvent<'_> = serde_json::from_str(event.get()).map_err(|_| no_records)?;
    let mut received = Batch::default();
    for record in batch.records {
        match Message::parse(record)? {
            Ok(message) => received.messages.push(message),
            Err(id) => {
                tracing::error!(message_id = %id, "the message has no body: it returns");
                received.unreadable.push(id);
            }
        }
    }
    received.messages.sort_by_key(|message| std::cmp::Reverse(message.receive_count));
    Ok(received)
}

impl<'a> Message<'a> {
    fn parse(record: Json<'a>) -> Result<Result<Self, MessageId<'a>>, NotAnSqsEvent> {
        #[derive(Default, Deserialize)]
        struct Attributes<'a> {
            #[serde(borrow, rename = "ApproximateReceiveCount")]
            receive_count: Option<Json<'a>>,
            #[serde(borrow, rename = "AWSTraceHeader")]
            trace_header: Option<Json<'a>>,
        }
        let record: Record<'a> =
            serde_json::from_str(record.get()).map_err(|_| NotAnSqsEvent("a record has no messageId"))?;
        let id = record
            .message_id
            .as_str()
            .filter(|id| !id.is_empty())
            .map(MessageId)
            .ok_or(NotAnSqsEvent("a record's messageId is no text"))?;
        let Some(body) = record.body.and_then(Json::as_str) else { return Ok(Err(id)) };
        let attributes: Attributes<'_> = record
            .attributes
            .and_then(|attributes| serde_json::from_str(attributes.get()).ok())
            .unwrap_or_default();
        let receive_count =
            attributes.receive_count.and_then(|count| count.get().trim_matches('"').parse().ok());
        let trace = attributes.trace_header.and_then(Json::as_str);
        Ok(Ok(Message {
            id,
            receipt_handle: record.receipt_handle.and_then(Json::as_str),
            receive_count: receive_count.unwrap_or(1),
            trace: trace.and_then(|header| TraceHeader::parse(&header)),
            body,
        }))
    }
}

/// Lambda's partial batch response: exactly the messages that must come back.
///
/// Lambda takes a response that it cannot read for a failure of the whole batch, and a misspelt outer key for a
/// success of the whole (Lambda developer guide, "Reporting batch item failures"); so there is this one type.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    item_identifier: MessageId<'static>,
}

impl BatchResponse {
    /// Names the messages that must come back.
    pub fn of(returned: Vec<MessageId<'_>>) -> Self {
        let failures = returned
            .into_iter()
            .map(|MessageId(id)| Failure { item_identifier: MessageId(Cow::Owned(id.into_owned())) })
            .collect();
        BatchResponse { failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_answer_is_lambda_s_to_the_letter() {
        let event = raw(r#"{"Records":[{"messageId":"a","body":""},{"messageId":"b","body":"{}"}]}"#);
        let ids = parse(&event).unwrap().messages.into_iter().map(|message| message.id).collect();
        assert_eq!(
            serde_json::to_string(&BatchResponse::of(ids)).unwrap(),
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}"#
        );
        assert_eq!(serde_json::to_string(&BatchResponse::of(vec![])).unwrap(), r#"{"batchItemFailures":[]}"#);
    }

    #[test]
    fn the_most_received_go_first() {
        let record = |id, count| {
            format!(
                r#"{{"messageId":"{id}","body":"","attributes":{{"ApproximateReceiveCount":"{count}"}}}}"#
            )
        };
        let event =
            raw(&format!(r#"{{"Records":[{},{},{}]}}"#, record("a", 1), record("b", 3), record("c", 1)));
        let ids: Vec<String> =
            parse(&event).unwrap().messages.iter().map(|message| message.id.0.to_string()).collect();
        assert_eq!(ids, ["b", "a", "c"]);
    }

    #[test]
    fn other_events_are_refused_before_anything_happens() {
        for event in [
            "null",
            "{}",
            "[]",
            r#"{"Records":{}}"#,
            r#"{"Records":[1]}"#,
            r#"{"Records":[{"body":""}]}"#,
            r#"{"Records":[{"messageId":"","body":""}]}"#,
            r#"[["a"]]"#,
        ] {
            assert!(parse(&raw(event)).is_err(), "{event}");
        }
        assert!(parse(&raw(r#"{"Records":[],"more":1}"#)).unwrap().messages.is_empty());
    }

    #[test]
    fn a_message_without_a_body_comes_back_alone() {
        let event = raw(
            r#"{"Records":[{"messageId":"a"},{"messageId":"b","body":null},{"messageId":"c","body":"{}"}]}"#,
        );
        let received = parse(&event).unwrap();
        assert_eq!((received.messages.len(), received.unreadable.len()), (1, 2));
    }
}
