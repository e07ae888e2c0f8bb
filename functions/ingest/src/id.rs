//! Ids of events: UUID v7, rising within a process.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use relay_core::archive::COUNTER_BITS;
use relay_core::envelope::EventId;
use uuid::{Timestamp, Uuid};

static LAST: Mutex<Last> = Mutex::new(Last { milliseconds: 0, counter: 0 });

/// The last id's time, and its number within that millisecond.
struct Last {
    milliseconds: u64,
    counter: u32,
}

/// The counter stands right behind the time (RFC 9562, 6.2, method 1), which the crate's own, wider one does not tell
/// apart in the bits that the archive's `_sequence` has room for.
pub fn new_id() -> EventId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let (milliseconds, counter) = LAST.lock().unwrap_or_else(PoisonError::into_inner).next(now);
    let (seconds, nanoseconds) = (milliseconds / 1_000, (milliseconds % 1_000) as u32 * 1_000_000);
    let time = Timestamp::from_unix_time(seconds, nanoseconds, counter.into(), COUNTER_BITS);
    EventId::from_uuid(Uuid::new_v7(time))
}

impl Last {
    /// The clock may stand still or go back: ids rise all the same.
    fn next(&mut self, now: u64) -> (u64, u32) {
        self.counter += 1;
        if now > self.milliseconds || self.counter >= 1 << COUNTER_BITS {
            self.milliseconds = now.max(self.milliseconds + 1);
            // Random, so that two processes do not count alike; low enough to count on from.
            self.counter = fastrand::u32(..1 << (COUNTER_BITS - 1));
        }
        (self.milliseconds, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::archive;
    use relay_core::envelope::{Payload, Source};
    use relay_core::timestamp::Timestamp;

    #[test]
    fn ids_and_sequences_rise() {
        let payload: relay_core::json::Json<'_> = serde_json::from_str("{}").unwrap();
        let received_at = Timestamp::from_system(SystemTime::now());
        let mut last = None;
        for _ in 0..100_000 {
            let id = new_id();
            let envelope =
                crate::queue_entry::envelope(id.clone(), Source::Vero, Payload::Object(payload), received_at);
            let this = Some((id, archive::sequence(&envelope)));
            let rises = last.as_ref().is_none_or(|(id, sequence)| {
                this.as_ref().is_some_and(|(next_id, next)| next_id > id && next > sequence)
            });
            assert!(rises, "{last:?} {this:?}");
            last = this;
        }
    }

    #[test]
    fn a_clock_that_goes_back_and_a_full_counter_change_nothing() {
        let mut last = Last { milliseconds: 1_000, counter: (1 << COUNTER_BITS) - 2 };
        assert_eq!(last.next(900), (1_000, (1 << COUNTER_BITS) - 1));
        let (milliseconds, counter) = last.next(900);
        assert!(milliseconds == 1_001 && counter < 1 << (COUNTER_BITS - 1));
        assert_eq!(last.next(1_001), (1_001, counter + 1));
        assert_eq!(last.next(2_000).0, 2_000);
    }
}
