//! The built `replay`, driven as Lambda drives it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod forget;
mod logs;
mod replay;
mod requeue;
mod setup;
