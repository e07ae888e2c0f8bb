//! The functions, as they are, in a simulated world: time, order, chance and failure come from a seed.
//!
//! - [`scenario`]: what a seed draws.
//! - [`play`]: one seed from its beginning to its end, and what is said of it.
//! - [`ledger`]: the account of every event, and what must hold of it at every step.
//! - [`checks`]: what must hold at the end.
//! - [`shrink`]: less and less of a scenario that fails.
//!
//! The world:
//! - [`state`]: what all of it shares: clock, chance, services, story.
//! - [`instance`], [`lambda`]: processes, and what Lambda does with them. [`heap`]: the memory of a process.
//! - [`services`]: SQS, SSM and Firehose. [`destinations`]: Segment and Vero; [`memory`]: what they remember.
//! - [`senders`]: whoever sends.
//! - [`bucket`]: the archive. [`logs`]: what the functions write.

pub mod bucket;
pub mod checks;
pub mod destinations;
pub mod heap;
pub mod instance;
pub mod lambda;
pub mod ledger;
pub mod logs;
pub mod memory;
pub mod play;
pub mod scenario;
pub mod senders;
pub mod services;
pub mod shrink;
pub mod state;
