//! `replay`: composes the function and hands it to the Lambda runtime.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, run, service_fn};
use relay_platform::environment::Environment;
use relay_platform::{log, start};
use replay::{Config, Replay};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let environment = Environment::of_process();
    log::init(&environment);
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(errors) => return start::fail(&errors).await,
    };
    let replay = match Replay::new(&environment, config) {
        Ok(replay) => replay,
        Err(error) => return start::fail(&error).await,
    };
    let replay = &replay;
    let handle = move |event: LambdaEvent<Box<RawValue>>| async move {
        replay.handle(&event.payload, event.context.deadline()).await
    };
    start::ended(run(service_fn(handle)).await)
}
