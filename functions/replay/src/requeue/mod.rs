//! Requeue: webhooks that SQS did not take, and that only the log has, go on the queue.
//!
//! What is in the archive got there by the queue. What is not may be on its way to it still; so that the next run does not
//! send that again, what has been sent, or found, is marked by an empty object under `requeued/`.

mod cloudwatch;
mod log_lines;
mod request;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use relay_core::archive::Archived;
use relay_core::envelope::Envelope;
use relay_core::timestamp::Timestamp;
use relay_platform::known;
use relay_platform::queue::{OutboundMessage, SendError};
use serde::Serialize;

pub use cloudwatch::LogGroup;
pub use request::RequeueRequest;

use crate::lines::Line;
use crate::progress_log::ProgressLog;
use crate::rate_limiter::RateLimiter;
use crate::replay::{IdHash, TaskOutcome, days, partition};
use crate::sender::{MessageQueue, message, send_with_retries};
use crate::store::{NextLine, Store, StoreError, shown};
use crate::time_limit::TimeLimit;
use log_lines::{Assembler, UnqueuedWebhook};

/// How many bytes of envelopes are looked at together.
const MAX_CHUNK: usize = 16 * 1024 * 1024;

const PER_SECOND: u32 = 100;
const BATCH: usize = 100;

/// Calls to S3 side by side.
const MARKS_AT_ONCE: usize = 16;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequeueCounts {
    /// Lines of the log that were looked at.
    pub scanned: u64,
    /// Envelopes in them.
    pub matched: u64,
    /// Those of them that are in the archive.
    pub archived: u64,
    /// Those that an earlier run has sent, or found in the archive.
    pub settled_before: u64,
    /// Those that are on the queue now.
    pub sent: u64,
    /// Events of which parts are missing.
    pub incomplete: u64,
    /// Lines and envelopes that are none of ingest's.
    pub unreadable: u64,
}

/// A page of the log.
#[derive(Debug, Default)]
pub struct LogPage {
    /// Its lines.
    pub lines: Vec<String>,
    /// What to ask for the next page with; `None`: it is the last.
    pub next: Option<String>,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("CloudWatch Logs did not hand out the log group: {0}")]
pub struct LogError(pub String);

/// The log of `ingest`.
pub trait IngestLog {
    /// The lines of a range of time, a page at a time, that hold an unqueued webhook, and perhaps others.
    fn page(
        &self,
        from: Timestamp,
        to: Timestamp,
        token: Option<String>,
    ) -> impl Future<Output = Result<LogPage, LogError>>;
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RequeueError {
    /// By the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// By S3.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// By SQS.
    #[error("a webhook is not known to be on the queue: {0}")]
    Unsent(#[from] SendError),
}

/// Reads the log and sends what the archive lacks. It needs no cursor: what it has sent is marked.
///
/// # Errors
/// If the log, S3 or SQS do not do what they are asked.
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
        reporter: ProgressLog::new(),
    };
    let mut assembly = Assembler::default();
    let mut found = BTreeMap::new();
    let (mut bytes, mut token) = (0, None);
    loop {
        let page = log.page(request.from, request.to, token).await?;
        for line in page.lines {
            requeuer.counts.scanned += 1;
            if let Some(UnqueuedWebhook { id, envelope }) = assembly.add(&line) {
                bytes += envelope.len();
                found.insert(id, envelope);
            }
        }
        if bytes > MAX_CHUNK || page.next.is_none() {
            bytes = 0;
            if requeuer.chunk(std::mem::take(&mut found)).await? == TaskOutcome::TimeIsUp {
                return Ok(TaskOutcome::TimeIsUp);
            }
        }
        token = page.next;
        if token.is_none() {
            break;
        }
        if limit.is_over() {
            return Ok(TaskOutcome::TimeIsUp);
        }
    }
    let (incomplete, unreadable) = assembly.end();
    requeuer.counts.incomplete = incomplete.len() as u64;
    requeuer.counts.unreadable += unreadable;
    for id in incomplete {
        tracing::warn!(
            id = known::id(&id),
            "parts of an unqueued webhook are missing: it is left where it is"
        );
    }
    Ok(TaskOutcome::Done)
}

struct Requeuer<'r, O> {
    dry_run: bool,
    counts: &'r mut RequeueCounts,
    store: &'r Store,
    queue: &'r O,
    rate_limiter: RateLimiter,
    limit: &'r TimeLimit,
    reporter: ProgressLog,
}

/// An envelope that may have to be sent.
struct Candidate {
    id: IdHash,
    mark: Path,
    partitions: Vec<String>,
    message: OutboundMessage,
}

