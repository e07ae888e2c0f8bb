//! What a destination has to be able to do, and who has it do that for a batch.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::future::BoxFuture;
use relay_core::delivery::DeliveryOutcome;
use relay_core::destinations::DestinationRow;
use relay_core::endpoints::Reach;
use relay_core::names::Naming;
use relay_platform::aws::Aws;

use super::context::{Calls, RunContext};
use crate::budget::Budget;
use crate::event::Event;
use crate::secrets::Secrets;
use crate::start::StartError;

/// What became of an event, by the names of the parts that it was owed as.
pub type Outcomes = Vec<(&'static str, DeliveryOutcome)>;

/// What a destination is started with.
pub struct Setup<'s> {
    /// What an event is owed to: the row's name, or of an endpoint its own.
    pub name: &'static str,
    /// The base URL without a trailing slash, the delivery stream's name, or that of the endpoint in the settings.
    pub address: &'s str,
    /// Which addresses an endpoint may have.
    pub reach: Reach,
    pub naming: &'s Naming,
    /// For destinations that are a service of AWS.
    pub aws: &'s Aws,
}

/// A destination: what it is sent of an event, and how.
pub trait Destination: Send + Sync + Sized {
    type Item: Send;

    const ROW: &'static DestinationRow;

    /// Makes its client; nothing is called yet.
    ///
    /// # Errors
    /// If an HTTP client cannot be made.
    fn start(setup: &Setup<'_>) -> Result<Self, StartError>;

    /// Maps an event of which these parts are owed.
    ///
    /// # Errors
    /// What became of an event of which nothing is sent.
    fn prepare(
        &self,
        event: &Event<'_>,
        owed: &[&'static str],
        secrets: &Secrets,
    ) -> Result<Self::Item, Outcomes>;

    /// Sends items; the result has their order and their number.
    fn deliver<'a>(
        &'a self,
        items: Vec<Self::Item>,
        context: &'a RunContext<'a>,
    ) -> BoxFuture<'a, Vec<Outcomes>>;

    /// While the operator pauses the destination: an item without an outcome is paused.
    fn hold(&self, _items: Vec<Self::Item>, _context: &RunContext<'_>) -> Vec<Outcomes> {
        Vec::new()
    }
}

/// A destination as the worker sees it: a batch's events in, outcomes out.
pub trait Runner: Send + Sync {
    /// What an event can be owed to here: the names of the row's parts, or that of the endpoint.
    fn names(&self) -> &[&'static str];

    /// Delivers those of the events that the destination is owed.
    fn run<'a>(
        &'a self,
        events: &'a [Event<'a>],
        budget: &'a Budget,
        secrets: &'a Secrets,
    ) -> BoxFuture<'a, RunReport>;
}

#[derive(Debug)]
pub struct RunReport {
    /// What became of the events that were owed, by their index in the batch.
    pub outcomes: Vec<(usize, Outcomes)>,
    /// The requests that were made, by the part that they were made for.
    pub calls: BTreeMap<&'static str, Calls>,
}

pub struct DestinationRunner<D> {
    pub destination: D,
    /// The first is what a new event is owed.
    pub names: Vec<&'static str>,
    pub is_paused: bool,
}

impl<D: Destination> Runner for DestinationRunner<D> {
    fn names(&self) -> &[&'static str] {
        &self.names
    }

    fn run<'a>(
        &'a self,
        events: &'a [Event<'a>],
        budget: &'a Budget,
        secrets: &'a Secrets,
    ) -> BoxFuture<'a, RunReport> {
        Box::pin(async move {
            let context = RunContext::new(events, budget, secrets);
            let mut outcomes = Vec::new();
            let (mut items, mut prepared) = (Vec::new(), Vec::new());
            let mut seen = HashSet::new();
            for (index, event) in events.iter().enumerate() {
                let owed = self.owed(event);
                if owed.is_empty() {
                    continue;
                }
                // SQS delivers at least once, at times twice in one batch. What differs is another event: several
                // mappings of one Webhooks destination may share a messageId.
                if !seen.insert((&event.envelope.id, owed.clone(), event.envelope.payload.text())) {
                    outcomes.push((index, of_all(&owed, &DeliveryOutcome::Skipped("duplicate"))));
                    continue;
                }
                match self.prepare(event, &owed, secrets) {
                    Ok(item) => {
                        items.push(item);
                        prepared.push((index, owed));
                    }
                    Err(decided) => outcomes.push((index, decided)),
                }
            }
            let (delivered, otherwise) = match (items.is_empty(), self.is_paused) {
                (true, _) => (Vec::new(), DeliveryOutcome::NotStarted),
                (false, true) => (self.destination.hold(items, &context), DeliveryOutcome::Paused),
                (false, false) => {
                    (self.destination.deliver(items, &context).await, DeliveryOutcome::NotStarted)
                }
            };
            let mut delivered = delivered.into_iter();
            outcomes.extend(prepared.into_iter().map(|(index, owed)| {
                let outcomes = delivered.next().filter(|outcomes| !outcomes.is_empty());
                // Whatever has no outcome is still owed.
                (index, outcomes.unwrap_or_else(|| of_all(&owed, &otherwise)))
            }));
            RunReport { outcomes, calls: context.into_calls() }
        })
    }
}

impl<D: Destination> DestinationRunner<D> {
    /// What an event is owed here: what its envelope names, or of a new one the first.
    fn owed(&self, event: &Event<'_>) -> Vec<&'static str> {
        let is_new_to = |name| self.names.first() == Some(name) && D::ROW.takes(event.envelope.source);
        { self.names.iter() }
            .filter(|name| event.names(name).unwrap_or_else(|| is_new_to(name)))
            .copied()
            .collect()
    }

    /// Mapping is total; should that ever be wrong, one event pays and not its batch.
    fn prepare(
        &self,
        event: &Event<'_>,
        owed: &[&'static str],
        secrets: &Secrets,
    ) -> Result<D::Item, Outcomes> {
        let prepare = || self.destination.prepare(event, owed, secrets);
        catch_unwind(AssertUnwindSafe(prepare))
            .unwrap_or_else(|_| Err(of_all(owed, &DeliveryOutcome::rejected("panicked"))))
    }
}

fn of_all(parts: &[&'static str], outcome: &DeliveryOutcome) -> Outcomes {
    parts.iter().map(|part| (*part, outcome.clone())).collect()
}
