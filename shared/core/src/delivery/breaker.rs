//! A destination that is down costs an invocation milliseconds, not its time-outs.

use std::time::{Duration, SystemTime};

const THRESHOLD: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a destination may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As usual.
    Open,
    /// Once, to see whether it is back; the rest waits for that response.
    Trial,
    /// Not now.
    Paused,
}

/// Counts outages in a row, and after three pauses the calls: for 10 s, doubling to 60 s, or as long as the
/// destination asked for. Then one trial; a success closes it. By the wall clock: the process's own stands still while
/// Lambda freezes it, and a pause of a minute would last for hours.
#[derive(Debug, Default)]
pub struct Breaker {
    outages: u32,
    pause: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    since: SystemTime,
    lasts: Duration,
    /// How long it lasts if the destination asks for nothing else.
    length: Duration,
    on_trial: bool,
}

impl Pause {
    /// A clock that was set back tells nothing, so that the pause is over.
    fn is_over(&self, now: SystemTime) -> bool {
        now.duration_since(self.since).map_or(true, |passed| passed >= self.lasts)
    }
}

impl Breaker {
    /// Whether a call would be admitted now.
    pub fn peek(&self, now: SystemTime) -> Admission {
        match &self.pause {
            None => Admission::Open,
            Some(pause) if pause.is_over(now) => Admission::Trial,
            Some(_) => Admission::Paused,
        }
    }

    /// How much of a pause is left; nothing where there is none.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        let Some(pause) = &self.pause else { return Duration::ZERO };
        let passed = now.duration_since(pause.since).unwrap_or(pause.lasts);
        pause.lasts.saturating_sub(passed)
    }

    /// Admits a call or not. Of several calls at once only one is the trial; should it never report back, the
    /// next is admitted after another pause of the same length.
    pub fn admit(&mut self, now: SystemTime) -> Admission {
        let admission = self.peek(now);
        if let (Admission::Trial, Some(pause)) = (admission, &mut self.pause) {
            *pause = Pause { since: now, lasts: pause.length, length: pause.length, on_trial: true };
        }
        admission
    }

    /// A call was answered in a way that shows the destination alive.
    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// A call ran into an outage.
    pub fn failed(&mut self, now: SystemTime, retry_after: Option<Duration>) {
        self.outages = self.outages.saturating_add(1);
        let length = match &self.pause {
            Some(pause) if pause.on_trial => (pause.length * 2).min(LONGEST_PAUSE),
            // Calls that were under way when the pause began tell nothing new.
            Some(_) => return,
            None if self.outages < THRESHOLD => return,
            None => FIRST_PAUSE,
        };
        let asked = retry_after.filter(|asked| !asked.is_zero());
        self.pause = Some(Pause { since: now, lasts: asked.unwrap_or(length), length, on_trial: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_three_outages_in_a_row() {
        let (mut breaker, now) =
            (Breaker::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        for _ in 0..5 {
            breaker.failed(now, None);
            breaker.failed(now, None);
            assert_eq!(breaker.admit(now), Admission::Open);
            breaker.succeeded();
        }
        (0..3).for_each(|_| breaker.failed(now, None));
        assert_eq!(breaker.admit(now + Duration::from_millis(9_999)), Admission::Paused);
        assert_eq!(breaker.remaining(now + Duration::from_millis(9_999)), Duration::from_millis(1));
        assert_eq!(breaker.remaining(now + Duration::from_secs(11)), Duration::ZERO);
        // A clock that was set back ends the pause.
        assert_eq!(breaker.remaining(now - Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(Breaker::default().remaining(now), Duration::ZERO);
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Admission::Trial);
        breaker.succeeded();
        assert_eq!(breaker.admit(now), Admission::Open);
    }

    #[test]
    fn failed_trials_double_the_pause_up_to_a_minute() {
        let (mut breaker, mut now) =
            (Breaker::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        (0..3).for_each(|_| breaker.failed(now, None));
        for seconds in [10, 20, 40, 60, 60] {
            assert_eq!(breaker.admit(now + Duration::from_secs(seconds - 1)), Admission::Paused);
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.admit(now), Admission::Trial);
            breaker.failed(now, None);
        }
    }

    #[test]
    fn the_destination_may_ask_for_another_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (asked, lasts) in [(300, 300), (1, 1), (0, 10)] {
            let mut breaker = Breaker::default();
            (0..3).for_each(|_| breaker.failed(now, Some(Duration::from_secs(asked))));
            assert_eq!(breaker.admit(now + Duration::from_secs(lasts - 1)), Admission::Paused);
            assert_eq!(breaker.admit(now + Duration::from_secs(lasts)), Admission::Trial);
        }
    }

    #[test]
    fn of_many_calls_one_is_the_trial() {
        let (mut breaker, now) =
            (Breaker::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        (0..3).for_each(|_| breaker.failed(now, None));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.peek(later), Admission::Trial);
        assert_eq!(breaker.admit(later), Admission::Trial);
        assert_eq!(breaker.admit(later), Admission::Paused);
        assert_eq!(
            breaker.admit(later + FIRST_PAUSE),
            Admission::Trial,
            "the trial was never heard of again"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_ends_the_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.failed(now, None));
        assert_eq!(breaker.peek(now - Duration::from_secs(3_600)), Admission::Trial);
    }

    #[test]
    fn calls_under_way_do_not_prolong_the_pause() {
        let (mut breaker, now) =
            (Breaker::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        (0..20).for_each(|_| breaker.failed(now, None));
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Admission::Trial);
    }
}
