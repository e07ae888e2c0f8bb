//! One destination's context in one invocation.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_core::delivery::{DeliveryError, DeliveryOutcome};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::event::Event;
use crate::secrets::Secrets;

/// For one request and its response: long enough for a slow day, and two of them stay under [`FAILING`].
const REQUEST: Duration = Duration::from_secs(4);

/// A destination that does not accept everything holds an invocation no longer than this.
const FAILING: Duration = Duration::from_secs(10);

/// The requests that were made under one of a destination's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub made: usize,
    /// Those whose key was refused: answered with 401 or 403.
    pub unauthorized: usize,
}

/// A destination's context in one invocation: the batch, how long it may take, with which keys, and what has happened so
/// far.
#[derive(Debug)]
pub struct RunContext<'i> {
    /// Those that are owed elsewhere, too.
    pub events: &'i [Event<'i>],
    pub secrets: &'i Secrets,
    budget: &'i Budget,
    started: Instant,
    error: Mutex<Option<DeliveryError>>,
    calls: Mutex<BTreeMap<&'static str, Calls>>,
}

impl<'i> RunContext<'i> {
    pub fn new(events: &'i [Event<'i>], budget: &'i Budget, secrets: &'i Secrets) -> Self {
        let (error, calls) = (Mutex::default(), Mutex::default());
        RunContext { events, secrets, budget, started: Instant::now(), error, calls }
    }

    pub fn requests(&self) -> usize {
        self.calls().values().map(|calls| calls.made).sum()
    }

    /// Counts a request that is made under this name.
    pub fn count(&self, name: &'static str) {
        self.calls().entry(name).or_default().made += 1;
    }

    /// Counts a response that refuses the key.
    pub fn count_unauthorized(&self, name: &'static str) {
        self.calls().entry(name).or_default().unauthorized += 1;
    }

    /// Ends; what is left are the requests that were made.
    pub fn into_calls(self) -> BTreeMap<&'static str, Calls> {
        self.calls.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<&'static str, Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the next request may take.
    pub fn timeout(&self) -> Duration {
        REQUEST.min(self.budget.longest_call)
    }

    /// Notes that the destination is not well: from now on its time is limited.
    pub fn note(&self, error: &DeliveryError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    /// Whether there is no time for another request, as the outcome of its events.
    pub fn is_over(&self) -> Option<DeliveryOutcome> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match &*error {
            Some(error) if self.started.elapsed() + self.timeout() > FAILING => {
                Some(DeliveryOutcome::Retry(DeliveryError {
                    maybe_taken: false,
                    excerpt: None,
                    held_back: Some("time"),
                    ..error.clone()
                }))
            }
            _ if !self.budget.allows(self.timeout()) => Some(DeliveryOutcome::NotStarted),
            _ => None,
        }
    }
}
