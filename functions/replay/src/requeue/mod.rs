//! Requeue: webhooks that SQS did not take, and that only the log of `ingest` has, go on the queue.
//!
//! `ingest_log` gives the lines, from `cloudwatch`; `unqueued` puts their parts together; `run` sends the webhooks
//! that the archive lacks.
//!
//! What is in the archive has been on the queue. A webhook that is not may still be on its way there. So that the next
//! run does not send it again, an empty object under `requeued/` marks what was sent or found. Forget marks the rows that
//! it deletes.

mod candidate;
mod cloudwatch;
mod ingest_log;
mod request;
mod run;
mod unqueued;

pub use cloudwatch::LogGroup;
pub use request::RequeueRequest;
pub use run::{RequeueCounts, RequeueError, run};

#[cfg(test)]
mod tests;
