//! Goes through the archive's objects, and has those written again that hold rows of the user.

use futures_util::TryStreamExt;
use object_store::path::Path;

use super::progress::ForgetProgress;
use super::request::ForgetRequest;
use super::rewrite::rewrite;
use crate::archive::{ArchiveObject, DATA, Line, NextLine, Store, StoreError, loggable_key, mark, row};
use crate::progress_log::ProgressLog;
use crate::time_limit::{TaskOutcome, TimeLimit};

/// Goes on from where `progress` is. Afterwards, and after an error, `progress` is where to go on.
///
/// # Errors
/// If S3 does not list, read or write an object.
pub async fn run(
    request: &ForgetRequest,
    progress: &mut ForgetProgress,
    store: &Store,
    limit: &TimeLimit,
) -> Result<TaskOutcome, StoreError> {
    let mut progress_log = ProgressLog::new();
    let mut objects = store.list(DATA, progress.after.as_deref());
    while let Some(object) = objects.try_next().await? {
        let found = scan(request, store, &object).await?;
        let counts = &mut progress.counts;
        counts.objects += 1;
        counts.unreadable += found.unreadable;
        if !found.is_whole {
            counts.left += 1;
        } else if found.rows > 0 {
            if !request.dry_run {
                // If the log still has them, a run of requeue that no longer finds their rows must not send them.
                store.put_marks(&found.marks).await?;
                rewrite(request, store, &object, found.is_gzip).await?;
                counts.rewritten += 1;
            }
            counts.matched += 1;
            counts.rows += found.rows;
        }
        progress.after = Some(object.key().to_owned());
        progress_log.tick("forget", &progress.counts);
        if limit.is_over() {
            return Ok(TaskOutcome::TimeIsUp);
        }
    }
    Ok(TaskOutcome::Done)
}

/// What an object holds.
#[derive(Debug, Default)]
struct Scan {
    /// Rows of the user.
    rows: u64,
    /// The marks of those rows as webhooks of the log.
    marks: Vec<Path>,
    unreadable: u64,
    is_gzip: bool,
    /// It can be read to its end, and has no line that is too long.
    is_whole: bool,
}

async fn scan(request: &ForgetRequest, store: &Store, object: &ArchiveObject) -> Result<Scan, StoreError> {
    let mut scan = Scan { is_whole: true, ..Scan::default() };
    let mut lines = store.lines(object.clone());
    loop {
        match lines.next().await? {
            NextLine::Line(Line::Whole(line)) => match row(&line) {
                Some(row) if request.is_of_user(&row) => {
                    scan.rows += 1;
                    scan.marks.extend(row.envelope().map(|envelope| mark(&envelope.id)));
                }
                Some(_) => (),
                None => scan.unreadable += 1,
            },
            NextLine::Line(Line::TooLong) => {
                tracing::error!(
                    object = loggable_key(object.key()),
                    "a line is over 1 MiB; the object stays as it is"
                );
                scan.is_whole = false;
            }
            NextLine::Corrupt(error) => {
                tracing::error!("{error}; the object stays as it is");
                scan.is_whole = false;
            }
            NextLine::End => break,
        }
    }
    scan.is_gzip = lines.is_gzip();
    Ok(scan)
}
