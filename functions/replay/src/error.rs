//! Why an invocation failed, and what to do about it.

use std::fmt;

use lambda_runtime::Diagnostic;
use relay_platform::queue::SendError;

use crate::fields::BadRequest;
use crate::invocation::Invocation;
use crate::replay::ReplayError;
use crate::requeue::RequeueError;
use crate::store::StoreError;

/// What stopped a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A replay.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What only the log has could not be queued.
    #[error(transparent)]
    Requeue(#[from] RequeueError),
    /// The forgetting.
    #[error(transparent)]
    Forget(#[from] StoreError),
    /// Time was up, and it could not be handed over.
    #[error("time is up, and this function's own queue did not take what goes on: {0}")]
    NotHandedOver(SendError),
    /// Not even the whole time of an invocation is enough.
    #[error(
        "one invocation is not enough to look through the archive's days, or through what is marked as sent"
    )]
    TooMuch,
}

/// Why an invocation failed.
#[derive(thiserror::Error)]
pub enum InvocationError {
    /// The event cannot be meant.
    #[error("the event cannot be used: {0}")]
    Event(#[from] BadRequest),
    /// A task stopped before its end.
    #[error("{cause}. {go_on}")]
    Stopped {
        /// Why.
        cause: TaskError,
        /// How to go on.
        go_on: String,
    },
}

impl InvocationError {
    fn error_type(&self) -> &'static str {
        match self {
            InvocationError::Event(_) => "BadRequest",
            InvocationError::Stopped { .. } => "Stopped",
        }
    }

    /// A task that stopped, and where it goes on: without the request, which may hold addresses.
    pub fn stopped(cause: TaskError, invocation: &Invocation) -> Self {
        let go_on = match (&cause, invocation.task.shown_progress()) {
            (TaskError::TooMuch, _) => "Ask for a shorter range with from and to".to_owned(),
            (_, Some(progress)) => {
                format!(
                    "What was done before is done; to go on from there, invoke it with \
                     {{\"request\":<the same event>,\"progress\":{progress}}}"
                )
            }
            (_, None) => "What was sent is marked; to go on, invoke it with the same event".to_owned(),
        };
        InvocationError::Stopped { cause, go_on }
    }
}

/// The Lambda runtime logs this, too; [`Diagnostic::from`] says the rest.
impl fmt::Debug for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error_type())
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(failure: InvocationError) -> Self {
        let error_type = failure.error_type();
        let error_message = failure.to_string();
        // Whoever invoked asynchronously sees nothing but the log.
        tracing::error!("{error_message}");
        Diagnostic { error_type: error_type.to_owned(), error_message }
    }
}
