//! Everything around the two functions, played on loopback, so that tests can run the real binaries fast
//! and with faults.
//!
//! - [`Function`] runs a binary as Lambda does, behind a Runtime API of its own.
//! - [`Sqs`] stands in for SQS, for SSM parameters, for Firehose and for a log group; its clock can be put forward.
//! - [`S3`] stands in for a bucket.
//! - [`EventSource`] is the event source mapping between the two.
//! - [`Receiver`] is Segment or Vero, and misbehaves on command.
//! - [`When`] says which requests a fault meets.
//!
//! Servers run on the runtime that started them and end when they are dropped.

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
mod when;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

pub use clock::Clock;
pub use emf::{Metric, metrics};
pub use event_source::{Drained, EventSource, Invocation, kept_after};
pub use events::{UrlAnswer, sqs_event, url_event};
pub use function::{Deadline, Function, FunctionError, InitError};
pub use host::{build, cargo, variable};
pub use receiver::{Behaviour, Received, Receiver};
pub use s3::S3;
pub use sqs::{Call, Fault, Message, Queue, QueueSettings, Sqs, State};
pub use when::When;

/// The region that functions are told they run in.
pub const REGION: &str = "eu-west-1";
/// The account that queues and functions belong to.
pub const ACCOUNT: &str = "000000000000";

/// Waits until the condition holds; an error when it does not in time.
pub async fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    ensure!(tokio::time::timeout(limit, poll).await.is_ok(), "not within {limit:?}");
    Ok(())
}

/// A panic elsewhere while the lock was held is that test's failure, not ours.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
