//! What a requeue needs of the log of `ingest`.

use relay_core::timestamp::Timestamp;

#[derive(Debug, Default)]
pub struct LogPage {
    pub lines: Vec<String>,
    /// Asks for the next page; `None`: this is the last.
    pub next: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("CloudWatch Logs did not hand out the log group: {0}")]
pub struct LogError(pub String);

pub trait IngestLog {
    /// The lines of a range of time that hold an unqueued webhook, and perhaps others.
    fn page(
        &self,
        from: Timestamp,
        to: Timestamp,
        token: Option<String>,
    ) -> impl Future<Output = Result<LogPage, LogError>>;
}
