//! The stand-ins themselves, spoken to by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod function;
mod raw;
mod receiver;
mod sqs;
#[cfg(feature = "tls")]
mod tls;
