//! What is made to fail.

use std::time::Duration;

/// How SQS, SSM or Firehose fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes the request and never answers; nothing is done.
    Hang,
    /// Breaks the connection with RST; nothing is done.
    Reset,
    /// Answers 500 or 503 as AWS does; nothing is done.
    Status(u16),
    /// Asks for less; nothing is done.
    Throttle,
    /// Does it at once and answers late, even when the caller no longer listens.
    Slow(Duration),
    /// Refuses the entries of a batch at these positions, within a 200.
    EntryFailure {
        /// Positions in the batch, from 0.
        entries: Vec<usize>,
        /// Whether the sender is said to be at fault.
        sender_fault: bool,
    },
    /// Does it, then breaks the connection with RST.
    LostAnswer,
    /// Answers with this status and body; nothing is done.
    Answer(u16, &'static str),
    /// Does it, and answers with digests of other messages.
    WrongDigest,
}

/// How entries of a batch are made to fail.
pub(super) struct Refusal<'a> {
    pub(super) entries: &'a [usize],
    pub(super) sender_fault: bool,
}
