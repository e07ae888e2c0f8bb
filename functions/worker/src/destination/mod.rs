//! The destinations: one file each, and one line in [`runners`].

mod archive;
mod caller;
mod client;
mod connections;
mod context;
mod segment;
mod vero_track;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::DeliveryOutcome;
use relay_core::envelope::{DeadLetterReason, Source};
use relay_platform::aws::Aws;

use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;
use crate::secrets::Secrets;
use crate::start::StartError;
pub use context::Calls;
use context::RunContext;

/// All destinations' names, as they stand in envelopes and in `PAUSED_DESTINATIONS`.
pub const NAMES: [&str; 3] =
    [name::<segment::Segment>(), name::<vero_track::VeroTrack>(), name::<archive::Archive>()];

/// The names under which events are owed: the destinations' and those of parts of a delivery.
pub fn parts() -> impl Iterator<Item = &'static str> {
    [segment::Segment::NAMES, vero_track::VeroTrack::NAMES, archive::Archive::NAMES]
        .into_iter()
        .flatten()
        .copied()
}

/// Where an event goes that no destination is there for: to the dead-letter queue, in this one's name.
pub const HOME_OF_FIRST_PARTY: &str = name::<vero_track::VeroTrack>();

/// The destinations that are on.
///
/// # Errors
/// If an HTTP client cannot be made.
pub fn runners(config: &Config, aws: &Aws) -> Result<Vec<Box<dyn Runner>>, StartError> {
    let runners = [
        runner(segment::Segment::new(config)?, config),
        runner(vero_track::VeroTrack::new(config)?, config),
        runner(archive::Archive::new(config, aws), config),
    ];
    Ok(runners.into_iter().flatten().collect())
}

const fn name<D: Destination>() -> &'static str {
    D::NAMES[0]
}

fn runner<D: Destination + 'static>(destination: Option<D>, config: &Config) -> Option<Box<dyn Runner>> {
    let is_paused = config.paused.iter().any(|paused| paused == name::<D>());
    Some(Box::new(DestinationRunner { destination: destination?, is_paused }))
}

/// Sends batches, up to so many side by side; when the first is the destination's trial, the others wait for it. The
/// answer has the items' order and number.
async fn in_batches<'b, T, F: Future<Output = Vec<DeliveryOutcome>>>(
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

/// What became of an event, by the names under which it was owed.
pub type Outcomes = Vec<(&'static str, DeliveryOutcome)>;

/// What came of a runner's work.
#[derive(Debug)]
pub struct RunReport {
    /// What became of the events, in their order and number.
    pub told: Vec<Outcomes>,
    /// The requests that were made, by the names under which they were.
    pub calls: BTreeMap<&'static str, Calls>,
}

/// A destination: what it wants of an event, and how it is told.
pub trait Destination: Send + Sync {
    /// What is sent for one event.
    type Item: Send;

    /// Its name in envelopes, and then the names of parts of a delivery that may be owed alone.
    const NAMES: &'static [&'static str];

    /// Where events come from that it is told of without being named.
    const SOURCES: &'static [Source];

    /// Maps an event of which these names are owed.
    ///
    /// # Errors
    /// What became of an event of which nothing is sent.
    fn prepare(
        &self,
        event: &Event<'_>,
        owed: &[&'static str],
        secrets: &Secrets,
    ) -> Result<Self::Item, Outcomes>;

    /// Sends items; the answer has their order and their number.
    fn deliver<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a RunContext<'a>,
    ) -> BoxFuture<'a, Vec<Outcomes>>;

    /// While the operator holds the destination back: where nothing is told, an item is paused.
    fn hold(&self, _items: Vec<Self::Item>) -> Vec<Outcomes> {
        Vec::new()
    }
}

/// A destination as the worker sees it: events in, outcomes out.
pub trait Runner: Send + Sync {
    /// Its names in envelopes.
    fn names(&self) -> &'static [&'static str];

    /// Those of its names under which it is owed an event.
    fn owed(&self, event: &Event<'_>) -> Vec<&'static str>;

    /// Delivers events that it is owed.
    fn run<'a>(
        &'a self,
        events: Vec<&'a Event<'a>>,
        budget: &'a Budget,
        secrets: &'a Secrets,
    ) -> BoxFuture<'a, RunReport>;
}

struct DestinationRunner<D> {
    destination: D,
    is_paused: bool,
}

impl<D: Destination> Runner for DestinationRunner<D> {
    fn names(&self) -> &'static [&'static str] {
        D::NAMES
    }

    fn owed(&self, event: &Event<'_>) -> Vec<&'static str> {
        let by_default = |owed: &str| owed == name::<D>() && D::SOURCES.contains(&event.envelope.source);
        D::NAMES
            .iter()
            .copied()
            .filter(|name| event.names(name).unwrap_or_else(|| by_default(name)))
            .collect()
    }

    fn run<'a>(
        &'a self,
        events: Vec<&'a Event<'a>>,
        budget: &'a Budget,
        secrets: &'a Secrets,
    ) -> BoxFuture<'a, RunReport> {
        Box::pin(async move {
            let context = RunContext::new(budget, secrets);
            let mut seen = HashSet::with_capacity(events.len());
            let mut all = vec![Outcomes::new(); events.len()];
            let (mut items, mut places) =
                (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
            for (place, event) in events.into_iter().enumerate() {
                let owed = self.owed(event);
                let told = |outcome: DeliveryOutcome| -> Outcomes {
                    owed.iter().map(|name| (*name, outcome.clone())).collect()
                };
                // SQS delivers at least once, at times twice in one batch. What differs is another event: several
                // mappings of one Webhooks destination may share a messageId.
                if !seen.insert((&event.envelope.id, owed.clone(), event.envelope.payload.text())) {
                    all[place] = told(DeliveryOutcome::Skipped("duplicate"));
                    continue;
                }
                // Mapping is total; should that ever be wrong, one event pays and not its batch.
                let prepared =
                    catch_unwind(AssertUnwindSafe(|| self.destination.prepare(event, &owed, secrets)));
                let panicked = |_| Err(told(DeliveryOutcome::Rejected(DeadLetterReason::new("panicked"))));
                match prepared.unwrap_or_else(panicked) {
                    Err(told) => all[place] = told,
                    Ok(item) => {
                        // Whatever is not told of otherwise is still owed.
                        all[place] = told(if self.is_paused {
                            DeliveryOutcome::Paused
                        } else {
                            DeliveryOutcome::NotStarted
                        });
                        items.push(item);
                        places.push(place);
                    }
                }
            }
            if !items.is_empty() {
                let delivered = match self.is_paused {
                    true => self.destination.hold(items),
                    false => self.destination.deliver(items, &context).await,
                };
                for (place, told) in places.into_iter().zip(delivered).filter(|(_, told)| !told.is_empty()) {
                    all[place] = told;
                }
            }
            RunReport { told: all, calls: context.into_calls() }
        })
    }
}
