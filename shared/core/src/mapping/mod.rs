//! What each destination is sent for an event. One file a destination.

pub mod endpoint;
pub mod segment;
pub mod vero_track;
