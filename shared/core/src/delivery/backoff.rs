//! How long an event waits for its next try.

use std::time::Duration;

/// The longest delay that SQS takes (`DelaySeconds`).
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// An event that this many tries have failed goes to the dead-letter queue: after about 22 hours.
pub const MAX_ATTEMPTS: u32 = 120;

const FIRST_DELAY: u64 = 30;

/// The delay before the try that follows number `attempt` (from 1): 30 s doubling up to 15 min, times 0.5 to 1,
/// and never less than the destination asked for. `random` is from 0 to 1.
pub fn delay(attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    let jittered = Duration::from_secs(doubled).min(MAX_DELAY).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
    // SQS takes whole seconds; rounding up keeps the promise to the destination.
    let wait = jittered.max(retry_after.unwrap_or_default()).min(MAX_DELAY);
    Duration::from_secs(wait.as_millis().div_ceil(1000) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_quarter_of_an_hour() {
        for (attempt, most) in
            [(1, 30), (2, 60), (3, 120), (5, 480), (6, 900), (7, 900), (119, 900), (u32::MAX, 900)]
        {
            assert_eq!(delay(attempt, None, 1.0).as_secs(), most);
            assert_eq!(delay(attempt, None, 0.0).as_secs(), most / 2);
        }
    }

    #[test]
    fn the_destination_has_the_last_word_up_to_the_limit() {
        let asked = |seconds| delay(1, Some(Duration::from_secs(seconds)), 1.0).as_secs();
        assert_eq!((asked(10), asked(300), asked(5_000)), (30, 300, 900));
        assert_eq!(delay(1, Some(Duration::from_millis(40_001)), 0.0).as_secs(), 41);
    }

    #[test]
    fn outlasts_half_a_day_with_room_to_spare() {
        let shortest: Duration = (1..MAX_ATTEMPTS).map(|attempt| delay(attempt, None, 0.0)).sum();
        assert!(shortest > Duration::from_secs(12 * 3600), "{shortest:?}");
    }
}
