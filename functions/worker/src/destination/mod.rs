//! The destinations, a file each; [`relay_core::destinations`] has a row for each.
//!
//! - [`runner`]: what a destination has to be able to do, and who has it do that for a batch.
//! - [`runners`]: the destinations that are on.
//! - `segment`, `vero_track`, `archive`, `webhook`: the destinations.
//! - `caller`: a call with its timeout, its quick second try and its breaker. `client` and `connections`: the same over
//!   HTTP. `context`: what the calls of an invocation have in common. `batches`: several calls side by side, and the search for a bad
//!   event in one. `public_addresses`: names that lead to private addresses.

mod archive;
mod batches;
mod caller;
mod client;
mod connections;
pub mod context;
mod public_addresses;
pub mod runner;
pub mod runners;
mod segment;
mod vero_track;
mod webhook;
