//! What becomes of an event at a destination, and why it was not accepted.

use std::time::{Duration, SystemTime};

use crate::envelope::DeadLetterReason;

/// What became of an event at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The destination has it.
    Accepted {
        /// It may have it twice: an earlier try's response was lost.
        maybe_doubled: bool,
        /// When it said so.
        at: SystemTime,
    },
    /// The destination does not want it; a snake_case code tells why.
    Skipped(&'static str),
    /// It was tried, or would have been but for the breaker: it is owed.
    Retry(DeliveryError),
    /// It was tried, and only the operator can mend what stopped it: it is owed, and there is an alarm.
    Misconfigured(DeliveryError),
    /// There was no time for it: owed, and not its fault.
    NotStarted,
    /// The operator holds the destination back: owed, and not its fault.
    Paused,
    /// The destination will never take it.
    Rejected(DeliveryError),
}

impl DeliveryOutcome {
    /// Rejected without a response; a snake_case code tells why.
    pub fn rejected(reason: &'static str) -> Self {
        DeliveryOutcome::Rejected(DeliveryError::new(reason))
    }

    /// The same after an earlier try of which the destination may have taken the event.
    #[must_use]
    pub fn after(self, maybe_taken: bool) -> Self {
        use DeliveryOutcome::{Accepted, Misconfigured, Rejected, Retry};
        let with =
            |error: DeliveryError| DeliveryError { maybe_taken: error.maybe_taken || maybe_taken, ..error };
        match self {
            Accepted { maybe_doubled, at } => Accepted { maybe_doubled: maybe_doubled || maybe_taken, at },
            Retry(error) => Retry(with(error)),
            Misconfigured(error) => Misconfigured(with(error)),
            Rejected(error) => Rejected(with(error)),
            other => other,
        }
    }

    /// Whether the destination is still to get the event.
    pub fn is_owed(&self) -> bool {
        match self {
            DeliveryOutcome::Retry(_)
            | DeliveryOutcome::Misconfigured(_)
            | DeliveryOutcome::NotStarted
            | DeliveryOutcome::Paused => true,
            DeliveryOutcome::Accepted { .. } | DeliveryOutcome::Skipped(_) | DeliveryOutcome::Rejected(_) => {
                false
            }
        }
    }

    /// Whether the destination may get the event, or have got it, a second time.
    pub fn is_maybe_doubled(&self) -> bool {
        match self {
            DeliveryOutcome::Accepted { maybe_doubled, .. } => *maybe_doubled,
            DeliveryOutcome::Retry(error) | DeliveryOutcome::Misconfigured(error) => error.maybe_taken,
            _ => false,
        }
    }
}

/// Why an event was not accepted, for logs and dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryError {
    /// A snake_case code.
    pub reason: &'static str,
    /// The HTTP status, when there was a response.
    pub status: Option<u16>,
    /// The response's head. It may quote the event: for the dead-letter queue, never for a log.
    pub excerpt: Option<String>,
    /// How long the destination asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether it speaks of the destination's health: time-outs, connection errors, 5xx and 429.
    pub is_outage: bool,
    /// The destination may have taken the events although it did not say so.
    pub maybe_taken: bool,
    /// What held the event back, so that the rest is of an earlier request: `breaker`, or `time` if the destination's time
    /// of the invocation was over.
    pub held_back: Option<&'static str>,
}

impl DeliveryError {
    /// An error by its code alone: there was no response.
    pub fn new(reason: &'static str) -> Self {
        DeliveryError {
            reason,
            status: None,
            excerpt: None,
            retry_after: None,
            is_outage: false,
            maybe_taken: false,
            held_back: None,
        }
    }
}

impl From<DeliveryError> for DeadLetterReason {
    fn from(DeliveryError { reason, status, excerpt, .. }: DeliveryError) -> Self {
        DeadLetterReason { reason, status, excerpt, truncated: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_taken_before_stays_so() {
        use DeliveryOutcome::{Accepted, Misconfigured, NotStarted, Rejected, Retry};
        let error = DeliveryError::new("x");
        let at = SystemTime::UNIX_EPOCH;
        let accepted = |maybe_doubled| Accepted { maybe_doubled, at };
        let taken = || DeliveryError { maybe_taken: true, ..error.clone() };
        assert_eq!(accepted(false).after(true), accepted(true));
        assert_eq!(accepted(true).after(false), accepted(true));
        for of in [Retry, Misconfigured, Rejected] {
            assert_eq!(of(error.clone()).after(true), of(taken()));
            assert_eq!(of(taken()).after(false), of(taken()));
            assert_eq!(of(error.clone()).after(false), of(error.clone()));
        }
        assert_eq!(NotStarted.after(true), NotStarted);
    }
}
