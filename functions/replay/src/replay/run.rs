//! Reads the archive, row by row, and sends what the request asks for.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use relay_platform::queue::SendError;
use serde::Serialize;

use super::athena_result::{self, AthenaResultError};
use super::progress::{ArchiveCursor, ReplayCounts, ReplayProgress};
use super::request::{IdFilter, ReplayRequest};
use super::selection::{SelectedIds, Selection};
use crate::archive::{ArchiveObject, Line, NextLine, Store, StoreError, days, partition, row};
use crate::id_hash::IdHash;
use crate::progress_log::ProgressLog;
use crate::sender::{MessageQueue, QueueSender, message};
use crate::time_limit::{TaskOutcome, TimeLimit};

/// So many ids of a partition are remembered, so that a row that it has twice is sent once. Beyond that, rows are sent as
/// they come, with an id that destinations recognise.
const MAX_SEEN: usize = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an event is not known to be on the queue: {0}")]
    Unsent(#[from] SendError),
    #[error(transparent)]
    AthenaResult(#[from] AthenaResultError),
}

/// Goes on from where `progress` is. Afterwards, and after an error, `progress` is where to go on: everything before is on
/// the queue.
///
/// # Errors
/// If S3 does not list or read, SQS does not take an event, or the result of Athena is invalid.
pub async fn run<Q: MessageQueue>(
    request: &ReplayRequest,
    progress: &mut ReplayProgress,
    store: &Store,
    queue: &Q,
    limit: &TimeLimit,
) -> Result<TaskOutcome, ReplayError> {
    let ids = selected_ids(request, store).await?;
    let mut replayer = Replayer {
        request,
        selection: Selection::new(request, ids),
        store,
        sender: QueueSender::new(queue, request.max_per_second),
        seen: HashSet::new(),
        cursor: progress.cursor.clone(),
        counts: progress.counts.clone(),
        progress,
        limit,
        progress_log: ProgressLog::new(),
    };
    let outcome = replayer.run().await?;
    replayer.flush().await?;
    if outcome == TaskOutcome::TimeIsUp {
        replayer.sender.rest().await;
    }
    Ok(outcome)
}

/// `None`: the request names no ids, and all are wanted.
async fn selected_ids(request: &ReplayRequest, store: &Store) -> Result<Option<SelectedIds>, ReplayError> {
    match &request.ids {
        IdFilter::All => Ok(None),
        IdFilter::These(ids) => {
            let mut selected = SelectedIds::default();
            ids.iter().for_each(|id| selected.add(id, request.destinations.all()));
            Ok(Some(selected))
        }
        IdFilter::AthenaResult(key) => {
            let lines = store.lines(store.object(key).await?);
            Ok(Some(athena_result::read_ids(lines, &request.destinations).await?))
        }
    }
}

/// Counts as a log may have them, made only when they are written.
struct Redacted<'c>(&'c ReplayCounts);

impl Serialize for Redacted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.redacted().serialize(serializer)
    }
}

struct Replayer<'r, Q> {
    request: &'r ReplayRequest,
    selection: Selection<'r>,
    store: &'r Store,
    sender: QueueSender<'r, Q>,
    seen: HashSet<IdHash>,
    /// Where the run is, and what it has found. Some of it may wait to be sent.
    cursor: Option<ArchiveCursor>,
    counts: ReplayCounts,
    /// The same, as far as everything is sent.
    progress: &'r mut ReplayProgress,
    limit: &'r TimeLimit,
    progress_log: ProgressLog,
}

impl<Q: MessageQueue> Replayer<'_, Q> {
    async fn run(&mut self) -> Result<TaskOutcome, ReplayError> {
        for day in days(self.request.from, self.request.to) {
            for source in &self.request.sources {
                let prefix = partition(&day, *source);
                if self.cursor.as_ref().is_some_and(|cursor| cursor.is_beyond_prefix(&prefix)) {
                    continue;
                }
                self.seen.clear();
                let mut objects = self.store.list(&prefix, None);
                while let Some(object) = objects.try_next().await? {
                    if self.cursor.as_ref().is_some_and(|cursor| cursor.is_beyond(&object)) {
                        continue;
                    }
                    if self.replay_object(&object).await? == TaskOutcome::TimeIsUp {
                        return Ok(TaskOutcome::TimeIsUp);
                    }
                }
            }
        }
        Ok(TaskOutcome::Done)
    }

    async fn replay_object(&mut self, object: &ArchiveObject) -> Result<TaskOutcome, ReplayError> {
        let done = self.cursor.as_ref().map_or(0, |cursor| cursor.lines_done(object));
        let mut lines = self.store.lines(object.clone());
        let mut read = 0;
        loop {
            let line = match lines.next().await? {
                NextLine::Line(line) => line,
                NextLine::Corrupt(error) => {
                    tracing::error!("{error}; the rest of the object is skipped");
                    self.counts.unreadable += 1;
                    return Ok(TaskOutcome::Done);
                }
                NextLine::End => return Ok(TaskOutcome::Done),
            };
            read += 1;
            if read <= done {
                continue;
            }
            self.replay_line(&line);
            let etag = object.etag().map(str::to_owned);
            self.cursor = Some(ArchiveCursor { object: object.key().to_owned(), etag, lines: read });
            if self.sender.is_full() {
                self.flush().await?;
            }
            self.progress_log.tick("replay", &Redacted(&self.counts));
            // Only here, after a line, so that each invocation gets further than the one before.
            if self.limit.is_over() {
                return Ok(TaskOutcome::TimeIsUp);
            }
        }
    }

    fn replay_line(&mut self, line: &Line) {
        self.counts.scanned += 1;
        let row = match line {
            Line::Whole(line) => row(line),
            Line::TooLong => None,
        };
        let Some((row, mut envelope)) = row.as_ref().and_then(|row| Some((row, row.envelope()?))) else {
            self.counts.unreadable += 1;
            return;
        };
        let destinations = self.selection.destinations(row, &envelope);
        if destinations.is_empty() || self.is_seen(IdHash::of_event(&envelope)) {
            return;
        }
        self.counts.count_match(row.kind.as_deref());
        if self.request.dry_run {
            return;
        }
        envelope.destinations = Some(self.request.destinations.names(destinations));
        if self.request.new_ids {
            envelope.id = self.progress.run.new_id(&envelope);
        }
        self.sender.add(message(&envelope));
    }

    fn is_seen(&mut self, id: IdHash) -> bool {
        match self.seen.len() < MAX_SEEN {
            true => !self.seen.insert(id),
            false => self.seen.contains(&id),
        }
    }

    async fn flush(&mut self) -> Result<(), ReplayError> {
        self.counts.sent += self.sender.flush().await? as u64;
        self.progress.cursor = self.cursor.clone();
        self.progress.counts = self.counts.clone();
        Ok(())
    }
}
