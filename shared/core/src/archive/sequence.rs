//! The order of rows.

use crate::envelope::{Envelope, EventId};

/// How many values the tiebreak of a sequence may have: six digits.
const TIEBREAKS: i64 = 1_000_000;

/// How many bits of an id that rises within a millisecond go into the sequence.
///
/// `ingest` counts in these: they are the first that follow the time in a UUID v7 (RFC 9562, 6.2, method 1).
pub const COUNTER_BITS: u8 = 19;

/// The order of rows, for `_sequence`: milliseconds since 1970, and then six digits as a tiebreak.
///
/// Of a UUID v7 both are the id's own, so that sequences rise as ids do. Other ids do not rise: theirs are of the time
/// of receipt and of the event's place in its request.
pub fn sequence(envelope: &Envelope<'_>) -> i64 {
    let (milliseconds, tiebreak) = rising(&envelope.id)
        .unwrap_or_else(|| (envelope.received_at.milliseconds(), i64::from(envelope.place)));
    milliseconds * TIEBREAKS + tiebreak.min(TIEBREAKS - 1)
}

/// The time of a UUID v7, and the bits that follow it.
fn rising(id: &EventId) -> Option<(i64, i64)> {
    let id = uuid::Uuid::parse_str(id.as_str()).ok().filter(|id| id.get_version_num() == 7)?.as_u128();
    // 48 bits of time, 4 of version, 12 that rise, 2 of variant, and then more that rise.
    let (time, high) = ((id >> 80) as i64, ((id >> 64) & 0xfff) as i64);
    let low_bits = COUNTER_BITS - 12;
    let low = ((id as u64 & (u64::MAX >> 2)) >> (62 - low_bits)) as i64;
    Some((time, high << low_bits | low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Payload, Source};
    use crate::timestamp::Timestamp;

    fn sequence_of(id: &str, received_at: &str, place: u32) -> i64 {
        let payload: crate::json::Json<'_> = serde_json::from_str("{}").unwrap();
        sequence(&Envelope {
            id: EventId::parse(id).unwrap(),
            source: Source::Segment,
            received_at: Timestamp::parse(received_at).unwrap(),
            place,
            through_segment: false,
            destinations: None,
            attempt: 0,
            payload: Payload::Object(payload),
        })
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an id as the crate makes it")]
    fn sequences_rise_as_ids_do() {
        const AT: &str = "2026-11-21T05:04:03.123Z";
        let id = |counter: u128| {
            let time = uuid::Timestamp::from_unix_time(1_795_237_443, 123_000_000, counter, COUNTER_BITS);
            uuid::Uuid::new_v7(time).to_string()
        };
        for counter in [0, 1, 127, 128, 129, 300_000, (1 << COUNTER_BITS) - 1] {
            let sequence = sequence_of(&id(counter), AT, 0);
            assert_eq!(sequence, 1_795_237_443_123_000_000 + counter as i64, "{counter}");
        }
    }

    #[test]
    fn other_ids_go_by_receipt_and_place() {
        let at = |id, place| sequence_of(id, "2026-11-21T05:04:03.123Z", place);
        assert_eq!(at("e1", 0), 1_795_237_443_123_000_000);
        assert_eq!(at("6c6f6e67-0000-8000-8000-000000000000", 7), 1_795_237_443_123_000_007);
        assert_eq!(at("e1", u32::MAX), 1_795_237_443_123_999_999);
    }
}
