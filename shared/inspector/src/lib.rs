//! What became of an event, and the page that shows it.
//!
//! - [`model`]: what `relay` and the page show and judge, without I/O: a stack's state, its figures, dead letters, log
//!   lines, and the story of an event.
//! - [`links`]: which field of what came a field of what is sent is made of.
//! - [`feed`]: the events that the page shows, within a bound of memory.
//! - [`backend`]: what the page asks of the stack behind it: that of `cargo local`, or a deployed one.
//! - [`server`]: the page's address, and who may ask there; `page` is its HTML.
#![warn(missing_docs)]

pub mod backend;
pub mod feed;
pub mod links;
pub mod model;
mod page;
pub mod server;
