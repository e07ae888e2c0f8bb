//! `relay`: one command for whoever operates a stack of vero-relay.
//!
//! # Layout
//! - [`options`] is the command line, `console` the terminal, [`error`] what can go wrong.
//! - [`cloud`] asks AWS: a file for each of its services. Nothing else here makes a call.
//! - `inspector::model` is what was found, without I/O: a stack's state, its figures, dead letters, log lines, an event's story.
//! - [`findings`] judges a stack's state: one table, whose rows are pure functions.
//! - `commands`: a file for each command, which asks `cloud`, and shows what `model` and `findings` say.

pub mod cloud;
mod commands;
mod console;
pub mod error;
pub mod findings;
pub mod options;

pub use commands::run;
use inspector::model;
