//! The built `worker`, driven as Lambda drives it, against destinations that misbehave on command.
//!
//! - [`delivery`]: what both destinations get of webhooks, and what their answers lead to; [`answers`]: refusals in the
//!   body of a 200.
//! - [`first_party`]: events of SDKs and of Segment. [`archive`]: the archive and the delivery log.
//! - [`webhook`]: endpoints of the customer's own.
//! - [`settlement`]: what goes back to the queue, and what is a dead letter. [`connections`]: connections that were kept.
//! - [`operation`]: keys, metrics and the log.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "how long a binary takes is real time")]

mod answers;
mod archive;
mod connections;
mod delivery;
mod first_party;
mod operation;
mod settlement;
mod setup;
mod webhook;
