//! `ingest`: composes the function and hands it to the Lambda runtime.

use std::convert::Infallible;
use std::process::ExitCode;

use ingest::Ingest;
use ingest::http::request;
use lambda_http::lambda_runtime::run;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, LambdaEvent, Request, service_fn};
use relay_platform::start;
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    start::run(Ingest::start, async |ingest| {
        let ingest = &ingest;
        let handle = move |request: Request| async move { Ok::<_, Infallible>(ingest.handle(request).await) };
        // As lambda_http::run does, but for the reading.
        let read = |event: LambdaEvent<Box<RawValue>>| LambdaEvent {
            payload: request::read(&event.payload),
            context: event.context,
        };
        run(Adapter::from(service_fn(handle)).map_request(read)).await
    })
    .await
}
