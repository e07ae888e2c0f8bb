//! The ids and destinations in a result of Athena: a CSV in the archive's bucket.
//!
//! It is read line by line, within a bound of memory, as it comes from S3 and is unpacked. The crate `csv` reads from a
//! blocking source, and would still have to be handed whole records.

use super::parts::{NameSet, Names};
use super::selection::SelectedIds;
use crate::archive::{Line, MAX_LINE, NextLine, ObjectLines, StoreError};

/// Ids are kept in memory, as hashes.
const MAX_IDS: usize = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum AthenaResultError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the result {0}")]
    Invalid(&'static str),
}

/// # Errors
/// If S3 does not give the object, or it is no CSV with an id and a destination.
pub async fn read_ids(mut lines: ObjectLines, names: &Names) -> Result<SelectedIds, AthenaResultError> {
    use AthenaResultError::Invalid;
    let mut ids = SelectedIds::default();
    let (mut record, mut columns) = (String::new(), None);
    loop {
        match lines.next().await? {
            NextLine::Line(Line::Whole(line)) => record.push_str(&String::from_utf8_lossy(&line)),
            NextLine::Line(Line::TooLong) => return Err(Invalid("has a line over 1 MiB")),
            NextLine::Corrupt(error) => return Err(error.into()),
            NextLine::End if columns.is_none() || !record.is_empty() => {
                return Err(Invalid(
                    "is no whole CSV of Athena: it has no header, or its last record has no end",
                ));
            }
            NextLine::End => return Ok(ids),
        }
        if !is_whole_record(&record) {
            if record.len() > MAX_LINE {
                return Err(Invalid("has a record over 1 MiB"));
            }
            record.push('\n');
            continue;
        }
        let fields = csv_fields(&std::mem::take(&mut record));
        let Some(columns) = columns else {
            let header = Columns::of(&fields);
            columns = Some(header.ok_or(Invalid("lacks the columns id and destination"))?);
            continue;
        };
        if let Some((id, name)) = columns.read(&fields, names) {
            ids.add(id, name);
        }
        if ids.len() > MAX_IDS {
            return Err(Invalid("has more than 1,000,000 ids: ask for less at once"));
        }
    }
}

/// Where the columns are that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    id: usize,
    destination: usize,
}

impl Columns {
    /// From the header. `None`: it lacks one of them.
    fn of(header: &[String]) -> Option<Self> {
        let index = |name| header.iter().position(|column| column == name);
        Some(Columns { id: index("id")?, destination: index("destination")? })
    }

    /// A record's id and destination. `None`: it lacks one of them, or this replay does not go to the destination.
    fn read<'r>(&self, record: &'r [String], names: &Names) -> Option<(&'r str, NameSet)> {
        let id = record.get(self.id).filter(|id| !id.is_empty())?;
        let name = names.named(record.get(self.destination)?);
        (!name.is_empty()).then_some((id, name))
    }
}

/// The fields of a record of CSV as Athena writes it (its user guide, "Work with query results"): each in quotes, a quote
/// inside is doubled; null is nothing at all.
fn csv_fields(record: &str) -> Vec<String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = record.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    fields
}

/// Whether a text is a whole record, and not only the part before a line break inside quotes.
fn is_whole_record(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'"').count() % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::parts::replayable;

    #[test]
    fn athena_s_csv() {
        let head = csv_fields(r#""id","received_at","source","type","destination","last_reason""#);
        let columns = Columns::of(&head).unwrap();
        let record = csv_fields("\"e1\",\"2026\",\"vero\",\"a \"\"b\"\",\nc\",\"segment\",");
        assert_eq!(record[3], "a \"b\",\nc");
        assert_eq!((record.len(), record[5].as_str()), (6, ""));
        let names = Names::parse(&["segment".to_owned()], &replayable(&[])).unwrap();
        assert_eq!(columns.read(&record, &names), Some(("e1", names.all())));
        for record in ["", "\"\",,,,\"segment\"", "\"e1\",,,,\"archive\"", "\"e1\""] {
            assert_eq!(columns.read(&csv_fields(record), &names), None, "{record}");
        }
        assert!(Columns::of(&csv_fields("\"id\",\"type\"")).is_none());
        assert!(is_whole_record("\"a\",\"b\"\"c\"") && !is_whole_record("\"a\",\"b"));
    }
}
