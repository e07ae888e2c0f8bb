//! A first-party event in Segment's spec, read once: `ingest` tells a valid one from an invalid one, and `worker` maps it
//! for Vero.
//!
//! - `call`: what an event asks for. `read`: from an event's JSON to what it says.

mod call;
mod read;

pub use call::{Call, CallType, Device, Integration, Platform, RESUBSCRIBE, Surface, UNSUBSCRIBE};
pub use read::{FirstParty, Invalid, message_id};
