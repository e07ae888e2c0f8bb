//! The proof of the product's promise: once ingest has answered 202, an event reaches every destination once, or
//! waits in the dead-letter queue with its reason, whatever fails on the way.
//!
//! The functions' real binaries run on the harness, whose queues have a clock that can be put forward; what each
//! destination took is then held against what was sent ([`account`]). One file a proof, one table each.
//!
//! - What they run: [`rig`] and [`ingest`], of the binaries in [`programs`]. What they print: [`report`].

pub mod account;
pub mod answers;
pub mod burst;
pub mod ingest;
pub mod kills;
pub mod matrix;
pub mod neighbour;
pub mod programs;
pub mod report;
pub mod rig;
