//! What both functions need of their surroundings. Everything that touches the process or AWS on behalf of more
//! than one function is here; everything that decides is in `relay_core`.

#![warn(missing_docs)]

pub mod aws;
pub mod environment;
pub mod firehose;
mod http;
pub mod known;
pub mod log;
pub mod metrics;
pub mod queue;
pub mod secret;
mod ssm;
pub mod start;
pub mod tls;
pub mod trace;
