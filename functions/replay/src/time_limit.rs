//! The time that an invocation has, and how a task ends with it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept for the current batch, for handing over, and for the response.
const RESERVE: Duration = Duration::from_secs(20);

/// A direct invoker waits for the response, and the AWS CLI gives up after 60 s and invokes again. Before that there is
/// time for two calls in a row that S3 does not answer, or for a batch and the hand-over that SQS does not answer.
const MAX_DIRECT: Duration = Duration::from_secs(25);

/// Used if the deadline is unknown.
const DEFAULT: Duration = Duration::from_secs(65);

/// The longest timeout of a Lambda function.
const MAX_TIMEOUT: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invoker {
    /// A person or a schedule.
    Direct,
    /// This function itself, through its queue.
    OwnQueue,
}

/// When an invocation hands over to the next.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit(Instant);

impl TimeLimit {
    /// Local emulators send deadlines of 1970. So a deadline in the past, or further off than any timeout, counts as
    /// unknown.
    pub fn new(invoker: Invoker, deadline: SystemTime, now: SystemTime) -> Self {
        let known = |left: &Duration| !left.is_zero() && *left <= MAX_TIMEOUT;
        let left = deadline.duration_since(now).ok().filter(known).unwrap_or(DEFAULT);
        let working = left - RESERVE.min(left / 2);
        TimeLimit(Instant::now() + if invoker == Invoker::Direct { working.min(MAX_DIRECT) } else { working })
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }

    #[cfg(test)]
    pub fn within(time: Duration) -> Self {
        TimeLimit(Instant::now() + time)
    }
}

/// How far a task got in an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutcome {
    Done,
    /// It goes on in another invocation.
    TimeIsUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_direct_invocation_hands_over_early() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |invoker, seconds| {
            let TimeLimit(at) = TimeLimit::new(invoker, now + Duration::from_secs(seconds), now);
            (at - Instant::now()).as_secs()
        };
        assert_eq!((at(Invoker::Direct, 900), at(Invoker::OwnQueue, 900)), (25, 880));
        assert_eq!((at(Invoker::Direct, 30), at(Invoker::OwnQueue, 30)), (15, 15));
        let TimeLimit(unknown) = TimeLimit::new(Invoker::OwnQueue, SystemTime::UNIX_EPOCH, now);
        assert_eq!(unknown - Instant::now(), Duration::from_secs(45));
    }
}
