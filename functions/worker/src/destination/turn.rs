//! One destination's turn in one invocation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use relay_core::delivery::{Outcome, Trouble};

use crate::budget::Budget;

/// For one request and its answer: long enough for a slow day, and two of them stay under [`FAILING`].
const REQUEST: Duration = Duration::from_secs(4);

/// A destination that does not accept everything holds an invocation no longer than this.
const FAILING: Duration = Duration::from_secs(10);

/// A destination's turn in one invocation: how long it may take, and what has gone wrong so far.
#[derive(Debug)]
pub struct Turn<'b> {
    budget: &'b Budget,
    started: Instant,
    trouble: Mutex<Option<Trouble>>,
    requests: AtomicUsize,
}

impl<'b> Turn<'b> {
    /// Begins now.
    pub fn new(budget: &'b Budget) -> Self {
        Turn { budget, started: Instant::now(), trouble: Mutex::default(), requests: AtomicUsize::new(0) }
    }

    /// Requests made so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How long the next request may take.
    pub fn patience(&self) -> Duration {
        REQUEST.min(self.budget.longest_call)
    }

    /// Notes that the destination is not well: from now on its time is limited.
    pub fn note(&self, trouble: &Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
    }

    /// Whether there is no time for another request, as the outcome of its events.
    pub fn is_over(&self) -> Option<Outcome> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &*trouble {
            Some(trouble) if self.started.elapsed() + self.patience() > FAILING => {
                Some(Outcome::Owed(Trouble { maybe_taken: false, excerpt: None, ..trouble.clone() }))
            }
            _ if !self.budget.allows(self.patience()) => Some(Outcome::NotStarted),
            _ => None,
        }
    }
}
