//! The time that an invocation has. Nothing is started that cannot finish.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The worker's timeout in the template; counts where the deadline is unknown.
const TIMEOUT: Duration = Duration::from_secs(25);

/// The longest that Lambda lets a function run.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// Kept for sending back what is owed, and for the response.
const SETTLING: Duration = Duration::from_secs(5);

/// When deliveries and when everything must be over.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// No delivery runs beyond this.
    pub delivery_ends: Instant,
    /// Nothing runs beyond this.
    pub ends: Instant,
    /// No single request may take longer: of a short time, two still fit.
    pub longest_call: Duration,
}

impl Budget {
    /// From Lambda's deadline. Local emulators send deadlines of 1970: one in the past, or further off than
    /// Lambda lets a function run, counts as unknown.
    pub fn until(deadline: SystemTime, now: SystemTime) -> Self {
        let known = |left: &Duration| !left.is_zero() && *left <= LONGEST_TIMEOUT;
        let left = deadline.duration_since(now).ok().filter(known).unwrap_or(TIMEOUT);
        let settling = SETTLING.min(left / 3);
        let start = Instant::now();
        let delivering = left - settling;
        Budget {
            delivery_ends: start + delivering,
            ends: start + left - settling / 5,
            longest_call: delivering / 2,
        }
    }

    /// Whether a call that may take so long can still be made.
    pub fn allows(&self, longest: Duration) -> bool {
        Instant::now() + longest <= self.delivery_ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_is_no_deadline() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let allows = |deadline, seconds| Budget::until(deadline, now).allows(Duration::from_secs(seconds));
        assert!(allows(SystemTime::UNIX_EPOCH, 19) && !allows(SystemTime::UNIX_EPOCH, 21));
        let soon = now + Duration::from_secs(10);
        assert!(allows(soon, 6) && !allows(soon, 7));
    }
}
