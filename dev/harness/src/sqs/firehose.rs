//! Firehose, as far as records are put into delivery streams.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fault::Refusal;

const MAX_RECORDS: usize = 500;
const MAX_RECORD_BYTES: usize = 1_000 * 1024;
const MAX_CALL_BYTES: usize = 4 * 1024 * 1024;

/// Delivery streams by their names, each with the records that it has taken.
pub(super) type Streams = BTreeMap<String, Vec<String>>;

pub(super) fn perform(
    streams: &mut Streams,
    operation: &str,
    request: &Value,
    refusal: Option<&Refusal<'_>>,
) -> Result<Value, ApiError> {
    let refuse = |name, message: &str| Err(ApiError::new(name, name, message));
    if operation != "PutRecordBatch" {
        return refuse("UnknownOperationException", "");
    }
    let name = request["DeliveryStreamName"].as_str().unwrap_or_default();
    let Some(stream) = streams.get_mut(name) else {
        return refuse("ResourceNotFoundException", "There is no such delivery stream.");
    };
    let data = |record: &Value| {
        let bytes = STANDARD.decode(record["Data"].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let records = request["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(records) = records.iter().map(data).collect::<Option<Vec<String>>>() else {
        return refuse("SerializationException", "Data must be base64 of UTF-8 here.");
    };
    let bytes: usize = records.iter().map(String::len).sum();
    if !(1..=MAX_RECORDS).contains(&records.len())
        || bytes > MAX_CALL_BYTES
        || records.iter().any(|record| record.len() > MAX_RECORD_BYTES)
    {
        return refuse("InvalidArgumentException", "The request is over a limit.");
    }
    let mut failed = 0;
    let responses: Vec<Value> = records
        .into_iter()
        .enumerate()
        .map(|(place, record)| {
            if refusal.is_some_and(|refusal| refusal.entries.contains(&place)) {
                failed += 1;
                return json!({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."});
            }
            stream.push(record);
            json!({"RecordId": format!("{:056}", stream.len())})
        })
        .collect();
    Ok(json!({"FailedPutCount": failed, "Encrypted": false, "RequestResponses": responses}))
}
