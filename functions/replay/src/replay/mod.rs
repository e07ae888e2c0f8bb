//! Replay: events of the archive go on the queue again, for the destinations that are named.

mod progress;
mod request;
mod selection;

use std::collections::HashSet;

use futures_util::TryStreamExt;
use relay_core::archive::Archived;
use relay_platform::queue::SendError;
use serde::{Deserialize, Serialize};

pub use progress::{Cursor, ReplayCounts, ReplayId, days};
pub use request::{Destinations, EXAMPLE, Ids, ReplayRequest};
pub use selection::IdHash;

use crate::lines::Line;
use crate::progress_log::ProgressLog;
use crate::sender::{MessageQueue, Sender, message};
use crate::store::{NextLine, Object, Store, StoreError, shown};
use crate::time_limit::TimeLimit;
use selection::{Columns, SelectedIds, Selection, csv_fields, is_whole_record};

/// The most ids that a result of Athena's may have: as hashes they are kept in memory.
const MAX_WANTED: usize = 1_000_000;

/// The most ids that are remembered of a partition, so that a row that it has twice is sent once. Beyond that, rows are
/// sent as they come: destinations know the id.
const MAX_SEEN: usize = 1_000_000;

/// Where the archive's rows are, by day of receipt and source.
pub fn partition(day: &str, source: relay_core::envelope::Source) -> String {
    format!("data/day={day}/source={}/", source.as_str())
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayProgress {
    /// Which replay it is.
    pub run: ReplayId,
    /// Everything before it is on the queue; `None`: nothing is.
    pub cursor: Option<Cursor>,
    /// What was found.
    #[serde(default)]
    pub counts: ReplayCounts,
}

impl ReplayProgress {
    /// At the beginning.
    pub fn new() -> Self {
        ReplayProgress { run: ReplayId::new(), cursor: None, counts: ReplayCounts::default() }
    }

    /// Whether an earlier invocation may have said so: whoever invokes brings it, and it is logged.
    pub fn is_ours(&self) -> bool {
        self.cursor.as_ref().is_none_or(Cursor::is_ours) && self.counts.are_ours()
    }

    /// The same for a log.
    pub fn shown(&self) -> Self {
        let shown = |cursor: &Cursor| Cursor { object: shown(&cursor.object).to_owned(), ..cursor.clone() };
        ReplayProgress {
            cursor: self.cursor.as_ref().map(shown),
            counts: self.counts.shown(),
            ..self.clone()
        }
    }
}

/// How a job ended, for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutcome {
    /// All is done.
    Done,
    /// It goes on in another invocation.
    TimeIsUp,
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// By S3.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// By SQS.
    #[error("an event is not known to be on the queue: {0}")]
    Unsent(#[from] SendError),
    /// By what `result` names.
    #[error("the result {0}")]
    Result(&'static str),
}

/// Reads on from where `progress` is, and sends what the request asks for. Afterwards, and after an error, `progress`
/// is where to go on: everything before is on the queue.
///
/// # Errors
/// If S3 or SQS do not do what they are asked.
pub async fn run<O: MessageQueue>(
    request: &ReplayRequest,
    progress: &mut ReplayProgress,
    store: &Store,
    queue: &O,
    limit: &TimeLimit,
) -> Result<TaskOutcome, ReplayError> {
    let ids = wanted(request, store).await?;
    let mut replayer = Replayer {
        request,
        selection: Selection::new(request, ids),
        store,
        sender: Sender::new(queue, request.max_per_second),
        seen: HashSet::new(),
        at: progress.cursor.clone(),
        counts: progress.counts.clone(),
        progress,
        limit,
        reporter: ProgressLog::new(),
    };
    let ended = replayer.all().await?;
    replayer.flush().await?;
    if ended == TaskOutcome::TimeIsUp {
        replayer.sender.rest().await;
    }
    Ok(ended)
}

/// Counts for a log, made when they are written.
struct Shown<'c>(&'c ReplayCounts);

impl Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.shown().serialize(serializer)
    }
}

struct Replayer<'r, O> {
    request: &'r ReplayRequest,
    selection: Selection<'r>,
    store: &'r Store,
    sender: Sender<'r, O>,
    seen: HashSet<IdHash>,
    /// Where it is, and what it has found; some of it may wait to be sent.
    at: Option<Cursor>,
    counts: ReplayCounts,
    /// The same, as far as all is sent.
    progress: &'r mut ReplayProgress,
    limit: &'r TimeLimit,
    reporter: ProgressLog,
}

