//! What was found of an event: in the archive, the logs, the dead-letter queue and the queue.

use relay_core::blueprint::Blueprint;

use super::known::Known;
use super::letter::Letter;
use super::log_line::LogLine;
use super::time::At;

/// A row of the delivery log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The part of a destination.
    pub part: String,
    /// `accepted`, `skipped` or `dead`.
    pub outcome: String,
    /// Why it was skipped or is dead.
    pub reason: Option<String>,
    /// HTTP's status of the last response.
    pub status: Option<u64>,
    /// The number of the try.
    pub attempt: Option<u64>,
    /// When it became known.
    pub at: At,
}

/// A message of the queue that has the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The parts that are owed the event; `None` before the first try: all that are on.
    pub parts: Option<Vec<String>>,
    /// How many tries there were.
    pub attempt: u64,
    /// From when on SQS hands it out.
    pub due: At,
    /// The worker has it now.
    pub is_received: bool,
}

/// All that was found of an event.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Its id.
    pub id: String,
    /// Its envelope, from wherever it was found.
    pub envelope: Option<String>,
    /// Whether it is among the events of the archive; unknown without one.
    pub archived: Known<bool>,
    /// Its rows of the delivery log; unknown without an archive.
    pub deliveries: Known<Vec<Delivery>>,
    /// The lines of the logs that name it.
    pub lines: Known<Vec<LogLine>>,
    /// Its dead letters.
    pub letters: Known<Vec<Letter>>,
    /// The messages of the queue that have it. AWS shows nobody what is in a queue; `cargo local` does.
    pub queued: Known<Vec<Queued>>,
    /// The mapping of first-party events.
    pub blueprint: Blueprint,
}

impl Evidence {
    /// Of an event of which nothing was found yet.
    pub fn nothing(id: &str) -> Self {
        Evidence {
            id: id.to_owned(),
            envelope: None,
            archived: Known::default(),
            deliveries: Known::default(),
            lines: Known::default(),
            letters: Known::default(),
            queued: Known::default(),
            blueprint: Blueprint::default(),
        }
    }

    /// This, and what was known before of what this does not know.
    #[must_use]
    pub fn or(self, before: Evidence) -> Self {
        Evidence {
            id: self.id,
            envelope: self.envelope.or(before.envelope),
            archived: self.archived.or(before.archived),
            deliveries: self.deliveries.or(before.deliveries),
            lines: self.lines.or(before.lines),
            letters: self.letters.or(before.letters),
            queued: self.queued.or(before.queued),
            blueprint: self.blueprint,
        }
    }

    /// Whether anything was found.
    pub fn is_anything(&self) -> bool {
        self.envelope.is_some()
            || self.deliveries.yes().is_some_and(|all| !all.is_empty())
            || self.lines.yes().is_some_and(|all| !all.is_empty())
            || self.letters.yes().is_some_and(|all| !all.is_empty())
    }

    /// The message of the queue that owes the event to a part.
    pub(super) fn queued_for(&self, part: &str) -> Option<&Queued> {
        let is_owed = |queued: &&Queued| {
            queued.parts.as_ref().is_none_or(|parts| parts.iter().any(|name| name == part))
        };
        self.queued.yes().into_iter().flatten().find(is_owed)
    }
}
