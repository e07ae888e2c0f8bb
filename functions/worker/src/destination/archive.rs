//! The archive: rows for an Amazon Data Firehose delivery stream, which brings them to S3.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use relay_core::archive::{About, row};
use relay_core::delivery::{DeliveryError, DeliveryOutcome, Response, Target, TransportError};
use relay_core::destinations::{self, DestinationRow};
use relay_platform::firehose::{MAX_RECORD_BYTES, Put, PutError, Stream, calls};

use super::batches::in_batches;
use super::caller::Caller;
use super::context::RunContext;
use super::runner::{Destination, Outcomes, Setup};
use crate::event::{Event, ParsedPayload};
use crate::secrets::Secrets;
use crate::start::StartError;

const ROW: &DestinationRow = destinations::named("archive");

/// Calls in flight, of up to 1 MB each.
const IN_FLIGHT: usize = 4;

/// Calls after the first for the records of a call that Firehose did not take.
const QUICK_TRIES: u32 = 1;

pub(super) struct Archive {
    stream: Stream,
    caller: Caller,
}

/// Records that the last response says are not in the stream: their places and AWS's error codes.
type NotTaken = Mutex<Vec<(usize, String)>>;

impl Archive {
    /// Makes one call, and a second for those of its records that Firehose did not take.
    async fn send(&self, rows: &[String], context: &RunContext<'_>) -> Vec<DeliveryOutcome> {
        let mut outcomes = vec![DeliveryOutcome::NotStarted; rows.len()];
        let mut todo: Vec<usize> = (0..rows.len()).collect();
        for quick_try in 0..=QUICK_TRIES {
            let records: Vec<&str> = todo.iter().map(|index| rows[*index].as_str()).collect();
            let not_taken = NotTaken::default();
            let put = |timeout| self.put(&records, timeout, &not_taken);
            let outcome = match self.caller.call(context, ROW.name, Target::Endpoint, put).await {
                DeliveryOutcome::NotStarted => break,
                // They have been tried all the same.
                DeliveryOutcome::Retry(DeliveryError { held_back: Some(_), .. }) if quick_try > 0 => break,
                // Rows are our own work, of a known form and size: a refusal is about the stream.
                DeliveryOutcome::Rejected(error) => DeliveryOutcome::Retry(error),
                outcome => outcome,
            };
            for index in &todo {
                outcomes[*index] = outcome.clone();
            }
            if !matches!(outcome, DeliveryOutcome::Accepted { .. }) {
                break;
            }
            let not_taken = not_taken.into_inner().unwrap_or_else(PoisonError::into_inner);
            let not_taken = not_taken.into_iter().filter_map(|(place, code)| Some((*todo.get(place)?, code)));
            todo = not_taken
                .map(|(index, code)| {
                    let error = DeliveryError { excerpt: Some(code), ..DeliveryError::new("not_taken") };
                    outcomes[index] = DeliveryOutcome::Retry(error);
                    index
                })
                .collect();
            if todo.is_empty() {
                break;
            }
        }
        outcomes
    }

    async fn put(
        &self,
        records: &[&str],
        timeout: Duration,
        not_taken: &NotTaken,
    ) -> Result<Response, TransportError> {
        match self.stream.put(records, timeout).await {
            // A stream over its limits may say so record by record, within a 200.
            Ok(Put { refused, is_repeated }) if refused.len() == records.len() => {
                Ok(response(503, refused.into_iter().next().map(|(_, code)| code), is_repeated))
            }
            Ok(Put { refused, is_repeated }) => {
                *not_taken.lock().unwrap_or_else(PoisonError::into_inner) = refused;
                Ok(response(200, None, is_repeated))
            }
            Err(PutError::Timeout) => Err(TransportError::Timeout),
            Err(PutError::Unreachable) => Err(TransportError::Connect),
            Err(PutError::Broken) => Err(TransportError::Broken),
            Err(PutError::Unacknowledged) => Err(TransportError::Unread),
            Err(PutError::Refused { status, code, is_repeated }) => {
                Ok(response(http_status(status, &code), Some(code), is_repeated))
            }
        }
    }
}

fn response(status: u16, code: Option<String>, is_repeated: bool) -> Response {
    Response { status, retry_after: None, body: code.unwrap_or_default(), is_repeated }
}

/// The status that HTTP has for an AWS error: AWS answers most with 400 (Firehose API reference, "Common Error Types"
/// and PutRecordBatch, "Errors").
fn http_status(status: u16, code: &str) -> u16 {
    const THROTTLED: [&str; 4] = ["Throttl", "LimitExceeded", "TooManyRequests", "RequestLimit"];
    const UNAUTHORIZED: [&str; 7] =
        ["AccessDenied", "NotAuthorized", "Token", "Signature", "UnrecognizedClient", "OptIn", "KMS"];
    let is_one_of = |codes: &[&str]| codes.iter().any(|known| code.contains(known));
    match status {
        500.. => status,
        _ if is_one_of(&THROTTLED) => 429,
        _ if is_one_of(&UNAUTHORIZED) => 403,
        _ if code.contains("NotFound") => 404,
        _ => status,
    }
}

impl Destination for Archive {
    type Item = String;

    const ROW: &'static DestinationRow = ROW;

    fn start(setup: &Setup<'_>) -> Result<Self, StartError> {
        let stream = Stream::new(setup.aws.firehose(), setup.address.to_owned());
        Ok(Archive { stream, caller: Caller::new(false) })
    }

    fn prepare(
        &self,
        event: &Event<'_>,
        _owed: &[&'static str],
        _secrets: &Secrets,
    ) -> Result<String, Outcomes> {
        let about: About<'_> = match &event.payload {
            ParsedPayload::Webhook(webhook) => webhook.into(),
            ParsedPayload::FirstParty(event) => event.into(),
        };
        let row = row(&event.envelope, &about);
        if row.len() > MAX_RECORD_BYTES {
            return Err(vec![(ROW.name, DeliveryOutcome::rejected("too_large"))]);
        }
        Ok(row)
    }

    fn deliver<'a>(&'a self, rows: Vec<String>, context: &'a RunContext<'a>) -> BoxFuture<'a, Vec<Outcomes>> {
        Box::pin(async move {
            let send = |rows| self.send(rows, context);
            let outcomes = in_batches(calls(&rows), IN_FLIGHT, self.caller.is_on_trial(), send).await;
            outcomes.into_iter().map(|outcome| vec![(ROW.name, outcome)]).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_means_by_400() {
        for (status, code, meant) in [
            (400, "ThrottlingException", 429),
            (400, "LimitExceededException", 429),
            (400, "AccessDeniedException", 403),
            (400, "ExpiredTokenException", 403),
            (400, "InvalidSignatureException", 403),
            (400, "InvalidKMSResourceException", 403),
            (400, "ResourceNotFoundException", 404),
            (400, "InvalidArgumentException", 400),
            (503, "ServiceUnavailableException", 503),
            (500, "InternalFailure", 500),
        ] {
            assert_eq!(http_status(status, code), meant, "{code}");
        }
    }
}
