//! From what became of an event at each destination to what happens to its message.

use std::time::Duration;

use super::answer::Trouble;
use super::backoff::{MAX_ATTEMPTS, MAX_DELAY, delay};
use crate::envelope::DeathCause;

/// What became of an event at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Accepted,
    /// The destination does not want it; a snake_case code tells why.
    Skipped(&'static str),
    /// It was tried, or would have been but for the breaker: it is owed.
    Owed(Trouble),
    /// There was no time for it: owed, and not its fault.
    NotStarted,
    /// The operator holds the destination back: owed, and not its fault.
    Paused,
    /// The destination will never take it.
    Dead(DeathCause),
}

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
    /// Nothing was done for lack of time: the received message itself comes back at once.
    Return,
    /// These are sent, and then the received message is acknowledged.
    Acknowledge {
        /// Copies for the queue; no destination is in two of them.
        resend: Vec<Resend>,
        /// Entries for the dead-letter queue, one a destination.
        dead: Vec<(String, DeathCause)>,
    },
}

/// Decides what happens to a message whose event has been tried `attempt` times before. `random`, from 0 to 1,
/// spreads the retries.
pub fn settle(attempt: u32, outcomes: Vec<(String, Outcome)>, random: f64) -> Settlement {
    let idle = |outcome: &Outcome| matches!(outcome, Outcome::NotStarted | Outcome::Skipped(_));
    let waits = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::NotStarted);
    if waits && outcomes.iter().all(|(_, outcome)| idle(outcome)) {
        return Settlement::Return;
    }
    let (mut tried, mut paused, mut not_started, mut dead) = (vec![], vec![], vec![], vec![]);
    let mut longest: Option<Duration> = None;
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Accepted | Outcome::Skipped(_) => (),
            Outcome::NotStarted => not_started.push(name),
            Outcome::Paused => paused.push(name),
            Outcome::Dead(cause) => dead.push((name, cause)),
            Outcome::Owed(trouble) if attempt + 1 >= MAX_ATTEMPTS => {
                let Trouble { reason, status, excerpt, .. } = trouble;
                dead.push((name, DeathCause { reason, status, excerpt, truncated: false }));
            }
            Outcome::Owed(trouble) => {
                longest = longest.max(trouble.retry_after);
                tried.push(name);
            }
        }
    }
    let copies = [
        (tried, attempt + 1, delay(attempt + 1, longest, random)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(attempt: u32, outcomes: &[(&str, Outcome)]) -> Settlement {
        settle(
            attempt,
            outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect(),
            1.0,
        )
    }

    fn owed(retry_after: Option<u64>) -> Outcome {
        let retry_after = retry_after.map(Duration::from_secs);
        Outcome::Owed(Trouble { retry_after, ..Trouble::internal("timeout") })
    }

    fn resend(names: &[&str], attempt: u32, seconds: u64) -> Resend {
        let destinations = names.iter().map(|name| (*name).to_owned()).collect();
        Resend { destinations, attempt, delay: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_nobody_owes_is_acknowledged() {
        let done = Settlement::Acknowledge { resend: vec![], dead: vec![] };
        assert_eq!(settled(0, &[]), done);
        assert_eq!(settled(0, &[("a", Outcome::Accepted), ("b", Outcome::Skipped("loop"))]), done);
    }

    #[test]
    fn only_what_is_owed_goes_back() {
        let copies = vec![resend(&["b"], 1, 30)];
        assert_eq!(
            settled(0, &[("a", Outcome::Accepted), ("b", owed(None))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
        let copies = vec![resend(&["a", "b"], 3, 200)];
        assert_eq!(
            settled(2, &[("a", owed(None)), ("b", owed(Some(200)))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
    }

    #[test]
    fn lack_of_time_is_not_held_against_an_event() {
        assert_eq!(
            settled(4, &[("a", Outcome::NotStarted), ("b", Outcome::Skipped("loop"))]),
            Settlement::Return
        );
        let copies = vec![resend(&["a"], 4, 0)];
        assert_eq!(
            settled(4, &[("a", Outcome::NotStarted), ("b", Outcome::Accepted)]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
    }

    #[test]
    fn a_paused_destination_waits_without_counting() {
        let copies = vec![resend(&["b"], 1, 30), resend(&["a"], 0, 900)];
        assert_eq!(
            settled(0, &[("a", Outcome::Paused), ("b", owed(None))]),
            Settlement::Acknowledge { resend: copies, dead: vec![] }
        );
    }

    #[test]
    fn the_last_try_ends_in_the_dead_letter_queue_with_its_reason() {
        let cause = DeathCause { reason: "timeout", ..DeathCause::default() };
        let dead = vec![("b".to_owned(), cause)];
        assert_eq!(
            settled(118, &[("b", owed(None))]),
            Settlement::Acknowledge { resend: vec![resend(&["b"], 119, 900)], dead: vec![] }
        );
        assert_eq!(settled(119, &[("b", owed(None))]), Settlement::Acknowledge { resend: vec![], dead });
    }
}
