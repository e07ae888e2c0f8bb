//! How fast events go out.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Keeps to a number of events a second. It does not catch up after a pause. One batch goes out at once, so a batch may
/// have no more events than [`Self::burst`].
#[derive(Debug)]
pub struct RateLimiter {
    per_second: u32,
    next: Instant,
}

impl RateLimiter {
    pub fn new(per_second: u32) -> Self {
        RateLimiter { per_second: per_second.max(1), next: Instant::now() }
    }

    /// The most that may go out at once.
    pub fn burst(&self) -> usize {
        self.per_second as usize
    }

    /// Waits until a batch of `count` events may go out.
    pub async fn turn(&mut self, count: usize) {
        sleep_until(self.next).await;
        let takes = Duration::from_secs(1) * u32::try_from(count).unwrap_or(u32::MAX) / self.per_second;
        self.next = Instant::now() + takes;
    }

    /// Waits until the next invocation may begin with a batch of its own.
    pub async fn rest(&self) {
        sleep_until(self.next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_events_than_allowed() {
        for (per_second, batch) in [(1, 1), (100, 7), (100, 100), (10_000, 160)] {
            let mut rate_limiter = RateLimiter::new(per_second);
            let mut sent = Vec::new();
            let start = Instant::now();
            while sent.len() < 20 * batch {
                rate_limiter.turn(batch).await;
                sent.extend(std::iter::repeat_n(start.elapsed().as_secs_f64(), batch));
                if sent.len() == 5 * batch {
                    tokio::time::sleep(Duration::from_secs(30)).await; // no catching up
                }
            }
            for (index, from) in sent.iter().enumerate() {
                let within = sent[index..].iter().filter(|time| **time < from + 0.999).count();
                assert!(within <= per_second as usize + batch, "{within} in a second from {from}");
            }
            let needed = (sent.len() - batch) as f64 / f64::from(per_second);
            assert!(sent.last().unwrap() - 30.0 <= needed + 0.1, "no slower than it must be");
        }
    }
}
