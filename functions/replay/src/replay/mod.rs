//! Replay: events of the archive go on the queue again, for the destinations that are named.
//!
//! `request` says which events. `run` reads the archive row by row, asks `selection` where each event is to go, and
//! sends it; `progress` is how far that has come. If the ids are in a result of Athena, `athena_result` reads them.

mod athena_result;
mod parts;
mod progress;
mod request;
mod run;
mod selection;

pub use progress::ReplayProgress;
pub use request::{EXAMPLE, ReplayRequest};
pub use run::{ReplayError, run};

#[cfg(test)]
mod tests;
