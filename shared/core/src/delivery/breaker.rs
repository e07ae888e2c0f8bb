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
    /// By the destination.
    is_asked: bool,
}

impl Pause {
    /// A clock that was set back tells nothing, so that nothing is left.
    fn remaining(&self, now: SystemTime) -> Duration {
        let passed = now.duration_since(self.since).unwrap_or(self.lasts);
        self.lasts.saturating_sub(passed)
    }
}

impl Breaker {
    /// Whether a call would be admitted now.
    pub fn peek(&self, now: SystemTime) -> Admission {
        match &self.pause {
            None => Admission::Open,
            Some(pause) if pause.remaining(now).is_zero() => Admission::Trial,
            Some(_) => Admission::Paused,
        }
    }

    /// What is left of a pause that the destination itself asked for.
    pub fn asked(&self, now: SystemTime) -> Option<Duration> {
        self.pause.as_ref().filter(|pause| pause.is_asked).map(|pause| pause.remaining(now))
    }

    /// Admits a call or not. Of several calls at once only one is the trial; should it never report back, the
    /// next is admitted after another pause of the same length.
    pub fn admit(&mut self, now: SystemTime) -> Admission {
        let admission = self.peek(now);
        if let (Admission::Trial, Some(pause)) = (admission, &mut self.pause) {
            let length = pause.length;
            *pause = Pause { since: now, lasts: length, length, on_trial: true, is_asked: false };
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
            // Calls that were under way when the pause began tell nothing new, but for a longer wait.
            Some(pause) if retry_after.is_none_or(|asked| asked <= pause.remaining(now)) => return,
            Some(pause) => pause.length,
            None if self.outages < THRESHOLD => return,
            None => FIRST_PAUSE,
        };
        let asked = retry_after.filter(|asked| !asked.is_zero());
        self.pause = Some(Pause {
            since: now,
            lasts: asked.unwrap_or(length),
            length,
            on_trial: false,
            is_asked: asked.is_some(),
        });
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
        assert_eq!(breaker.asked(now), None, "nobody asked for it");
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
    fn what_is_left_of_a_wait_that_was_asked_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let seconds = Duration::from_secs;
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.failed(now, None));
        assert_eq!(breaker.asked(now), None);
        // A call that was under way.
        breaker.failed(now + seconds(1), Some(seconds(600)));
        assert_eq!(breaker.asked(now + seconds(101)), Some(seconds(500)));
        breaker.failed(now + seconds(102), Some(seconds(30)));
        breaker.failed(now + seconds(102), None);
        assert_eq!(breaker.asked(now + seconds(600)), Some(seconds(1)));
        assert_eq!(breaker.peek(now + seconds(600)), Admission::Paused);
        assert_eq!(breaker.asked(now + seconds(700)), Some(Duration::ZERO));
        // A clock that was set back ends the pause.
        assert_eq!(breaker.asked(now), Some(Duration::ZERO));
        assert_eq!(breaker.admit(now + seconds(601)), Admission::Trial);
        assert_eq!(breaker.asked(now + seconds(601)), None, "the trial is ours");
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
