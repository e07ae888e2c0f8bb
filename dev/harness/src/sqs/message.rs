//! A message: as it is sent, checked with the limits of the real SQS, and as it is kept.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::aws::queue_arn;

/// The limit of a message with its attributes, and of all the messages of a batch together.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// The most entries of a batch, and attributes of a message.
pub(super) const MAX_ENTRIES: usize = 10;
const MAX_DELAY_S: u64 = 900;

/// A message attribute as SQS takes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    pub(crate) string_value: Option<String>,
    pub(crate) binary_value: Option<String>,
}

impl Attribute {
    /// The bytes of the value, and the byte that stands for its kind in a digest.
    pub(super) fn value(&self) -> Option<(u8, Vec<u8>)> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), None) => Some((1, text.as_bytes().to_vec())),
            (None, Some(base64)) => STANDARD.decode(base64).ok().map(|bytes| (2, bytes)),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    /// X-Ray's, the one system attribute that senders set.
    pub(crate) trace_header: Option<String>,
    pub(crate) sent_ms: u64,
    pub(crate) delay_s: u64,
    /// Hidden until then, by its delay or by a receive.
    pub(crate) due_ms: u64,
    pub(crate) receive_count: u32,
    pub(super) first_received_ms: u64,
    /// Of the latest receive: an older one no longer counts.
    pub(super) receipt: Option<String>,
    pub(super) dead_letter_source: Option<String>,
}

impl Stored {
    pub(crate) fn receipt(&self) -> &str {
        self.receipt.as_deref().unwrap_or_default()
    }

    /// The attributes that SQS itself keeps.
    pub(crate) fn system_attributes(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: String| all.insert(name.to_owned(), value.into());
        put("ApproximateFirstReceiveTimestamp", self.first_received_ms.to_string());
        put("ApproximateReceiveCount", self.receive_count.to_string());
        put("SenderId", "AROAEXAMPLE:harness".to_owned());
        put("SentTimestamp", self.sent_ms.to_string());
        if let Some(header) = &self.trace_header {
            put("AWSTraceHeader", header.clone());
        }
        if let Some(source) = &self.dead_letter_source {
            put("DeadLetterQueueSourceArn", queue_arn(source));
        }
        all
    }
}

/// A message that was checked and can be kept.
pub(crate) struct Draft {
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) trace_header: Option<String>,
    pub(crate) delay_s: u64,
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
pub(super) fn size(entry: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let attributes = entry["MessageAttributes"].as_object().into_iter().flatten().map(|(name, value)| {
        let binary = length(&value["BinaryValue"]) / 4 * 3;
        name.len() + length(&value["DataType"]) + length(&value["StringValue"]) + binary
    });
    length(&entry["MessageBody"]) + attributes.sum::<usize>()
}

pub(super) fn seconds(request: &Value, name: &str, max: u64) -> Result<Option<u64>, ApiError> {
    match &request[name] {
        Value::Null => Ok(None),
        given => given.as_u64().filter(|seconds| *seconds <= max).map(Some).ok_or_else(|| {
            ApiError::invalid(format!(
                "Value {given} for parameter {name} is invalid. Reason: Must be >= 0 and <= {max}."
            ))
        }),
    }
}
