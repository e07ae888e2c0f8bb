//! The least that a Lambda function can do that sends what it gets to SQS, by the SDK's client that `ingest` has.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use serde::Deserialize;

const TIMEOUT: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_secs(1),
    operation: Duration::from_secs(3),
    attempts: 10,
};

#[derive(Deserialize)]
struct Event {
    body: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    let sqs = Aws::from_environment(&environment, TIMEOUT).sqs();
    let url = environment.get("QUEUE_URL").unwrap_or_default();
    let send = |event: LambdaEvent<Event>| {
        let call = sqs.send_message().queue_url(url).message_body(event.payload.body);
        async { call.send().await.map(|_| "sent").map_err(Error::from) }
    };
    run(service_fn(send)).await
}
