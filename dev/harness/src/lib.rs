//! Everything around the functions, played on loopback, so that tests can run the real binaries fast and with faults.
//!
//! Stand-ins:
//! - `sqs`: [`Sqs`] for SQS, SSM's parameters, Firehose and a log group; its clock can be put forward.
//! - `s3`: [`S3`] for a bucket.
//! - `receiver`: [`Receiver`] for Segment or Vero; it misbehaves on command.
//! - `when`: [`When`] says which requests a fault meets.
//! - `http`: the server under all of them, which can break connections.
//!
//! Lambda:
//! - `function`: [`Function`] runs a binary as Lambda does, behind a Runtime API of its own (`runtime_api`).
//! - `event_source`: [`EventSource`] hands a queue's messages to a function.
//! - `events`: the events that functions get, and what a Function URL makes of a response.
//! - `emf`: the metrics that CloudWatch makes of log lines.
//!
//! Both together:
//! - `testbed`: [`Testbed`] has what our functions need, with the variables that name it. A test starts here.
//!
//! Below these: `host` (this machine's Cargo and environment), `aws`, `clock` and `sync`.
//!
//! Servers run on the runtime that started them and end when they are dropped.

mod aws;
mod clock;
mod emf;
mod event_source;
mod events;
mod function;
mod host;
mod http;
mod receiver;
mod runtime_api;
mod s3;
mod sqs;
mod sync;
mod testbed;
mod when;

pub use aws::{ACCOUNT, REGION};
pub use clock::Clock;
pub use emf::{Metric, metrics};
pub use event_source::{Drained, EventSource, Invocation, kept_after};
pub use events::{UrlAnswer, sqs_event, url_event};
pub use function::{Deadline, Function, FunctionError, InitError};
pub use host::{build, cargo, variable};
pub use receiver::{Behaviour, ReceivedRequest, Receiver};
pub use s3::{BucketModel, S3};
pub use sqs::{
    ApiAnswer, ApiCall, AwsModel, Fault, Message, MessageState, Queue, QueueSettings, ReceivedMessage, Sqs,
};
pub use sync::eventually;
pub use testbed::{
    ARCHIVE_STREAM, BROWSER_KEY, CANARY, DELIVERIES_STREAM, ENDPOINT_SECRET, SEGMENT_TOKEN,
    SEGMENT_WRITE_KEY, Testbed, VERO_AUTH_TOKEN, WEBHOOK_TOKEN, WRITE_KEY, basic, digest,
};
pub use when::When;
