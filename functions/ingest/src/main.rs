//! `ingest`: composes the function and hands it to the Lambda runtime.

use std::convert::Infallible;
use std::process::ExitCode;

use ingest::http::request;
use ingest::{Config, Ingest};
use lambda_http::lambda_runtime::run;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, LambdaEvent, Request, service_fn};
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
    let handler =
        service_fn(move |request: Request| async move { Ok::<_, Infallible>(ingest.handle(request).await) });
    // As lambda_http::run does, but for the reading.
    let read = |event: LambdaEvent<Box<RawValue>>| LambdaEvent {
        payload: request::read(&event.payload),
        context: event.context,
    };
    start::ended(run(Adapter::from(handler).map_request(read)).await)
}
