//! SQS's operations over AWS's JSON protocol, with the checks and limits of the real one.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::digest::attributes_md5;
use super::error::ApiError;
use super::fault::Refusal;
use super::message::{Attribute, MAX_BYTES, MAX_ENTRIES, Stored, draft, seconds, size};
use super::queue::{Queues, ReceiveLimits};
use crate::aws::md5_hex;

const MAX_VISIBILITY_S: u64 = 43_200;

/// Carries out one operation. A receive that finds nothing answers at once: waiting is up to the caller.
pub(super) fn perform(
    queues: &mut Queues,
    operation: &str,
    request: &Value,
    refusal: Option<&Refusal<'_>>,
    now_ms: u64,
) -> Result<Value, ApiError> {
    let name = queue_name(request).unwrap_or_default();
    match operation {
        "GetQueueUrl" => {
            let name = request["QueueName"].as_str().ok_or_else(|| ApiError::missing("QueueName"))?;
            queues.get_mut(name)?;
            Ok(json!({ "QueueUrl": name }))
        }
        "GetQueueAttributes" => {
            let all = queues.get_mut(name)?.attributes(name, now_ms);
            Ok(json!({ "Attributes": select(all, &request["AttributeNames"]) }))
        }
        "PurgeQueue" => {
            queues.get_mut(name)?.messages.clear();
            Ok(json!({}))
        }
        "SendMessage" => {
            queues.get_mut(name)?;
            send(queues, name, request, now_ms)
        }
        "SendMessageBatch" => {
            let total = entries(request)?.iter().map(size).sum::<usize>();
            if total > MAX_BYTES {
                let code = "AWS.SimpleQueueService.BatchRequestTooLong";
                let message = format!(
                    "Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {total} bytes."
                );
                return Err(ApiError::new("BatchRequestTooLong", code, message));
            }
            batch(queues, name, request, refusal, |queues, entry| send(queues, name, entry, now_ms))
        }
        "ReceiveMessage" => receive(queues, name, request, now_ms),
        "DeleteMessage" => delete(queues, name, request),
        "DeleteMessageBatch" => {
            batch(queues, name, request, refusal, |queues, entry| delete(queues, name, entry))
        }
        "ChangeMessageVisibility" => change(queues, name, request, now_ms),
        "ChangeMessageVisibilityBatch" => {
            batch(queues, name, request, refusal, |queues, entry| change(queues, name, entry, now_ms))
        }
        _ => Err(ApiError::new(
            "UnknownOperationException",
            "InvalidAction",
            format!("The action {operation} is not valid for this endpoint."),
        )),
    }
}

/// The queue that a request is about.
pub(super) fn queue_name(request: &Value) -> Option<&str> {
    request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next())
}

fn entries(request: &Value) -> Result<&[Value], ApiError> {
    let entries = request["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refuse = |name, code, message: &str| Err(ApiError::new(name, code, message));
    if entries.is_empty() {
        let code = "AWS.SimpleQueueService.EmptyBatchRequest";
        return refuse("EmptyBatchRequest", code, "There should be at least one entry in the request.");
    }
    if entries.len() > MAX_ENTRIES {
        let message = format!(
            "Maximum number of entries per request are {MAX_ENTRIES}. You have sent {}.",
            entries.len()
        );
        let code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
        return refuse("TooManyEntriesInBatchRequest", code, &message);
    }
    let mut ids = HashSet::new();
    for entry in entries {
        let id = entry["Id"].as_str().unwrap_or_default();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > 80 || !id.bytes().all(allowed) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and \
                           underscores. It can be at most 80 letters long.";
            return refuse("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", message);
        }
        if !ids.insert(id) {
            let code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
            return refuse("BatchEntryIdsNotDistinct", code, &format!("Id {id} repeated."));
        }
    }
    Ok(entries)
}

