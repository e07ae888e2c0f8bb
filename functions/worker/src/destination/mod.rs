//! The destinations: one file each, and one line in [`lanes`].

mod client;
mod segment;
mod turn;
mod vero_track;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::future::BoxFuture;
use relay_core::delivery::Outcome;
use relay_core::envelope::DeathCause;

use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;
use crate::secrets::Secrets;
use crate::start::StartError;

/// All destinations' names, as they stand in envelopes.
pub const NAMES: [&str; 2] = [segment::NAME, vero_track::NAME];

/// The destinations that are on.
///
/// # Errors
/// If an HTTP client cannot be made.
pub fn lanes(config: &Config, secrets: &Secrets) -> Result<Vec<Box<dyn Lane>>, StartError> {
    let lanes = [
        lane(segment::Segment::new(config, secrets)?, config),
        lane(vero_track::VeroTrack::new(config, secrets)?, config),
    ];
    Ok(lanes.into_iter().flatten().collect())
}

fn lane<D: Destination + 'static>(destination: Option<D>, config: &Config) -> Option<Box<dyn Lane>> {
    let is_paused = config.paused.iter().any(|name| name == D::NAME);
    Some(Box::new(Running { destination: destination?, is_paused }))
}

/// A destination: what it wants of an event, and how it is told.
pub trait Destination: Send + Sync {
    /// What is sent for one event.
    type Item: Send;

    /// Its name in envelopes.
    const NAME: &'static str;

    /// Maps an event.
    ///
    /// # Errors
    /// The outcome of an event of which nothing is sent.
    fn prepare(&self, event: &Event<'_>) -> Result<Self::Item, Outcome>;

    /// Sends items; the answer has their order and their number.
    fn deliver<'a>(&'a self, items: Vec<Self::Item>, budget: &'a Budget) -> BoxFuture<'a, Vec<Outcome>>;
}

/// A destination as the worker sees it: events in, outcomes out.
pub trait Lane: Send + Sync {
    /// Its name in envelopes.
    fn name(&self) -> &'static str;

    /// Delivers events; the answer has their order and their number.
    fn run<'a>(&'a self, events: Vec<&'a Event<'a>>, budget: &'a Budget) -> BoxFuture<'a, Vec<Outcome>>;
}

struct Running<D> {
    destination: D,
    is_paused: bool,
}

impl<D: Destination> Lane for Running<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn run<'a>(&'a self, events: Vec<&'a Event<'a>>, budget: &'a Budget) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut seen = HashSet::with_capacity(events.len());
            let mut outcomes: Vec<Option<Outcome>> = vec![None; events.len()];
            let (mut items, mut places) =
                (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
            for (place, event) in events.into_iter().enumerate() {
                // SQS delivers at least once, at times twice in one batch.
                if !seen.insert(&event.envelope.id) {
                    outcomes[place] = Some(Outcome::Skipped("duplicate"));
                    continue;
                }
                // Mapping is total; should that ever be wrong, one event pays and not its batch.
                let prepared = catch_unwind(AssertUnwindSafe(|| self.destination.prepare(event)));
                let panicked =
                    |_| Err(Outcome::Dead(DeathCause { reason: "panicked", ..DeathCause::default() }));
                match prepared.unwrap_or_else(panicked) {
                    Err(outcome) => outcomes[place] = Some(outcome),
                    Ok(_) if self.is_paused => outcomes[place] = Some(Outcome::Paused),
                    Ok(item) => {
                        items.push(item);
                        places.push(place);
                    }
                }
            }
            if !items.is_empty() {
                let delivered = self.destination.deliver(items, budget).await;
                for (place, outcome) in places.into_iter().zip(delivered) {
                    outcomes[place] = Some(outcome);
                }
            }
            outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::NotStarted)).collect()
        })
    }
}
