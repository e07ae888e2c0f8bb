//! An unqueued webhook that may have to be sent.

use std::time::Duration;

use object_store::path::Path;
use relay_core::envelope::Envelope;
use relay_platform::queue::OutboundMessage;

use crate::archive::{days, mark, partition};
use crate::id_hash::IdHash;
use crate::sender::message;

pub struct Candidate {
    pub id: IdHash,
    /// The object that marks it as settled.
    pub mark: Path,
    /// Where the archive has it, if it does.
    pub partitions: Vec<String>,
    pub message: OutboundMessage,
}

impl Candidate {
    /// `None`: the text is no envelope.
    pub fn parse(envelope: &str) -> Option<Self> {
        // It goes to every destination, for the first time.
        let envelope = Envelope { destinations: None, attempt: 0, ..Envelope::parse(envelope).ok()? };
        // The archive's day is the day of receipt. Clocks differ, so the next day counts, too.
        let received = envelope.received_at;
        let end = received.later_by(Duration::from_secs(86_400) + Duration::from_millis(1));
        Some(Candidate {
            id: IdHash::of(envelope.id.as_str()),
            mark: mark(&envelope.id),
            partitions: days(received, end).map(|day| partition(&day, envelope.source)).collect(),
            message: message(&envelope),
        })
    }
}
