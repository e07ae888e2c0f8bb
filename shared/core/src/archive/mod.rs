//! The archive: every event as one row of an append-only table, and a row for each thing that became of it.
//!
//! Rows are JSON lines in S3, which Amazon Athena reads as they are (its user guide, "JSON SerDe libraries"). A column
//! is always there, null where nothing is known. What is written once may be written twice, since every way there is
//! at least once: then rows are equal, but for first-party events that their sender sent twice, which came at two times.

mod data;
mod deliveries;
mod line;
mod sequence;

pub use data::{About, Archived, row};
pub use deliveries::delivery_row;
pub use sequence::{COUNTER_BITS, sequence};
