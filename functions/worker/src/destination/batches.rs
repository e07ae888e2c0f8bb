//! Several calls of one destination, side by side.

use futures_util::stream::{self, StreamExt};
use relay_core::delivery::DeliveryOutcome;

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
