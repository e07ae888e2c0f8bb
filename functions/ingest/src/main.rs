//! `ingest`: composes the function and hands it to the Lambda runtime.

use std::convert::Infallible;
use std::process::ExitCode;

use ingest::{Config, Ingest};
use lambda_runtime::{LambdaEvent, run, service_fn};
use relay_platform::environment::Environment;
use relay_platform::{log, start};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let environment = Environment::of_process();
    log::init(&environment);
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(errors) => return start::fail(&errors).await,
    };
    let ingest = Ingest::new(&environment, config);
    ingest.warm_up().await;
    let ingest = &ingest;
    let handle = move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        Ok::<_, Infallible>(ingest.handle(&payload, context.xray_trace_id.as_deref()).await)
    };
    start::ended(run(service_fn(handle)).await)
}
