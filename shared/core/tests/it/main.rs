//! The core as a whole.
//!
//! - [`samples`]: every event of `events/`, as each destination is sent it: reviewed snapshots.
//! - [`properties`]: what holds for any input.
//! - [`rules`]: what rules change of any webhook. [`addresses`]: where they hide addresses.
//!   [`endpoints`]: what a webhook endpoint gets, and by which rules.
//! - [`delivery`]: nothing is lost and nothing is sent twice, whatever the destinations answer.

mod addresses;
mod delivery;
mod endpoints;
mod properties;
mod rules;
mod samples;
