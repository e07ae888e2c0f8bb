//! SQS's operations over AWS's JSON protocol, with the checks and limits of the real one.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::digest::{attributes_md5, md5_hex};
use super::error::ApiError;
use super::queue::{Attribute, Draft, Queues, Stored, Take};

/// The limit of a message with its attributes, and of all the messages of a batch together.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
const MAX_ENTRIES: usize = 10;
const MAX_DELAY_S: u64 = 900;
const MAX_VISIBILITY_S: u64 = 43_200;

/// How one entry of a batch was made to fail by a test.
pub(super) struct Refusal<'a> {
    pub(super) entries: &'a [usize],
    pub(super) sender_fault: bool,
}

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

/// What SQS makes of a message before it keeps it.
pub(super) fn draft(entry: &Value) -> Result<Draft, ApiError> {
    let body = entry["MessageBody"].as_str().unwrap_or_default();
    if body.is_empty() {
        return Err(ApiError::missing("MessageBody"));
    }
    if size(entry) > MAX_BYTES {
        let reason = format!("Message must be shorter than {MAX_BYTES} bytes.");
        return Err(ApiError::invalid(format!("One or more parameters are invalid. Reason: {reason}")));
    }
    if !body.chars().all(allowed) {
        let message = "Invalid characters found. Valid unicode characters are \
                       #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
        return Err(ApiError::new("InvalidMessageContents", "InvalidMessageContents", message));
    }
    Ok(Draft {
        body: body.to_owned(),
        attributes: attributes(&entry["MessageAttributes"])?,
        trace_header: trace_header(&entry["MessageSystemAttributes"])?,
        delay_s: seconds(entry, "DelaySeconds", MAX_DELAY_S)?.unwrap_or_default(),
    })
}

fn allowed(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

fn attributes(given: &Value) -> Result<BTreeMap<String, Attribute>, ApiError> {
    if given.is_null() {
        return Ok(BTreeMap::new());
    }
    let attributes: BTreeMap<String, Attribute> =
        serde_json::from_value(given.clone()).map_err(|error| ApiError::invalid(error.to_string()))?;
    if attributes.len() > MAX_ENTRIES {
        return Err(ApiError::invalid("Number of message attributes exceeds the allowed maximum [10]."));
    }
    for (name, attribute) in &attributes {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let named = !name.is_empty() && name.len() <= 256 && name.bytes().all(letter);
        let kind = attribute.data_type.split('.').next().unwrap_or_default();
        let value = attribute.value().filter(|(_, value)| !value.is_empty());
        let fits = match value {
            Some((1, _)) => matches!(kind, "String" | "Number"),
            Some(_) => kind == "Binary",
            None => false,
        };
        if !named || !fits || !attribute.string_value.iter().flat_map(|text| text.chars()).all(allowed) {
            let message =
                format!("The message attribute '{name}' must contain a valid name, type and value.");
            return Err(ApiError::invalid(message));
        }
    }
    Ok(attributes)
}

/// The one system attribute that SQS takes, and only if it is a trace header.
fn trace_header(given: &Value) -> Result<Option<String>, ApiError> {
    let attribute = &given["AWSTraceHeader"];
    let header = attribute["StringValue"].as_str().filter(|header| header.starts_with("Root=1-"));
    let is_alone = given.as_object().is_none_or(|given| given.len() == 1);
    match header {
        None if given.is_null() => Ok(None),
        Some(header) if is_alone && attribute["DataType"] == "String" => Ok(Some(header.to_owned())),
        _ => Err(ApiError::invalid("The only system attribute is AWSTraceHeader, an X-Ray trace header.")),
    }
}

/// The bytes of a message that count for the limit.
fn size(entry: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let attributes = entry["MessageAttributes"].as_object().into_iter().flatten().map(|(name, value)| {
        let binary = length(&value["BinaryValue"]) / 4 * 3;
        name.len() + length(&value["DataType"]) + length(&value["StringValue"]) + binary
    });
    length(&entry["MessageBody"]) + attributes.sum::<usize>()
}

fn seconds(request: &Value, name: &str, max: u64) -> Result<Option<u64>, ApiError> {
    match &request[name] {
        Value::Null => Ok(None),
        given => given.as_u64().filter(|seconds| *seconds <= max).map(Some).ok_or_else(|| {
            ApiError::invalid(format!(
                "Value {given} for parameter {name} is invalid. Reason: Must be >= 0 and <= {max}."
            ))
        }),
    }
}

fn receive(queues: &mut Queues, name: &str, request: &Value, now_ms: u64) -> Result<Value, ApiError> {
    let messages = match &request["MaxNumberOfMessages"] {
        Value::Null => 1,
        given => given.as_u64().filter(|count| (1..=10).contains(count)).ok_or_else(|| {
            ApiError::invalid(format!("Value {given} for parameter MaxNumberOfMessages is invalid."))
        })?,
    };
    let visibility_ms = seconds(request, "VisibilityTimeout", MAX_VISIBILITY_S)?.map(|time| time * 1000);
    let take = Take { messages: messages as usize, bytes: usize::MAX, visibility_ms };
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
