//! Calls of one destination with several events each: side by side, and halved where one is refused.

use std::ops::Range;

use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{DeliveryError, DeliveryOutcome};

use super::context::RunContext;

/// No bad event is searched for with more requests than these in an invocation, the refused ones included.
const MAX_SEARCH_CALLS: usize = 64;

/// Splits items where each request ends.
pub fn split<'b, T>(items: &'b [T], ends: &[usize]) -> Vec<&'b [T]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, end)| &items[start..*end]).collect()
}

/// Sends one planned batch. A refused one is halved until the bad events are found, so that none takes others along.
/// Beside the outcomes there is the refusal of the whole batch, if it was refused.
pub async fn in_halves<'b, T, F: Future<Output = DeliveryOutcome>>(
    events: &'b [T],
    context: &RunContext<'_>,
    send: impl Fn(&'b [T]) -> F,
) -> (Vec<DeliveryOutcome>, Option<DeliveryError>) {
    let mut outcomes = vec![DeliveryOutcome::NotStarted; events.len()];
    let mut refusal: Option<DeliveryError> = None;
    // With each part whether the destination may have taken it as a part of a larger one.
    let mut todo: Vec<(Range<usize>, bool)> = vec![(0..events.len(), false)];
    while let Some((part, maybe_taken)) = todo.pop() {
        let outcome = match &refusal {
            Some(_) if context.requests() >= MAX_SEARCH_CALLS => DeliveryOutcome::NotStarted,
            _ => send(&events[part.clone()]).await,
        };
        let outcome = match (outcome, &refusal) {
            // A search that ends early has been a try all the same.
            (
                DeliveryOutcome::NotStarted
                | DeliveryOutcome::Retry(DeliveryError { held_back: Some(_), .. }),
                Some(refusal),
            ) => DeliveryOutcome::Retry(refusal.clone()).after(maybe_taken),
            (DeliveryOutcome::Rejected(error), _) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                let maybe_taken = maybe_taken || error.maybe_taken;
                todo.extend([middle..part.end, part.start..middle].map(|half| (half, maybe_taken)));
                context.note(&error);
                refusal.get_or_insert(error);
                continue;
            }
            (outcome, _) => outcome.after(maybe_taken),
        };
        outcomes[part].fill(outcome);
    }
    (outcomes, refusal)
}

/// Sends batches, up to so many side by side; when the first is the destination's trial, the others wait for it. The
/// result has the items' order and number.
pub async fn in_batches<'b, T, F: Future<Output = Vec<DeliveryOutcome>>>(
    mut batches: Vec<&'b [T]>,
    in_flight: usize,
    is_on_trial: bool,
    send: impl Fn(&'b [T]) -> F,
) -> Vec<DeliveryOutcome> {
    let mut outcomes = Vec::new();
    if is_on_trial && !batches.is_empty() {
        outcomes.extend(send(batches.remove(0)).await);
    }
    // Made before they are polled: a closure that is called within the stream is not known to be `Send`.
    let rest: Vec<F> = batches.into_iter().map(send).collect();
    let rest: Vec<_> = stream::iter(rest).buffered(in_flight).collect().await;
    outcomes.extend(rest.into_iter().flatten());
    outcomes
}
