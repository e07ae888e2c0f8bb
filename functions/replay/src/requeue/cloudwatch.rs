//! The log of `ingest` in CloudWatch Logs.

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use relay_core::timestamp::Timestamp;
use relay_platform::known;

use super::ingest_log::{IngestLog, LogError, LogPage};
use super::unqueued::FILTER;

#[derive(Debug, Clone)]
pub struct LogGroup {
    client: Client,
    name: String,
}

impl LogGroup {
    pub fn new(client: Client, name: String) -> Self {
        LogGroup { client, name }
    }
}

impl IngestLog for LogGroup {
    async fn page(&self, from: Timestamp, to: Timestamp, token: Option<String>) -> Result<LogPage, LogError> {
        let call = self
            .client
            .filter_log_events()
            .log_group_name(&self.name)
            .filter_pattern(FILTER)
            .start_time(from.milliseconds())
            // The end of CloudWatch's range is part of it (API reference, FilterLogEvents); the end of ours is not.
            .end_time(to.milliseconds() - 1)
            .set_next_token(token);
        let response = call.send().await.map_err(|error| {
            // The code only: AWS's messages may quote the request.
            let code =
                error.as_service_error().map(|error| error.code().map_or("without a code", known::aws_code));
            LogError(code.unwrap_or("no answer in time").to_owned())
        })?;
        let next = response.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
        // A page without lines has an empty list. A success without a list says nothing about the log.
        let events =
            response.events.ok_or_else(|| LogError("an answer without a list of events".to_owned()))?;
        let lines = events.into_iter().filter_map(|event| event.message);
        Ok(LogPage { lines: lines.collect(), next })
    }
}
