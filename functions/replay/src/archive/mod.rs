//! The archive's bucket: its keys, a client for S3, and its objects, line by line.

mod error;
mod keys;
mod line_splitter;
mod object_lines;
mod row;
mod s3;
mod store;

pub use error::StoreError;
pub use keys::{DATA, days, loggable_key, mark, partition};
pub use line_splitter::{Line, MAX_LINE};
pub use object_lines::{NextLine, ObjectLines};
pub use row::row;
pub use s3::S3ClientError;
pub use store::{ArchiveObject, MARKS_AT_ONCE, Store};

#[cfg(test)]
pub use line_splitter::gzip;
