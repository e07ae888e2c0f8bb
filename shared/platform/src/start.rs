//! How a function starts and ends.

use std::error::Error;
use std::process::ExitCode;

use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{Client, build_request};

use crate::environment::Environment;
use crate::log;

/// Runs a function for the life of its process. `start` makes it of the environment; `serve` hands it to the Lambda
/// runtime.
///
/// # Errors
/// Exit code 1: it cannot start, which the log and the Runtime API say, or the runtime has ended.
pub async fn run<F, E: Error + Sync, R>(
    start: impl AsyncFnOnce(&Environment) -> Result<F, E>,
    serve: impl AsyncFnOnce(F) -> Result<(), R>,
) -> ExitCode {
    let environment = Environment::of_process();
    log::init(&environment);
    match start(&environment).await {
        // Boxed: a function's futures are nested deeper than the compiler looks.
        Ok(function) => ended(Box::pin(serve(function)).await),
        Err(error) => fail(&error).await,
    }
}

/// Reports that the function cannot start: one line in the log and on the Runtime API's `init/error`, then exit
/// code 1. Source: Lambda developer guide, "Using the Lambda runtime API", initialization error.
async fn fail(error: &(dyn Error + Sync)) -> ExitCode {
    let message = error.to_string();
    tracing::error!("{message}");
    // Outside Lambda nobody listens: the line in the log has to do.
    if let Err(error) = post(&message).await {
        tracing::debug!(%error, "no Runtime API to report to");
    }
    ExitCode::FAILURE
}

/// Ends the process when the Lambda runtime has ended. What it says is left out: it may quote an invocation's headers,
/// such as a caller's client context.
fn ended<E>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            tracing::error!(
                "the Lambda runtime gave up over an invocation or a connection that it could not read"
            );
            ExitCode::FAILURE
        }
    }
}

async fn post(message: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    // The client panics without it.
    Environment::of_process().get("AWS_LAMBDA_RUNTIME_API").ok_or("AWS_LAMBDA_RUNTIME_API is not set")?;
    const ERROR_TYPE: &str = "Configuration.Invalid";
    let report = serde_json::json!({"errorMessage": message, "errorType": ERROR_TYPE, "stackTrace": []});
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("Lambda-Runtime-Function-Error-Type", ERROR_TYPE)
        .body(Body::from(report.to_string()))?;
    Client::builder().build()?.call(request).await?;
    Ok(())
}
