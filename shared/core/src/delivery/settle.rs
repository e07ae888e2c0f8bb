//! From what became of an event at each destination to what happens to its message.

use std::time::Duration;

use super::backoff::{MAX_ATTEMPTS, MAX_DELAY, delay};
use super::outcome::DeliveryOutcome;
use crate::envelope::DeadLetterReason;

/// A copy of the envelope that goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resend {
    /// The destinations still owed.
    pub destinations: Vec<String>,
    /// Tries so far.
    pub attempt: u32,
    /// How long it waits.
    pub delay: Duration,
}

/// What happens to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing was done for lack of time, and the message has not been received often: it comes back itself, at once.
    Return,
    /// These are sent, and then the received message is acknowledged.
    Acknowledge {
        /// Copies for the queue; no destination is in two of them.
        resend: Vec<Resend>,
        /// Entries for the dead-letter queue, one a destination.
        dead: Vec<Undeliverable>,
    },
}

/// An entry for the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeliverable {
    /// The destination that will not have the event.
    pub destination: String,
    /// Why.
    pub cause: DeadLetterReason,
    /// Tries so far.
    pub attempt: u32,
}

/// So often a message is received before what was not started goes back as a copy. Each return costs one of the
/// receives that the queue allows (`maxReceiveCount`, 10), and those are for deaths of the worker.
const RECEIVES_TO_RETURN: u32 = 2;

/// How often something was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Tries of the event so far.
    pub attempt: u32,
    /// Receives of the message that brings it, this one included.
    pub receives: u32,
}

/// How often an event counts as tried: one that was redriven after its last try starts over.
pub fn tries_before(attempt: u32) -> u32 {
    if attempt >= MAX_ATTEMPTS { 0 } else { attempt }
}

/// Decides what happens to a message. `random`, from 0 to 1, spreads the retries.
pub fn settle(tries: Tries, outcomes: Vec<(String, DeliveryOutcome)>, random: f64) -> Settlement {
    let attempt = tries_before(tries.attempt);
    let usual = delay(attempt + 1, None, random);
    let idle = |outcome: &DeliveryOutcome| {
        matches!(outcome, DeliveryOutcome::NotStarted | DeliveryOutcome::Skipped(_))
    };
    let waits = outcomes.iter().any(|(_, outcome)| *outcome == DeliveryOutcome::NotStarted);
    let may_return = tries.receives <= RECEIVES_TO_RETURN;
    if may_return && waits && outcomes.iter().all(|(_, outcome)| idle(outcome)) {
        return Settlement::Return;
    }
    let mut sorted = Sorted::default();
    for (name, outcome) in outcomes {
        sorted.add(name, outcome, attempt, usual);
    }
    let Sorted { tried, asked, longest, paused, not_started, dead } = sorted;
    let copies = [
        (tried, attempt + 1, usual),
        (asked, attempt + 1, delay(attempt + 1, Some(longest), random)),
        (paused, attempt, delay(attempt, Some(MAX_DELAY), random)),
        (not_started, attempt, Duration::ZERO),
    ];
    let resend = copies
        .into_iter()
        .filter(|(destinations, ..)| !destinations.is_empty())
        .map(|(destinations, attempt, delay)| Resend { destinations, attempt, delay })
        .collect();
    Settlement::Acknowledge { resend, dead }
}

/// An event's destinations by what follows.
#[derive(Default)]
struct Sorted {
    tried: Vec<String>,
    /// They asked for a longer wait than usual, the longest of which is `longest`: the others do not wait for them.
    asked: Vec<String>,
    longest: Duration,
    paused: Vec<String>,
    not_started: Vec<String>,
    dead: Vec<Undeliverable>,
}

