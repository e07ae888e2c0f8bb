//! Why an invocation failed, and what to do about it.

use std::fmt;

use lambda_runtime::Diagnostic;
use relay_platform::queue::SendError;
use serde_json::Value;

use crate::archive::StoreError;
use crate::replay::ReplayError;
use crate::request_fields::BadRequest;
use crate::requeue::RequeueError;

/// What stopped a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Requeue(#[from] RequeueError),
    #[error(transparent)]
    Forget(#[from] StoreError),
    #[error("time is up, and this function's own queue did not take the continuation: {0}")]
    NotHandedOver(SendError),
    /// The whole time of an invocation is not enough to get further than the one before.
    #[error(
        "one invocation has not enough time to read the archive's days, or to check which webhooks are marked as sent"
    )]
    TooMuch,
}

impl TaskError {
    /// Whether another invocation may get further without a person's help.
    pub fn is_retriable(&self) -> bool {
        !matches!(self, TaskError::TooMuch | TaskError::NotHandedOver(_))
    }
}

#[derive(thiserror::Error)]
pub enum InvocationError {
    #[error("the event cannot be used: {0}")]
    BadRequest(#[from] BadRequest),
    /// A task stopped before its end.
    #[error("{error}. {advice}")]
    Stopped { error: TaskError, advice: String },
}

impl InvocationError {
    /// Says how to go on. `progress` is the task's, as a log may have it. The request is left out, since it may hold
    /// addresses.
    pub fn stopped(error: TaskError, progress: Option<Value>) -> Self {
        let advice = match (&error, progress) {
            (TaskError::TooMuch, _) => "Ask for a shorter range with from and to".to_owned(),
            (_, Some(progress)) => {
                format!(
                    "Everything before this is done. To go on from here, invoke the function with \
                     {{\"request\":<the same event>,\"progress\":{progress}}}"
                )
            }
            (_, None) => {
                "What was sent is marked. To go on, invoke the function with the same event".to_owned()
            }
        };
        InvocationError::Stopped { error, advice }
    }

    fn error_type(&self) -> &'static str {
        match self {
            InvocationError::BadRequest(_) => "BadRequest",
            InvocationError::Stopped { .. } => "Stopped",
        }
    }
}

/// The Lambda runtime logs this, too. [`Diagnostic::from`] says the rest.
impl fmt::Debug for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error_type())
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        let error_type = error.error_type();
        let error_message = error.to_string();
        // Whoever invoked asynchronously sees the log alone.
        tracing::error!("{error_message}");
        Diagnostic { error_type: error_type.to_owned(), error_message }
    }
}
