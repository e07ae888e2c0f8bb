//! Ids of events: UUID v7, rising within a process.

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use relay_core::archive::COUNTER_BITS;
use relay_core::envelope::EventId;
use relay_platform::world;
use uuid::Uuid;

thread_local! {
    /// The process has one thread (`main.rs`).
    static LAST: Cell<Last> = const { Cell::new(Last { milliseconds: 0, counter: 0 }) };
}

/// The last id's time, and its number within that millisecond.
#[derive(Debug, Clone, Copy)]
struct Last {
    milliseconds: u64,
    counter: u32,
}

/// The counter stands right behind the time (RFC 9562, 6.2, method 1), which the crate's own, wider one does not tell
/// apart in the bits that the archive's `_sequence` has room for.
pub fn new_id() -> EventId {
    let now = world::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut last = LAST.get();
    let (milliseconds, counter) = last.next(now);
    LAST.set(last);
    EventId::from_uuid(uuid_v7(milliseconds, counter, world::random()))
}

/// 48 bits of time, 4 of version, 12 of the counter, 2 of variant, the counter's other bits, and chance.
fn uuid_v7(milliseconds: u64, counter: u32, random: u64) -> Uuid {
    const LOW: u8 = COUNTER_BITS - 12;
    let (high, low) = (u128::from(counter >> LOW), u64::from(counter % (1 << LOW)));
    let rest = 0b10 << 62 | low << (62 - LOW) | random >> (2 + LOW);
    Uuid::from_u128(u128::from(milliseconds) << 80 | 7 << 76 | high << 64 | u128::from(rest))
}

impl Last {
    /// The clock may stand still or go back: ids rise all the same.
    fn next(&mut self, now: u64) -> (u64, u32) {
        self.counter += 1;
        if now > self.milliseconds || self.counter >= 1 << COUNTER_BITS {
            self.milliseconds = now.max(self.milliseconds + 1);
            // Random, so that two processes do not count alike; low enough to count on from.
            self.counter = world::random() as u32 % (1 << (COUNTER_BITS - 1));
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
        let received_at = Timestamp::from_system(world::now());
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
    #[expect(clippy::disallowed_methods, reason = "what ours is held against")]
    fn an_id_is_as_the_crate_makes_it() {
        for (counter, random) in
            [(0, 0), (1, 0), (127, u64::MAX), (128, 7), ((1 << COUNTER_BITS) - 1, u64::MAX)]
        {
            let id = uuid_v7(1_795_237_443_123, counter, random);
            let time =
                uuid::Timestamp::from_unix_time(1_795_237_443, 123_000_000, counter.into(), COUNTER_BITS);
            let (its, random_bits) = (uuid::Uuid::new_v7(time).as_u128(), 62 - (COUNTER_BITS - 12));
            assert_eq!(id.as_u128() >> random_bits, its >> random_bits, "{id}");
            assert_eq!(id.as_u128() as u64 & (u64::MAX >> (64 - random_bits)), random >> (64 - random_bits));
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