impl<O: MessageQueue> Requeuer<'_, O> {
    async fn chunk(&mut self, found: BTreeMap<String, String>) -> Result<TaskOutcome, RequeueError> {
        self.counts.matched += found.len() as u64;
        let mut candidates = Vec::with_capacity(found.len());
        for (id, envelope) in found {
            match candidate(&envelope) {
                Some(candidate) => candidates.push(candidate),
                None => {
                    tracing::error!(
                        id = known::id(&id),
                        "an unqueued webhook is no envelope: it is left where it is"
                    );
                    self.counts.unreadable += 1;
                }
            }
        }
        let candidates = self.unmarked(candidates).await?;
        let Some(archived) = self.archived(&candidates).await? else { return Ok(TaskOutcome::TimeIsUp) };
        let (archived, missing): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| archived.contains(&candidate.id));
        self.counts.archived += archived.len() as u64;
        if self.dry_run {
            return Ok(TaskOutcome::Done);
        }
        // Marked as well: should their rows be forgotten, the next run is not to take them for missed.
        self.mark(&archived).await?;
        for batch in missing.chunks(BATCH) {
            self.rate_limiter.turn(batch.len()).await;
            let messages = batch.iter().map(|candidate| candidate.message.clone()).collect();
            send_with_retries(self.queue, messages).await?;
            self.counts.sent += batch.len() as u64;
            self.mark(batch).await?;
            self.reporter.tick("heal", self.counts);
            if self.limit.is_over() {
                return Ok(TaskOutcome::TimeIsUp);
            }
        }
        Ok(TaskOutcome::Done)
    }

    /// Those that no earlier run has sent.
    async fn unmarked(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, RequeueError> {
        let store = self.store;
        let count = candidates.len();
        let looked = candidates.into_iter().map(|candidate| async move {
            Ok::<_, StoreError>((!store.holds(&candidate.mark).await?).then_some(candidate))
        });
        let looked: Vec<_> = stream::iter(looked).buffered(MARKS_AT_ONCE).try_collect().await?;
        let unmarked: Vec<Candidate> = looked.into_iter().flatten().collect();
        self.counts.settled_before += (count - unmarked.len()) as u64;
        Ok(unmarked)
    }

    /// Which of them the archive has; `None`: there was no time to find out.
    async fn archived(&mut self, candidates: &[Candidate]) -> Result<Option<HashSet<IdHash>>, RequeueError> {
        let mut archived = HashSet::new();
        let wanted: HashSet<IdHash> = candidates.iter().map(|candidate| candidate.id).collect();
        let partitions: BTreeSet<&String> = candidates.iter().flat_map(|one| &one.partitions).collect();
        for partition in partitions {
            let mut objects = self.store.list(partition, None);
            while let Some(object) = objects.try_next().await? {
                let key = object.key().to_owned();
                let mut lines = self.store.lines(object);
                loop {
                    match lines.next().await? {
                        NextLine::Line(Line::Whole(line)) => {
                            let row = std::str::from_utf8(&line).ok().and_then(Archived::parse);
                            let id = row.and_then(|row| Some(IdHash::of(row.envelope()?.id.as_str())));
                            archived.extend(id.filter(|id| wanted.contains(id)));
                        }
                        NextLine::Line(Line::TooLong) => (),
                        NextLine::Corrupt(error) => {
                            tracing::error!("{error}; what it holds counts as not archived");
                            break;
                        }
                        NextLine::End => break,
                    }
                }
                tracing::debug!(key = shown(&key), "looked for unqueued webhooks");
                self.reporter.tick("heal", self.counts);
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

    async fn mark(&self, sent: &[Candidate]) -> Result<(), StoreError> {
        let client = self.store.client();
        let client = &client;
        let marks = sent.iter().map(|candidate| async move {
            let put = client.put(&candidate.mark, PutPayload::new()).await;
            put.map_err(|error| StoreError::new("cannot write", candidate.mark.as_ref(), &error))
        });
        stream::iter(marks).buffered(MARKS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
    }
}

fn candidate(envelope: &str) -> Option<Candidate> {
    // It goes everywhere, for the first time.
    let envelope = Envelope { destinations: None, attempt: 0, ..Envelope::parse(envelope).ok()? };
    // The archive's day is that of receipt; the next is looked at too, as clocks differ.
    let received = envelope.received_at;
    let end = received.later_by(Duration::from_secs(86_400) + Duration::from_millis(1));
    Some(Candidate {
        id: IdHash::of(envelope.id.as_str()),
        mark: Path::from_iter(["requeued", envelope.id.as_str()]),
        partitions: days(received, end).map(|day| partition(&day, envelope.source)).collect(),
        message: message(&envelope),
    })
}

#[cfg(test)]
mod tests;
