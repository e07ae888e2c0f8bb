//! Ids of events in little memory.

use relay_core::envelope::Envelope;
use sha2::{Digest, Sha256};

/// An id in 16 bytes, whatever its length: a million of them take 32 MB. Of a billion, two are equal with a chance of one
/// to 10²⁰.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash(u128);

impl IdHash {
    pub fn of(id: &str) -> Self {
        Self::of_parts([id, ""])
    }

    /// Two events may have one id: mappings of one Webhooks destination share a `messageId`.
    pub fn of_event(envelope: &Envelope<'_>) -> Self {
        Self::of_parts([envelope.id.as_str(), envelope.payload.text()])
    }

    fn of_parts(parts: [&str; 2]) -> Self {
        let digest = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
        IdHash(digest.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte)))
    }
}
