//! Refusals in the shape of AWS's.

use serde_json::{Value, json};

/// A refusal. `name` is the last part of `__type`; `code` is what the older query protocol called it, which
/// SQS still gives in a header and in the entries of a batch.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(name: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, name, code, message: message.into() }
    }

    pub(super) fn no_queue() -> Self {
        let code = "AWS.SimpleQueueService.NonExistentQueue";
        Self::new("QueueDoesNotExist", code, "The specified queue does not exist.")
    }

    pub(super) fn bad_receipt() -> Self {
        let code = "ReceiptHandleIsInvalid";
        Self::new(code, code, "The input receipt handle is invalid.")
    }

    pub(super) fn not_in_flight() -> Self {
        let code = "AWS.SimpleQueueService.MessageNotInflight";
        Self::new("MessageNotInflight", code, "The message referred to is not in flight.")
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValueException", "InvalidParameterValue", message)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        let message = format!("The request must contain the parameter {parameter}.");
        Self::new("MissingRequiredParameterException", "MissingParameter", message)
    }

    pub(super) fn unsigned() -> Self {
        let code = "IncompleteSignature";
        Self { status: 403, name: code, code, message: "The request is not signed for this service.".into() }
    }

    pub(super) fn unavailable(status: u16) -> Self {
        let (name, code) = match status {
            503 => ("ServiceUnavailable", "ServiceUnavailable"),
            _ => ("InternalError", "InternalFailure"),
        };
        Self { status, name, code, message: "We encountered an internal error. Please try again.".into() }
    }

    pub(super) fn body(&self, namespace: &str) -> Value {
        json!({"__type": format!("{namespace}#{}", self.name), "message": self.message})
    }

    /// For the header `x-amzn-query-error`.
    pub(super) fn query_error(&self) -> String {
        format!("{};{}", self.code, if self.status < 500 { "Sender" } else { "Receiver" })
    }
}
