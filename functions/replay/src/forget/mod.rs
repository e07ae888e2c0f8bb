//! Forget: the archive's objects that have rows of a user are written again without those rows.
//!
//! `run` goes through the objects and finds the rows; `rewrite` writes an object again.

mod progress;
mod request;
mod rewrite;
mod run;

pub use progress::ForgetProgress;
pub use request::ForgetRequest;
pub use run::run;

#[cfg(test)]
mod tests;
