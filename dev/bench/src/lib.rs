//! What more than one of this package's programs needs.

pub mod workload;