impl Sorted {
    /// `attempt` counts the tries before this one; `usual` is the delay before the next.
    fn add(&mut self, name: String, outcome: DeliveryOutcome, attempt: u32, usual: Duration) {
        match outcome {
            DeliveryOutcome::Accepted { .. } | DeliveryOutcome::Skipped(_) => (),
            DeliveryOutcome::NotStarted => self.not_started.push(name),
            DeliveryOutcome::Paused => self.paused.push(name),
            DeliveryOutcome::Rejected(error) => {
                let attempt = attempt + u32::from(error.status.is_some());
                self.dead.push(Undeliverable { destination: name, cause: error.into(), attempt });
            }
            DeliveryOutcome::Retry(error) | DeliveryOutcome::Misconfigured(error) => {
                match error.retry_after {
                    _ if attempt + 1 == MAX_ATTEMPTS => {
                        let attempt = attempt + 1;
                        self.dead.push(Undeliverable { destination: name, cause: error.into(), attempt });
                    }
                    Some(wait) if wait > usual => {
                        self.longest = self.longest.max(wait);
                        self.asked.push(name);
                    }
                    _ => self.tried.push(name),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::DeliveryError;
    use super::*;
    use std::time::SystemTime;

    const ACCEPTED: DeliveryOutcome =
        DeliveryOutcome::Accepted { maybe_doubled: false, at: SystemTime::UNIX_EPOCH };

    fn settled(attempt: u32, outcomes: &[(&str, DeliveryOutcome)]) -> Settlement {
        received(1, attempt, outcomes)
    }

    fn received(receives: u32, attempt: u32, outcomes: &[(&str, DeliveryOutcome)]) -> Settlement {
        settle(
            Tries { attempt, receives },
            outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect(),
            1.0,
        )
    }

    fn owed(retry_after: Option<u64>) -> DeliveryOutcome {
        let retry_after = retry_after.map(Duration::from_secs);
        DeliveryOutcome::Retry(DeliveryError { retry_after, ..DeliveryError::new("timeout") })
    }

    fn resend(names: &[&str], attempt: u32, seconds: u64) -> Resend {
        let destinations = names.iter().map(|name| (*name).to_owned()).collect();
        Resend { destinations, attempt, delay: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_nobody_owes_is_acknowledged() {
        let done = Settlement::Acknowledge { resend: vec![], dead: vec![] };
        assert_eq!(settled(0, &[]), done);
        assert_eq!(settled(0, &[("a", DeliveryOutcome::Skipped("loop"))]), done);
        assert_eq!(settled(0, &[("a", ACCEPTED), ("b", DeliveryOutcome::Skipped("loop"))]), done);
    }

    #[test]
    fn only_what_is_owed_goes_back() {
        let copies = vec![resend(&["b"], 1, 30)];
        assert_eq!(
            settled(0, &[("a", ACCEPTED), ("b", owed(None))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
        // Who asks for no more than the usual delay waits with the others.
        let copies = vec![resend(&["a", "b", "c"], 3, 120)];
        assert_eq!(
            settled(2, &[("a", owed(None)), ("b", owed(Some(5))), ("c", owed(Some(120)))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
        for (attempt, usual) in [(0, 30), (2, 120)] {
            let copies = vec![resend(&["a"], attempt + 1, usual), resend(&["b", "c"], attempt + 1, 300)];
            assert_eq!(
                settled(attempt, &[("a", owed(None)), ("b", owed(Some(300))), ("c", owed(Some(200)))]),
                Settlement::Acknowledge { resend: copies, dead: vec![] }
            );
        }
    }

    #[test]
    fn whatever_is_owed_goes_back() {
        let error = || DeliveryError::new("timeout");
        for outcome in [
            ACCEPTED,
            DeliveryOutcome::Skipped("loop"),
            DeliveryOutcome::Rejected(error()),
            DeliveryOutcome::Retry(error()),
            DeliveryOutcome::Misconfigured(error()),
            DeliveryOutcome::NotStarted,
            DeliveryOutcome::Paused,
        ] {
            // Received so often that even what was not started goes back as a copy.
            let settlement = received(3, 0, &[("a", outcome.clone())]);
            let Settlement::Acknowledge { resend, .. } = settlement else { panic!("{outcome:?}") };
            assert_eq!(outcome.is_owed(), !resend.is_empty(), "{outcome:?}");
        }
    }

    #[test]
    fn lack_of_time_is_not_held_against_an_event() {
        assert_eq!(settled(4, &[("a", DeliveryOutcome::NotStarted)]), Settlement::Return);
        assert_eq!(
            settled(4, &[("a", DeliveryOutcome::NotStarted), ("b", DeliveryOutcome::Skipped("loop"))]),
            Settlement::Return
        );
        let copies = vec![resend(&["a"], 4, 0)];
        assert_eq!(
            settled(4, &[("a", DeliveryOutcome::NotStarted), ("b", ACCEPTED)]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
    }

    #[test]
    fn receives_are_not_used_up_by_lack_of_time() {
        let unstarted = [("a", DeliveryOutcome::NotStarted), ("b", DeliveryOutcome::Skipped("loop"))];
        for receives in 0..=2 {
            assert_eq!(received(receives, 4, &unstarted), Settlement::Return, "{receives}");
        }
        for receives in [3, 4, 10, u32::MAX] {
            let copies = vec![resend(&["a"], 4, 0)];
            let copied = Settlement::Acknowledge { resend: copies, dead: vec![] };
            assert_eq!(received(receives, 4, &unstarted), copied, "{receives}");
        }
    }

    #[test]
    fn a_paused_destination_waits_without_counting() {
        let copies = vec![resend(&["b"], 1, 30), resend(&["a"], 0, 900)];
        assert_eq!(
            settled(0, &[("a", DeliveryOutcome::Paused), ("b", owed(None))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
    }

    #[test]
    fn the_last_try_ends_in_the_dead_letter_queue_with_its_reason() {
        let dead = |reason, status, attempt| {
            let cause = DeadLetterReason { reason, status, ..DeadLetterReason::default() };
            let dead = vec![Undeliverable { destination: "b".to_owned(), cause, attempt }];
            Settlement::Acknowledge { resend: vec![], dead }
        };
        let waits = Settlement::Acknowledge { resend: vec![resend(&["b"], 119, 900)], dead: vec![] };
        assert_eq!(settled(118, &[("b", owed(None))]), waits);
        assert_eq!(settled(119, &[("b", owed(None))]), dead("timeout", None, 120));
        let refused = DeliveryError { status: Some(422), ..DeliveryError::new("refused") };
        assert_eq!(settled(4, &[("b", DeliveryOutcome::Rejected(refused))]), dead("refused", Some(422), 5));
        let off = DeliveryError::new("destination_off");
        assert_eq!(settled(4, &[("b", DeliveryOutcome::Rejected(off))]), dead("destination_off", None, 4));
    }

    #[test]
    fn a_redriven_event_starts_over() {
        for attempt in [120, 121, u32::MAX] {
            let copies = vec![resend(&["b"], 1, 30)];
            assert_eq!(
                settled(attempt, &[("b", owed(None))]),
                Settlement::Acknowledge { resend: copies, dead: vec![] }
            );
        }
    }
}
