//! What more than one function needs of its surroundings: the process, Lambda and AWS. Everything that decides is in
//! `relay_core`.
//!
//! - [`start`]: how a function starts and ends. [`environment`], [`secret`]: its settings, from variables and from SSM.
//! - [`log`], [`metrics`], [`trace`]: what it reports. [`known`]: which words of others may stand in a log.
//! - [`world`]: the one place that time, chance and the network come from.
//! - [`aws`]: the clients of AWS, over an HTTP connector of our own and [`tls`]. [`queue`]: SQS, as far as it is sent
//!   to. [`firehose`]: delivery streams.

#![warn(missing_docs)]

pub mod aws;
pub mod environment;
pub mod firehose;
pub mod http;
pub mod known;
pub mod log;
pub mod metrics;
pub mod queue;
pub mod secret;
mod ssm;
pub mod start;
pub mod tls;
pub mod trace;
pub mod world;
