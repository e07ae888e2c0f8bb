//! Reads the log, and sends what neither the archive nor an earlier run has.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use relay_platform::known;
use relay_platform::queue::SendError;
use serde::Serialize;

use super::candidate::Candidate;
use super::ingest_log::{IngestLog, LogError};
use super::request::RequeueRequest;
use super::unqueued::{Assembler, UnqueuedWebhook};
use crate::archive::{ArchiveObject, Line, MARKS_AT_ONCE, NextLine, Store, StoreError, loggable_key, row};
use crate::id_hash::IdHash;
use crate::progress_log::ProgressLog;
use crate::rate_limiter::RateLimiter;
use crate::sender::{MessageQueue, send_with_retries};
use crate::time_limit::{TaskOutcome, TimeLimit};

/// Bytes of envelopes that are compared with the archive together.
const MAX_CHUNK: usize = 16 * 1024 * 1024;

const PER_SECOND: u32 = 100;
const BATCH: usize = 100;

/// The names are those of the response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequeueCounts {
    /// Lines of the log that were read.
    pub scanned: u64,
    /// Envelopes in them.
    pub matched: u64,
    /// Envelopes that are in the archive.
    pub archived: u64,
    /// Envelopes that an earlier run has sent, or found in the archive.
    pub settled_before: u64,
    /// Envelopes that are on the queue now.
    pub sent: u64,
    /// Envelopes of which parts are missing.
    pub incomplete: u64,
    /// Lines and envelopes that are not of `ingest`.
    pub unreadable: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RequeueError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a webhook is not known to be on the queue: {0}")]
    Unsent(#[from] SendError),
}

/// Needs no cursor, since what was sent is marked.
///
/// # Errors
/// If the log or S3 does not give what it is asked for, or SQS does not take a webhook.
pub async fn run(
    request: &RequeueRequest,
    counts: &mut RequeueCounts,
    log: &impl IngestLog,
    store: &Store,
    queue: &impl MessageQueue,
    limit: &TimeLimit,
) -> Result<TaskOutcome, RequeueError> {
    let mut requeuer = Requeuer {
        dry_run: request.dry_run,
        counts,
        store,
        queue,
        rate_limiter: RateLimiter::new(PER_SECOND),
        limit,
        progress_log: ProgressLog::new(),
    };
    requeuer.run(request, log).await
}

/// Envelopes by their ids.
#[derive(Default)]
struct Chunk {
    envelopes: BTreeMap<String, String>,
    bytes: usize,
}

impl Chunk {
    fn add(&mut self, UnqueuedWebhook { id, envelope }: UnqueuedWebhook) {
        self.bytes += envelope.len();
        self.envelopes.insert(id, envelope);
    }
}

struct Requeuer<'r, Q> {
    dry_run: bool,
    counts: &'r mut RequeueCounts,
    store: &'r Store,
    queue: &'r Q,
    rate_limiter: RateLimiter,
    limit: &'r TimeLimit,
    progress_log: ProgressLog,
}