impl<O: MessageQueue> Replayer<'_, O> {
    async fn all(&mut self) -> Result<TaskOutcome, ReplayError> {
        for day in days(self.request.from, self.request.to) {
            for source in &self.request.sources {
                let prefix = partition(&day, *source);
                if self.at.as_ref().is_some_and(|at| at.is_beyond_prefix(&prefix)) {
                    continue;
                }
                self.seen.clear();
                let mut objects = self.store.list(&prefix, None);
                while let Some(object) = objects.try_next().await? {
                    if self.at.as_ref().is_some_and(|at| at.is_beyond(&object)) {
                        continue;
                    }
                    if self.object(&object).await? == TaskOutcome::TimeIsUp {
                        return Ok(TaskOutcome::TimeIsUp);
                    }
                }
            }
        }
        Ok(TaskOutcome::Done)
    }

    async fn object(&mut self, object: &Object) -> Result<TaskOutcome, ReplayError> {
        let done = self.at.as_ref().map_or(0, |at| at.lines_of(object));
        let mut lines = self.store.lines(object.clone());
        let mut read = 0;
        loop {
            let line = match lines.next().await? {
                NextLine::Line(line) => line,
                NextLine::Corrupt(error) => {
                    tracing::error!("{error}; its rest is left out");
                    self.counts.unreadable += 1;
                    return Ok(TaskOutcome::Done);
                }
                NextLine::End => return Ok(TaskOutcome::Done),
            };
            read += 1;
            if read <= done {
                continue;
            }
            self.line(&line);
            let etag = object.etag().map(str::to_owned);
            self.at = Some(Cursor { object: object.key().to_owned(), etag, lines: read });
            if self.sender.is_full() {
                self.flush().await?;
            }
            self.reporter.tick("replay", &Shown(&self.counts));
            // Only here, after a line: whoever goes on must come further than this.
            if self.limit.is_over() {
                return Ok(TaskOutcome::TimeIsUp);
            }
        }
    }

    fn line(&mut self, line: &Line) {
        self.counts.scanned += 1;
        let text = match line {
            Line::Whole(line) => std::str::from_utf8(line).ok(),
            Line::TooLong => None,
        };
        let row = text.and_then(Archived::parse);
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
        envelope.destinations = Some(destinations.names());
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
        self.progress.cursor = self.at.clone();
        self.progress.counts = self.counts.clone();
        Ok(())
    }
}

/// The ids that a request names.
async fn wanted(request: &ReplayRequest, store: &Store) -> Result<Option<SelectedIds>, ReplayError> {
    let mut wanted = SelectedIds::default();
    match &request.ids {
        Ids::All => return Ok(None),
        Ids::These(ids) => ids.iter().for_each(|id| wanted.add(id, request.destinations)),
        Ids::Result(key) => {
            let mut lines = store.lines(store.object(key).await?);
            let (mut record, mut columns) = (String::new(), None);
            loop {
                match lines.next().await? {
                    NextLine::Line(Line::Whole(line)) => record.push_str(&String::from_utf8_lossy(&line)),
                    NextLine::Line(Line::TooLong) => {
                        return Err(ReplayError::Result("has a line over 1 MiB"));
                    }
                    NextLine::Corrupt(error) => return Err(error.into()),
                    NextLine::End if columns.is_none() || !record.is_empty() => {
                        return Err(ReplayError::Result("is none of Athena's: it has no end, or no head"));
                    }
                    NextLine::End => break,
                }
                if !is_whole_record(&record) {
                    if record.len() > crate::lines::MAX_LINE {
                        return Err(ReplayError::Result("has a record over 1 MiB"));
                    }
                    record.push('\n');
                    continue;
                }
                let fields = csv_fields(&std::mem::take(&mut record));
                match columns {
                    None => {
                        let head = Columns::of(&fields);
                        columns =
                            Some(head.ok_or(ReplayError::Result("lacks the columns id and destination"))?);
                    }
                    Some(columns) => {
                        if let Some((id, destination)) = columns.read(&fields) {
                            wanted.add(id, Destinations::of([destination]));
                        }
                    }
                }
                if wanted.len() > MAX_WANTED {
                    return Err(ReplayError::Result("has more than 1,000,000 ids: ask for less at once"));
                }
            }
        }
    }
    Ok(Some(wanted))
}

#[cfg(test)]
mod tests;
