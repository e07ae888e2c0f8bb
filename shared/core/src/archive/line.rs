//! What rows of both tables have in common.

use crate::json::ObjectWriter;

/// Adds a text column, or null.
pub(super) fn column(row: &mut ObjectWriter, name: &'static str, value: Option<&str>) {
    match value {
        Some(text) => row.text(name, text),
        None => row.raw(name, "null"),
    }
}

/// A row's line: it ends where the next one begins.
pub(super) fn line(row: ObjectWriter) -> String {
    let mut line = row.finish();
    line.push('\n');
    line
}
