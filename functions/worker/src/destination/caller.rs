//! One destination's calls: the timeout, the quick second try and the breaker that go with each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_core::delivery::{
    Admission, Breaker, DeliveryError, DeliveryOutcome, Response, Target, TransportError, outcome,
};
use relay_platform::world;

use super::context::RunContext;

/// Quick tries after the first. All further ones go through the queue.
const QUICK_TRIES: u32 = 1;

/// The longest `Retry-After` that is waited for within an invocation.
const SHORT_WAIT: Duration = Duration::from_millis(300);

/// Calls one destination, by whatever protocol.
#[derive(Debug)]
pub struct Caller {
    drops_repeats: bool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    breaker: Breaker,
    /// The outage that the breaker remembers, for the events that it holds back.
    last: Option<DeliveryError>,
}

impl Caller {
    /// `drops_repeats`: a request which was sent twice at once and then accepted has not doubled anything there. Segment
    /// drops it by its `messageId` for 24 hours, Vero an event by name, identity and data for minutes; a profile is the same
    /// after the second change as after the first.
    pub fn new(drops_repeats: bool) -> Self {
        Caller { drops_repeats, health: Mutex::default() }
    }

    /// Whether the next call would be the one that tries whether the destination is back.
    pub fn is_on_trial(&self) -> bool {
        self.health().breaker.peek(world::now()) == Admission::Trial
    }

    /// Makes a call, with a quick second try if that is worth it. `send` makes one request, which may take so long;
    /// `part` is the destination's part for which requests are counted, and `target` says what it means that there is
    /// nothing where they go.
    pub async fn call<F: Future<Output = Result<Response, TransportError>> + Send>(
        &self,
        context: &RunContext<'_>,
        part: &'static str,
        target: Target,
        send: impl Fn(Duration) -> F,
    ) -> DeliveryOutcome {
        let mut owed: Option<DeliveryError> = None;
        for quick_try in 0..=QUICK_TRIES {
            if let Some(obstacle) = self.obstacle(context) {
                return owed.map_or(obstacle, DeliveryOutcome::Retry);
            }
            context.count(part);
            let outcome = outcome(send(context.timeout()).await, target, world::now());
            self.record(&outcome);
            let maybe_taken_before = owed.as_ref().is_some_and(|earlier| earlier.maybe_taken);
            let error = match outcome {
                DeliveryOutcome::Accepted { maybe_doubled: is_repeated, at } => {
                    let maybe_doubled = is_repeated && !self.drops_repeats;
                    let accepted = DeliveryOutcome::Accepted { maybe_doubled, at };
                    return accepted.after(maybe_taken_before);
                }
                DeliveryOutcome::Misconfigured(error) => {
                    context.note(&error);
                    if matches!(error.status, Some(401 | 403)) {
                        context.count_unauthorized(part);
                    }
                    return DeliveryOutcome::Misconfigured(error).after(maybe_taken_before);
                }
                DeliveryOutcome::Retry(error) => error,
                decided => return decided.after(maybe_taken_before),
            };
            context.note(&error);
            let pause = error.retry_after.unwrap_or(SHORT_WAIT);
            let maybe_taken = error.maybe_taken || maybe_taken_before;
            owed = Some(DeliveryError { maybe_taken, ..error });
            if pause > SHORT_WAIT || quick_try == QUICK_TRIES {
                break;
            }
            tokio::time::sleep(pause.mul_f64(0.3 + 0.7 * world::fraction())).await;
        }
        owed.map_or(DeliveryOutcome::NotStarted, DeliveryOutcome::Retry)
    }

    /// Why a call cannot be made now, as the outcome of its events.
    fn obstacle(&self, context: &RunContext<'_>) -> Option<DeliveryOutcome> {
        let now = world::now();
        let mut health = self.health();
        if health.breaker.peek(now) == Admission::Paused {
            let last = health.last.clone().unwrap_or_else(|| DeliveryError::new("breaker_open"));
            let held_back = Some("breaker");
            // What the destination asked for began with its response, and not with this event.
            let retry_after = health.breaker.asked(now);
            let error = DeliveryError { maybe_taken: false, held_back, retry_after, ..last };
            return Some(DeliveryOutcome::Retry(error));
        }
        context.is_over().or_else(|| {
            health.breaker.admit(now);
            None
        })
    }

    fn record(&self, outcome: &DeliveryOutcome) {
        let mut health = self.health();
        match outcome {
            DeliveryOutcome::Retry(error) | DeliveryOutcome::Misconfigured(error) if error.is_outage => {
                health.breaker.failed(world::now(), error.retry_after);
                health.last = Some(DeliveryError { excerpt: None, ..error.clone() });
            }
            _ => health.breaker.succeeded(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
