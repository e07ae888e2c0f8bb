//! Nothing is lost and nothing is sent twice, whatever the destinations answer and in whatever order the queue hands
//! out what it holds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::Index;
use relay_core::delivery::{
    DeliveryError, DeliveryOutcome, MAX_ATTEMPTS, MAX_DELAY, Settlement, Tries, settle,
};

const DESTINATIONS: [&str; 3] = ["segment", "vero_track", "archive"];

/// A message in the queue.
#[derive(Clone, Debug)]
struct QueuedMessage {
    destinations: Vec<String>,
    attempt: u32,
    receives: u32,
}

/// Where an event ends at a destination.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FinalState {
    Accepted,
    Skipped,
    Dead,
}

fn outcome() -> impl Strategy<Value = DeliveryOutcome> {
    let error = (any::<bool>(), prop::option::of(0_u64..2_000)).prop_map(|(maybe_taken, wait)| {
        let retry_after = wait.map(Duration::from_secs);
        DeliveryOutcome::Retry(DeliveryError { maybe_taken, retry_after, ..DeliveryError::new("timeout") })
    });
    let refused = prop::option::of(400_u16..500).prop_map(|status| {
        DeliveryOutcome::Rejected(DeliveryError { status, ..DeliveryError::new("refused") })
    });
    prop_oneof![
        1 => any::<bool>().prop_map(|maybe_doubled| DeliveryOutcome::Accepted { maybe_doubled, at: SystemTime::UNIX_EPOCH }),
        1 => Just(DeliveryOutcome::Skipped("loop")),
        1 => refused,
        6 => error,
        2 => Just(DeliveryOutcome::NotStarted),
        1 => Just(DeliveryOutcome::Paused),
    ]
}

/// What happens to the next message: which one it is, what each destination says, and the jitter.
fn turn() -> impl Strategy<Value = (Index, [DeliveryOutcome; 3], f64)> {
    (any::<Index>(), [outcome(), outcome(), outcome()], 0.0..=1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_destination_has_the_event_once_or_is_owed_it_in_one_copy(
        wanted in prop::sample::subsequence(DESTINATIONS.to_vec(), 1..=3),
        attempt in prop_oneof![Just(0), 0_u32..125],
        turns in prop::collection::vec(turn(), 0..60),
    ) {
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let mut queue = vec![QueuedMessage { destinations: wanted.clone(), attempt, receives: 0 }];
        let mut final_states: BTreeMap<String, FinalState> = BTreeMap::new();
        for (which, outcomes, random) in turns {
            if queue.is_empty() {
                break;
            }
            let mut received = queue.swap_remove(which.index(queue.len()));
            received.receives += 1;
            prop_assert!(received.receives <= 3, "returns alone bring no message near `maxReceiveCount`");
            for name in &received.destinations {
                prop_assert!(!final_states.contains_key(name), "{name} is sent what it has: {:?}", final_states[name]);
            }
            let said: Vec<(String, DeliveryOutcome)> = received.destinations.iter().cloned().zip(outcomes).collect();
            for (name, outcome) in &said {
                let end = match outcome {
                    DeliveryOutcome::Accepted { .. } => FinalState::Accepted,
                    DeliveryOutcome::Skipped(_) => FinalState::Skipped,
                    _ => continue,
                };
                final_states.insert(name.clone(), end);
            }
            let tries = Tries { attempt: received.attempt, receives: received.receives };
            match settle(tries, said.clone(), random) {
                Settlement::Return => {
                    let accepted = |(_, outcome): &(String, DeliveryOutcome)| matches!(outcome, DeliveryOutcome::Accepted { .. });
                    prop_assert!(!said.iter().any(accepted));
                    // Skipping is free of effects: it comes out the same next time.
                    final_states.retain(|name, _| !received.destinations.contains(name));
                    queue.push(received);
                }
                Settlement::Acknowledge { resend, dead } => {
                    for undeliverable in dead {
                        prop_assert!(undeliverable.attempt <= MAX_ATTEMPTS);
                        let before = final_states.insert(undeliverable.destination.clone(), FinalState::Dead);
                        prop_assert_eq!(before, None, "{} had ended already", undeliverable.destination);
                    }
                    for copy in resend {
                        prop_assert!(copy.delay <= MAX_DELAY && copy.attempt < MAX_ATTEMPTS);
                        queue.push(QueuedMessage { destinations: copy.destinations, attempt: copy.attempt, receives: 0 });
                    }
                }
            }
            for name in &wanted {
                let owed = queue.iter().flat_map(|copy| &copy.destinations).filter(|owed| *owed == name).count();
                let ended = usize::from(final_states.contains_key(name));
                prop_assert_eq!(owed + ended, 1, "{}: owed {} times, ended {} times", name, owed, ended);
            }
            prop_assert_eq!(queue.iter().map(|copy| copy.destinations.len()).sum::<usize>() + final_states.len(), wanted.len());
        }
    }

    /// A destination that never comes back costs a bounded number of tries, each counted.
    #[test]
    fn an_outage_without_end_ends_in_the_dead_letter_queue(random in 0.0..=1.0) {
        let (mut attempt, mut waited) = (0, Duration::ZERO);
        for tries in 1..=MAX_ATTEMPTS {
            let owed = vec![("segment".to_owned(), DeliveryOutcome::Retry(DeliveryError::new("timeout")))];
            let Settlement::Acknowledge { resend, dead } = settle(Tries { attempt, receives: 1 }, owed, random) else {
                return Err(TestCaseError::fail("it was tried"));
            };
            match resend.first() {
                Some(copy) => {
                    prop_assert!(dead.is_empty());
                    prop_assert_eq!(copy.attempt, tries);
                    (attempt, waited) = (copy.attempt, waited + copy.delay);
                }
                None => {
                    prop_assert_eq!(tries, MAX_ATTEMPTS);
                    prop_assert_eq!((dead[0].attempt, dead[0].cause.reason), (MAX_ATTEMPTS, "timeout"));
                }
            }
        }
        prop_assert!(waited > Duration::from_secs(12 * 3600), "{:?}", waited);
    }
}
