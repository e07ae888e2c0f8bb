//! The time that an invocation has, and when it hands over to the next.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept for the batch under way, for handing over, and for the answer.
const RESERVE: Duration = Duration::from_secs(20);

/// Whoever invokes by hand waits so long for an answer: the AWS CLI gives up after 60 s and asks again.
const BY_HAND: Duration = Duration::from_secs(45);

/// Counts where the deadline is unknown.
const UNKNOWN: Duration = Duration::from_secs(65);

/// The longest that Lambda lets a function run.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// Who invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invoker {
    /// A person or a schedule.
    Direct,
    /// This function itself, through its queue.
    OwnQueue,
}

/// When an invocation hands over.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit(Instant);

impl TimeLimit {
    /// From Lambda's deadline. Local emulators send deadlines of 1970: one in the past, or further off than Lambda lets
    /// a function run, counts as unknown.
    pub fn of(invoker: Invoker, deadline: SystemTime, now: SystemTime) -> Self {
        let known = |left: &Duration| !left.is_zero() && *left <= LONGEST_TIMEOUT;
        let left = deadline.duration_since(now).ok().filter(known).unwrap_or(UNKNOWN);
        let working = left - RESERVE.min(left / 2);
        TimeLimit(Instant::now() + if invoker == Invoker::Direct { working.min(BY_HAND) } else { working })
    }

    /// Whether it is time.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }

    /// A limit so far from now, for tests.
    #[cfg(test)]
    pub fn within(time: Duration) -> Self {
        TimeLimit(Instant::now() + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_waited_for_hands_over_early() {
        let now = SystemTime::now();
        let at = |invoker, seconds| {
            let TimeLimit(at) = TimeLimit::of(invoker, now + Duration::from_secs(seconds), now);
            (at - Instant::now()).as_secs()
        };
        assert_eq!((at(Invoker::Direct, 900), at(Invoker::OwnQueue, 900)), (45, 880));
        assert_eq!((at(Invoker::Direct, 30), at(Invoker::OwnQueue, 30)), (15, 15));
        let TimeLimit(unknown) = TimeLimit::of(Invoker::OwnQueue, SystemTime::UNIX_EPOCH, now);
        assert_eq!(unknown - Instant::now(), Duration::from_secs(45));
    }
}
