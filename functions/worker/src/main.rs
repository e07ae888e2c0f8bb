//! `worker`: composes the function and hands it to the Lambda runtime.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use relay_platform::start;
use serde_json::value::RawValue;
use worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    start::run(Worker::start, async |worker| {
        let worker = &worker;
        let handle = move |event: LambdaEvent<Box<RawValue>>| async move {
            worker.handle(&event.payload, event.context.deadline()).await
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
