//! The log of `ingest` in CloudWatch Logs.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::config::Builder;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Timeouts, unlimited_retries};
use relay_platform::environment::Environment;
use relay_platform::known;

use super::ingest_log::{IngestLog, LogError, LogPage};
use super::unqueued::FILTER;

/// FilterLogEvents looks through a range of the log for seconds before it gives a page.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(15),
    operation: Duration::from_secs(18),
    attempts: 5,
};

#[derive(Debug, Clone)]
pub struct LogGroup {
    client: Client,
    name: String,
}

impl LogGroup {
    pub fn new(environment: &Environment, name: String) -> Self {
        let config = Aws::from_environment(environment, TIMEOUTS).of_service(environment, "CLOUDWATCH_LOGS");
        let config = Builder::from(&config).retry_partition(unlimited_retries("logs"));
        LogGroup { client: Client::from_conf(config.build()), name }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// CloudWatch Logs, which is down, and how often it was asked.
    #[derive(Debug, Clone, Default)]
    struct Down(Arc<AtomicUsize>);

    impl HttpConnector for Down {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            self.0.fetch_add(1, Ordering::Relaxed);
            let status = http::StatusCode::SERVICE_UNAVAILABLE.into();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_makes_all_its_attempts_however_many_have_failed_before() {
        let variables =
            [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")];
        let mut log = LogGroup::new(&Environment::of(variables), "log".to_owned());
        let down = Down::default();
        let connector = SharedHttpConnector::new(down.clone());
        let client = http_client_fn(move |_, _| connector.clone());
        log.client = Client::from_conf(log.client.config().to_builder().http_client(client).build());
        let hour = Timestamp::parse("2026-11-20T00:00:00Z").unwrap();
        for _ in 0..50 {
            log.page(hour, hour, None).await.unwrap_err();
        }
        assert_eq!(down.0.load(Ordering::Relaxed), 50 * TIMEOUTS.attempts as usize);
    }
}