impl<Q: MessageQueue> Requeuer<'_, Q> {
    async fn run(
        &mut self,
        request: &RequeueRequest,
        log: &impl IngestLog,
    ) -> Result<TaskOutcome, RequeueError> {
        let (mut assembler, mut chunk, mut token) = (Assembler::default(), Chunk::default(), None);
        loop {
            let page = log.page(request.from, request.to, token).await?;
            self.counts.scanned += page.lines.len() as u64;
            page.lines.iter().filter_map(|line| assembler.add(line)).for_each(|webhook| chunk.add(webhook));
            let is_last = page.next.is_none();
            if (is_last || chunk.bytes > MAX_CHUNK)
                && self.requeue(std::mem::take(&mut chunk)).await? == TaskOutcome::TimeIsUp
            {
                return Ok(TaskOutcome::TimeIsUp);
            }
            if is_last {
                self.report(assembler);
                return Ok(TaskOutcome::Done);
            }
            if self.limit.is_over() {
                return Ok(TaskOutcome::TimeIsUp);
            }
            token = page.next;
        }
    }

    /// Counts and logs what could not be put together.
    fn report(&mut self, assembler: Assembler) {
        let (incomplete, unreadable) = assembler.end();
        self.counts.incomplete = incomplete.len() as u64;
        self.counts.unreadable += unreadable;
        for id in incomplete {
            tracing::warn!(
                id = known::id(&id),
                "parts of an unqueued webhook are missing; it is not requeued"
            );
        }
    }

    async fn requeue(&mut self, chunk: Chunk) -> Result<TaskOutcome, RequeueError> {
        let candidates = self.candidates(chunk);
        let candidates = self.unmarked(candidates).await?;
        let Some(archived) = self.archived(&candidates).await? else { return Ok(TaskOutcome::TimeIsUp) };
        let (archived, missing): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| archived.contains(&candidate.id));
        self.counts.archived += archived.len() as u64;
        if self.dry_run {
            return Ok(TaskOutcome::Done);
        }
        // Archived ones are marked as well: if their rows are forgotten, the next run must not send them.
        self.store.put_marks(archived.iter().map(|candidate| &candidate.mark)).await?;
        self.send(&missing).await
    }

    fn candidates(&mut self, chunk: Chunk) -> Vec<Candidate> {
        self.counts.matched += chunk.envelopes.len() as u64;
        let mut candidates = Vec::with_capacity(chunk.envelopes.len());
        for (id, envelope) in chunk.envelopes {
            match Candidate::parse(&envelope) {
                Some(candidate) => candidates.push(candidate),
                None => {
                    tracing::error!(
                        id = known::id(&id),
                        "an unqueued webhook is no envelope; it is not requeued"
                    );
                    self.counts.unreadable += 1;
                }
            }
        }
        candidates
    }

    /// Those that no earlier run has sent or found.
    async fn unmarked(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, RequeueError> {
        let store = self.store;
        let count = candidates.len();
        let checked = candidates.into_iter().map(|candidate| async move {
            Ok::<_, StoreError>((!store.exists(&candidate.mark).await?).then_some(candidate))
        });
        let checked: Vec<_> = stream::iter(checked).buffered(MARKS_AT_ONCE).try_collect().await?;
        let unmarked: Vec<Candidate> = checked.into_iter().flatten().collect();
        self.counts.settled_before += (count - unmarked.len()) as u64;
        Ok(unmarked)
    }

    /// Those that the archive has; `None`: there was no time to find out.
    async fn archived(&mut self, candidates: &[Candidate]) -> Result<Option<HashSet<IdHash>>, RequeueError> {
        let mut archived = HashSet::new();
        let wanted: HashSet<IdHash> = candidates.iter().map(|candidate| candidate.id).collect();
        let partitions: BTreeSet<&String> = candidates.iter().flat_map(|one| &one.partitions).collect();
        for partition in partitions {
            let mut objects = self.store.list(partition, None);
            while let Some(object) = objects.try_next().await? {
                archived.extend(self.ids_in(object, &wanted).await?);
                self.progress_log.tick("requeue", self.counts);
                if archived.len() == wanted.len() {
                    return Ok(Some(archived));
                }
                if self.limit.is_over() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(archived))
    }

    /// Those of the wanted ids that an object has.
    async fn ids_in(
        &self,
        object: ArchiveObject,
        wanted: &HashSet<IdHash>,
    ) -> Result<HashSet<IdHash>, RequeueError> {
        let mut ids = HashSet::new();
        let key = object.key().to_owned();
        let mut lines = self.store.lines(object);
        loop {
            match lines.next().await? {
                NextLine::Line(Line::Whole(line)) => {
                    let id = row(&line).and_then(|row| Some(IdHash::of(row.envelope()?.id.as_str())));
                    ids.extend(id.filter(|id| wanted.contains(id)));
                }
                NextLine::Line(Line::TooLong) => (),
                NextLine::Corrupt(error) => {
                    tracing::error!("{error}; its other rows count as not archived");
                    break;
                }
                NextLine::End => break,
            }
        }
        tracing::debug!(key = loggable_key(&key), "looked for unqueued webhooks");
        Ok(ids)
    }

    async fn send(&mut self, missing: &[Candidate]) -> Result<TaskOutcome, RequeueError> {
        for batch in missing.chunks(BATCH) {
            self.rate_limiter.turn(batch.len()).await;
            let messages = batch.iter().map(|candidate| candidate.message.clone()).collect();
            send_with_retries(self.queue, messages).await?;
            self.counts.sent += batch.len() as u64;
            self.store.put_marks(batch.iter().map(|candidate| &candidate.mark)).await?;
            self.progress_log.tick("requeue", self.counts);
            if self.limit.is_over() {
                return Ok(TaskOutcome::TimeIsUp);
            }
        }
        Ok(TaskOutcome::Done)
    }
}
