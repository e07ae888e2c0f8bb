//! What can go wrong, in words that say what to do.

use std::error::Error as StdError;

use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};

/// Why a command did not do what it was asked for. Holds no secret, and of events only ids.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to AWS did not succeed.
    #[error("{call} did not succeed: {problem}{advice}")]
    Aws {
        /// The service and its action.
        call: &'static str,
        /// AWS's code, such as `AccessDeniedException`; empty if nothing came back.
        code: String,
        /// What AWS says, or what kept it from answering.
        problem: String,
        /// What to do, as a sentence behind a full stop; may be empty.
        advice: &'static str,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// The person said no, or there is nobody to ask.
    #[error("nothing was changed: {0}")]
    NotConfirmed(&'static str),
    /// This machine's files or terminal.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
}

impl Error {
    /// From a call of the SDK's.
    pub fn aws<E, R>(call: &'static str) -> impl Fn(SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| {
            let code = error.code().unwrap_or_default().to_owned();
            let problem = match (&error, error.message()) {
                (_, Some(message)) if code.is_empty() => message.to_owned(),
                (_, Some(message)) => format!("{code}: {message}"),
                (SdkError::TimeoutError(_), _) => "no answer in time".to_owned(),
                (SdkError::DispatchFailure(_), _) => {
                    format!("no answer ({})", root(&error))
                }
                // Never the response itself, which may hold keys or events.
                _ if code.is_empty() => root(&error),
                _ => code.clone(),
            };
            Error::Aws { call, problem, advice: advice(&code, &root(&error)), code }
        }
    }

    /// AWS's code, if AWS answered with one.
    pub fn code(&self) -> &str {
        match self {
            Error::Aws { code, .. } => code,
            _ => "",
        }
    }

    /// The process's exit code; docs/relay.md lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound(_) => 4,
            Error::NotConfirmed(_) => 3,
            _ => 1,
        }
    }
}

/// The last cause of an error: what went wrong in the end.
fn root(error: &dyn StdError) -> String {
    let mut last: &dyn StdError = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

fn advice(code: &str, cause: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            ". Log in again (aws sso login, or new keys), and check this machine's clock"
        }
        "RequestTimeTooSkewed" | "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            ". If it speaks of a time, set this machine's clock; otherwise the credentials are not valid"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            ". The credentials are not valid; is it the right --profile?"
        }
        "AccessDenied" | "AccessDeniedException" | "AuthorizationError" => {
            ". docs/relay.md#rights lists what a command needs"
        }
        _ if cause.contains("credential") => {
            ". Give credentials as for every tool of AWS: --profile NAME, or the variables AWS_…"
        }
        _ => "",
    }
}
