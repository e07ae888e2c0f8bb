//! A stand-in for SQS, for SSM parameters, for Firehose and for CloudWatch Logs: AWS's JSON protocol over queues in
//! memory, with a clock that can be put forward and faults on command.
//!
//! - [`client`]: the server and its queues, as tests hold them.
//! - [`model`]: the same without a server and without a clock.
//! - [`server`]: which service a request is for, and which [`fault`] it meets.
//! - [`protocol`]: SQS's operations, on [`queue`]s of [`message`]s, with [`digest`]s.
//! - [`ssm`], [`firehose`], [`logs`]: the other services, as far as they are needed.
//! - [`error`]: refusals as AWS words them.

mod client;
mod digest;
mod error;
mod fault;
mod firehose;
mod logs;
pub(crate) mod message;
mod model;
mod protocol;
mod queue;
mod server;
mod ssm;
#[cfg(feature = "tls")]
mod tls;

pub use client::{Message, MessageState, Queue, QueueSettings, Sqs};
pub use fault::Fault;
pub use model::{ApiAnswer, AwsModel, ReceivedMessage};
pub use server::ApiCall;
