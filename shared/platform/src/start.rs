//! The start of a function, as far as it can go wrong.

use std::process::ExitCode;

use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{Client, build_request};

use crate::environment::Environment;

/// Reports that the function cannot start: one line in the log and on the Runtime API's `init/error`, then exit
/// code 1. Source: Lambda developer guide, "Using the Lambda runtime API", initialization error.
pub async fn fail(error: &(dyn std::error::Error + Sync)) -> ExitCode {
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
pub fn ended<E>(result: Result<(), E>) -> ExitCode {
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

async fn post(message: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
