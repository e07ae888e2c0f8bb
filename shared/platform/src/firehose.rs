//! An Amazon Data Firehose delivery stream, as far as this product writes to one.

use std::error::Error;
use std::time::Duration;

use aws_sdk_firehose::Client;
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchError;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{PutRecordBatchResponseEntry, Record};

use crate::http::{HttpError, Repeats};
use crate::known;

/// Firehose takes up to 500 records in one call (API reference, PutRecordBatch).
const MAX_RECORDS: usize = 500;

/// Firehose takes 4 MiB in one call. A quarter of it is encoded, signed and sent within the time of a call even by a
/// small function's share of a core.
const MAX_CALL_BYTES: usize = 1_050_000;

/// The largest record that Firehose takes, in bytes (API reference, PutRecordBatch: 1,000 KiB).
pub const MAX_RECORD_BYTES: usize = 1_024_000;

/// Why a call stored nothing, as far as is known. Never holds any of the records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Firehose did not answer in time.
    #[error("Firehose did not answer in time")]
    Timeout,
    /// No connection came about.
    #[error("Firehose could not be reached")]
    Unreachable,
    /// The connection broke: whether Firehose took the records is unknown.
    #[error("the connection to Firehose broke")]
    Broken,
    /// Firehose answered with a success that does not say of every record what became of it.
    #[error("Firehose's response does not speak of every record")]
    Unacknowledged,
    /// Firehose refused.
    #[error("Firehose refused: {} ({status})", known::aws_code(code))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// AWS's error code, as it came: nothing for a log.
        code: String,
        /// As of [`Put`].
        is_repeated: bool,
    },
}

/// What came of a call that Firehose answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The records that are not in the stream: their places, and AWS's error codes.
    pub refused: Vec<(usize, String)>,
    /// The call was sent twice, since a kept connection failed it at first: the others may be in the stream twice.
    pub is_repeated: bool,
}

/// A delivery stream to write to.
#[derive(Debug, Clone)]
pub struct Stream {
    client: Client,
    name: String,
}

impl Stream {
    /// A stream by its name.
    pub fn new(client: Client, name: String) -> Self {
        Stream { client, name }
    }

    /// Puts records in one call: at most those of one of [`calls`].
    ///
    /// # Errors
    /// [`PutError`]; but for `Unreachable` and `Refused` the records may be in the stream all the same.
    pub async fn put(&self, records: &[&str], timeout: Duration) -> Result<Put, PutError> {
        // Data is all that a record has, so that none is ever incomplete.
        let record = |data: &&str| Record::builder().data(Blob::new(*data)).build().ok();
        let repeats = Repeats::default();
        let witness = repeats.clone();
        let call = self
            .client
            .put_record_batch()
            .delivery_stream_name(&self.name)
            .set_records(Some(records.iter().filter_map(record).collect()))
            .customize()
            .mutate_request(move |request| request.add_extension(repeats.clone()))
            .send();
        let answer = tokio::time::timeout(timeout, call).await.map_err(|_| PutError::Timeout)?;
        let is_repeated = witness.happened();
        let answer = answer.map_err(|error| explain(error, is_repeated))?;
        let entries = answer.request_responses();
        let is_decided = |entry: &PutRecordBatchResponseEntry| {
            entry.error_code().is_some() || entry.record_id().is_some_and(|id| !id.is_empty())
        };
        let refused = entries.iter().enumerate();
        let refused = refused.filter_map(|(place, entry)| Some((place, entry.error_code()?.to_owned())));
        let refused: Vec<(usize, String)> = refused.collect();
        let spoken_of = (entries.len(), answer.failed_put_count() as usize);
        // A response that contradicts itself says nothing.
        match spoken_of == (records.len(), refused.len()) && entries.iter().all(is_decided) {
            true => Ok(Put { refused, is_repeated }),
            false => Err(PutError::Unacknowledged),
        }
    }
}

/// Splits records, in order, into as few calls as the limits allow.
pub fn calls<R: AsRef<str>>(records: &[R]) -> Vec<&[R]> {
    let mut calls = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, record) in records.iter().enumerate() {
        let more = record.as_ref().len();
        if place > start && (place - start == MAX_RECORDS || bytes + more > MAX_CALL_BYTES) {
            calls.push(&records[start..place]);
            (start, bytes) = (place, 0);
        }
        bytes += more;
    }
    if start < records.len() {
        calls.push(&records[start..]);
    }
    calls
}

fn explain(error: SdkError<PutRecordBatchError>, is_repeated: bool) -> PutError {
    match error {
        SdkError::TimeoutError(_) => PutError::Timeout,
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().and_then(|error| error.source()?.downcast_ref());
            match cause {
                Some(HttpError::Connect(_)) => PutError::Unreachable,
                _ => PutError::Broken,
            }
        }
        SdkError::ServiceError(error) => PutError::Refused {
            status: error.raw().status().as_u16(),
            // The code only: AWS's messages may quote the request.
            code: error.err().code().unwrap_or("without a code").to_owned(),
            is_repeated,
        },
        SdkError::ConstructionFailure(_) => PutError::Unreachable,
        _ => PutError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_keep_to_both_limits() {
        let lengths = |count, bytes| {
            let records = vec!["x".repeat(bytes); count];
            calls(&records).iter().map(|call| call.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(0, 1), Vec::<usize>::new());
        assert_eq!(lengths(1_001, 10), [500, 500, 1]);
        assert_eq!(lengths(5, 500_000), [2, 2, 1]);
        assert_eq!(lengths(2, MAX_RECORD_BYTES), [1, 1]);
    }
}
