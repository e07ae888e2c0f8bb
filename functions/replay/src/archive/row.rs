//! A line as a row of the archive.

use relay_core::archive::Archived;

/// `None`: the line is no row of the archive.
pub fn row(line: &[u8]) -> Option<Archived<'_>> {
    std::str::from_utf8(line).ok().and_then(Archived::parse)
}
