//! What each destination is told of a webhook. One file a destination.

pub mod segment;
pub mod vero_track;
