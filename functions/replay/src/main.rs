//! `replay`: composes the function and hands it to the Lambda runtime.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use relay_platform::environment::Environment;
use relay_platform::start;
use replay::Replay;
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    start::run(
        async |environment: &Environment| Replay::start(environment),
        async |replay| {
            let replay = &replay;
            let handle = move |event: LambdaEvent<Box<RawValue>>| async move {
                replay.handle(&event.payload, event.context.deadline()).await
            };
            lambda_runtime::run(service_fn(handle)).await
        },
    )
    .await
}
