//! A newsletter to five million people, on paper: what queues where, and for how long, at which concurrency.
//!
//! Second by second: webhooks come, the worker takes batches as far as its concurrency goes, and Segment takes up to
//! 1,000 events a second (its documentation, "Rate limits"); what is over goes back to the queue and is tried again.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::cost::{Assumed, Measured};

const RECIPIENTS: f64 = 5e6;

/// Sent and delivered, for each recipient, spread over so long.
const SENDING_S: usize = 600;

/// Opens, by this share of the recipients, fade over a day.
const OPENED: f64 = 0.4;
const FADING_S: f64 = 6.0 * 3_600.0;

/// Segment's limit for a workspace, in events a second.
const SEGMENT: f64 = 1_000.0;

/// As in the template.
const BATCH: usize = 100;

/// Lambda's pollers begin with five batches side by side and add 300 a minute (developer guide, "Scaling").
const FIRST_BATCHES: f64 = 5.0;
const MORE_BATCHES: f64 = 5.0;

/// The first delays of what is owed: 30 s, then doubled, as a mean of their random half.
const DELAYS_S: [usize; 6] = [22, 45, 90, 180, 360, 675];

/// The most seconds looked at: a week, as long as the queue keeps messages.
const LIMIT_S: usize = 7 * 86_400;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Simulated {
    /// The most messages in the queue.
    deepest: f64,
    /// Until the first two waves were delivered everywhere.
    drained: Duration,
    /// The longest that an event waited for its first try.
    longest_wait: Duration,
    /// Of all tries at Segment, those that were over its limit.
    refused: f64,
    /// The most calls to Vero in a second.
    vero: f64,
}

/// Webhooks that come in this second.
fn arrivals(second: usize) -> f64 {
    let sending = if second < SENDING_S { 2.0 * RECIPIENTS / SENDING_S as f64 } else { 0.0 };
    let opens = RECIPIENTS * OPENED / FADING_S * (-(second as f64) / FADING_S).exp();
    sending + opens
}

fn simulate(concurrency: usize, measured: &Measured, assumed: &Assumed) -> Simulated {
    let batch_s = assumed.batch(BATCH as f64, measured.worker).as_secs_f64();
    let (mut came, mut tried, mut fresh) = (0.0, 0.0, 0.0);
    let mut owed: VecDeque<[f64; DELAYS_S.len()]> = VecDeque::from(vec![[0.0; DELAYS_S.len()]; 700]);
    let mut waiting = [0.0; DELAYS_S.len()];
    let mut arrived: VecDeque<(usize, f64)> = VecDeque::new();
    let mut outcome = Simulated {
        deepest: 0.0,
        drained: Duration::ZERO,
        longest_wait: Duration::ZERO,
        refused: 0.0,
        vero: 0.0,
    };
    let (mut tries, mut refusals) = (0.0, 0.0);
    for second in 0..LIMIT_S {
        let new = arrivals(second);
        came += new;
        fresh += new;
        arrived.push_back((second, came));
        let due = owed.pop_front().unwrap_or_default();
        owed.push_back([0.0; DELAYS_S.len()]);
        for (waiting, due) in waiting.iter_mut().zip(due) {
            *waiting += due;
        }
        let batches = (FIRST_BATCHES + MORE_BATCHES * second as f64).min(concurrency as f64);
        let capacity = batches * BATCH as f64 / batch_s;
        let queued = fresh + waiting.iter().sum::<f64>();
        let taken = capacity.min(queued);
        // A queue hands out in no order: old and new alike.
        let share = if queued > 0.0 { taken / queued } else { 0.0 };
        let first_tries = fresh * share;
        fresh -= first_tries;
        tried += first_tries;
        let accepted = if taken > 0.0 { (SEGMENT / taken).min(1.0) } else { 1.0 };
        tries += taken;
        refusals += taken * (1.0 - accepted);
        outcome.vero = outcome.vero.max(first_tries);
        let mut again = [0.0; DELAYS_S.len()];
        again[0] = first_tries * (1.0 - accepted);
        for (level, waiting) in waiting.iter_mut().enumerate() {
            let retried = *waiting * share;
            *waiting -= retried;
            again[(level + 1).min(DELAYS_S.len() - 1)] += retried * (1.0 - accepted);
        }
        for (level, events) in again.into_iter().enumerate() {
            owed[DELAYS_S[level]][level] += events;
        }
        while arrived.front().is_some_and(|(_, until)| *until <= tried + 0.5) {
            if let Some((came_at, _)) = arrived.pop_front() {
                outcome.longest_wait =
                    outcome.longest_wait.max(Duration::from_secs((second - came_at) as u64));
            }
        }
        let depth = fresh + waiting.iter().sum::<f64>() + owed.iter().flatten().sum::<f64>();
        outcome.deepest = outcome.deepest.max(depth);
        if second > SENDING_S && depth < SEGMENT {
            outcome.drained = Duration::from_secs(second as u64);
            break;
        }
    }
    outcome.refused = if tries > 0.0 { refusals / tries } else { 0.0 };
    outcome
}

/// The table, with what the template's defaults follow from.
pub fn render(measured: &Measured, assumed: &Assumed) -> Result<String> {
    let mut out = String::new();
    let peak = arrivals(0);
    let ingest = peak * (measured.ingest + assumed.sqs).as_secs_f64();
    writeln!(
        out,
        "A newsletter to 5 million: {peak:.0} webhooks a second for 10 minutes keep {ingest:.0} executions of ingest \
         busy. Lambda takes ten times an account's concurrency in requests a second, so that it needs a quota of \
         {:.0}.",
        (peak / 10.0).ceil().max(ingest),
    )?;
    writeln!(
        out,
        "{:>11}{:>14}{:>12}{:>14}{:>16}{:>14}",
        "concurrency", "in the queue", "drained", "longest wait", "over Segment's", "Vero, peak"
    )?;
    for concurrency in [2, 5, 10, 20, 50, 100] {
        let outcome = simulate(concurrency, measured, assumed);
        let hours = |time: Duration| format!("{:.1} h", time.as_secs_f64() / 3_600.0);
        writeln!(
            out,
            "{concurrency:>11}{:>12.1} M{:>12}{:>14}{:>14.0} %{:>12.0}/s",
            outcome.deepest / 1e6,
            hours(outcome.drained),
            hours(outcome.longest_wait),
            outcome.refused * 100.0,
            outcome.vero,
        )?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::tests::MEASURED;

    fn at(concurrency: usize) -> Simulated {
        simulate(concurrency, &MEASURED, &Assumed::default())
    }

    #[test]
    fn below_segment_s_limit_concurrency_decides_and_above_it_segment() {
        let [two, ten, hundred] = [2, 10, 100].map(at);
        assert!(two.drained > ten.drained * 3, "{two:?} {ten:?}");
        // Ten million and some, at a thousand a second.
        let bound = Duration::from_secs(10_000);
        assert!(ten.drained > bound && hundred.drained > bound && hundred.drained < ten.drained * 2);
        assert_eq!(two.refused, 0.0);
        assert!(hundred.refused > 0.2, "{hundred:?}");
    }

    #[test]
    fn all_that_comes_is_counted() {
        let total: f64 = (0..86_400).map(arrivals).sum();
        assert!((total / (2.0 * RECIPIENTS) - 1.2).abs() < 0.01, "{total}");
    }
}