/// Each entry on its own: the request succeeds whatever becomes of them.
fn batch(
    queues: &mut Queues,
    name: &str,
    request: &Value,
    refusal: Option<&Refusal<'_>>,
    mut perform: impl FnMut(&mut Queues, &Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    queues.get_mut(name)?;
    let entries = entries(request)?;
    if request["Entries"][0].get("MessageBody").is_some() {
        // A missing body is a fault of the request as a whole, and nothing of it is kept.
        for (index, entry) in entries.iter().enumerate() {
            if entry["MessageBody"].as_str().is_none_or(str::is_empty) {
                let parameter = format!("SendMessageBatchRequestEntry.{}.MessageBody", index + 1);
                return Err(ApiError::missing(&parameter));
            }
        }
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let refused = refusal.filter(|refusal| refusal.entries.contains(&index));
        let result = match refused {
            Some(_) => Err(ApiError::new("InternalError", "InternalError", "refused on command")),
            None => perform(queues, entry),
        };
        match result {
            Ok(mut done) => {
                done["Id"] = entry["Id"].clone();
                successful.push(done);
            }
            Err(error) => failed.push(json!({
                "Id": entry["Id"],
                "Code": error.code,
                "Message": error.message,
                "SenderFault": refused.is_none_or(|refusal| refusal.sender_fault),
            })),
        }
    }
    let mut answer = json!({ "Successful": successful });
    if !failed.is_empty() {
        answer["Failed"] = failed.into();
    }
    Ok(answer)
}

fn send(queues: &mut Queues, name: &str, entry: &Value, now_ms: u64) -> Result<Value, ApiError> {
    let draft = draft(entry)?;
    let mut answer = json!({ "MD5OfMessageBody": md5_hex(draft.body.as_bytes()) });
    if let Some(md5) = attributes_md5(&draft.attributes) {
        answer["MD5OfMessageAttributes"] = md5.into();
    }
    answer["MessageId"] = queues.put(name, draft, now_ms)?.into();
    Ok(answer)
}

fn receive(queues: &mut Queues, name: &str, request: &Value, now_ms: u64) -> Result<Value, ApiError> {
    let messages = match &request["MaxNumberOfMessages"] {
        Value::Null => 1,
        given => given.as_u64().filter(|count| (1..=10).contains(count)).ok_or_else(|| {
            ApiError::invalid(format!("Value {given} for parameter MaxNumberOfMessages is invalid."))
        })?,
    };
    let visibility_ms = seconds(request, "VisibilityTimeout", MAX_VISIBILITY_S)?.map(|time| time * 1000);
    let take = ReceiveLimits { messages: messages as usize, bytes: usize::MAX, visibility_ms };
    let taken = queues.receive(name, &take, now_ms)?;
    if taken.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<Value> = taken.iter().map(|message| wire(message, request)).collect();
    Ok(json!({ "Messages": messages }))
}

fn wire(message: &Stored, request: &Value) -> Value {
    let mut wire = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt(),
        "MD5OfBody": md5_hex(message.body.as_bytes()),
        "Body": message.body,
    });
    let names = ["MessageSystemAttributeNames", "AttributeNames"];
    let system = names.map(|names| select(message.system_attributes(), &request[names]));
    let system: Map<String, Value> = system.into_iter().flatten().collect();
    if !system.is_empty() {
        wire["Attributes"] = system.into();
    }
    let wanted = |name: &str| wants(&request["MessageAttributeNames"], name);
    let attributes: BTreeMap<String, Attribute> =
        message.attributes.clone().into_iter().filter(|(name, _)| wanted(name)).collect();
    if let Some(md5) = attributes_md5(&attributes) {
        wire["MD5OfMessageAttributes"] = md5.into();
        for (name, attribute) in attributes {
            let mut value = json!({ "DataType": attribute.data_type });
            match (attribute.string_value, attribute.binary_value) {
                (Some(text), _) => value["StringValue"] = text.into(),
                (None, binary) => value["BinaryValue"] = binary.into(),
            }
            wire["MessageAttributes"][name] = value;
        }
    }
    wire
}

fn wants(names: &Value, name: &str) -> bool {
    let mut names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.any(|wanted| match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    })
}

fn select(all: Map<String, Value>, names: &Value) -> Map<String, Value> {
    all.into_iter().filter(|(name, _)| wants(names, name)).collect()
}

fn receipt(entry: &Value) -> Result<&str, ApiError> {
    entry["ReceiptHandle"].as_str().ok_or_else(|| ApiError::missing("ReceiptHandle"))
}

fn delete(queues: &mut Queues, name: &str, entry: &Value) -> Result<Value, ApiError> {
    queues.delete(name, receipt(entry)?)?;
    Ok(json!({}))
}

fn change(queues: &mut Queues, name: &str, entry: &Value, now_ms: u64) -> Result<Value, ApiError> {
    let visibility_s = seconds(entry, "VisibilityTimeout", MAX_VISIBILITY_S)?
        .ok_or_else(|| ApiError::missing("VisibilityTimeout"))?;
    queues.hide(name, receipt(entry)?, visibility_s, now_ms)?;
    Ok(json!({}))
}
