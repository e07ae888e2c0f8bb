//! `worker` drains the queue and delivers each event to every destination that it is owed to.
//!
//! The way of a batch, in the order of the modules:
//!
//! 1. `batch`: Lambda's records to messages; at the end the partial batch response.
//! 2. `event`: a message to an event, or to the reason why it is none.
//! 3. `secrets`: the destinations' keys and the blueprint, read again as they grow old.
//! 4. `destination`: every destination side by side, each on its own terms, within the time of `budget`.
//! 5. [`relay_core::delivery::settle`]: from the outcomes to what happens to a message.
//! 6. `settlement`: sends what is owed or dead before it acknowledges what was received. Beside it `delivery_log`
//!    writes down what became of each event.
//! 7. `batch_metrics`: one line a batch, and one a failure.
//!
//! `config` and `start` are what comes before the first batch.

mod batch;
mod batch_metrics;
mod budget;
mod config;
mod delivery_log;
mod destination;
mod event;
mod secrets;
mod settlement;
mod start;

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use relay_core::delivery::DeliveryOutcome;
use relay_core::destinations;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use relay_platform::metrics::Metrics;
use relay_platform::world;
use serde_json::value::RawValue;

pub use batch::{BatchResponse, NotAnSqsEvent};
pub use batch_metrics::metrics;
pub use config::Config;
pub use start::StartError;

use crate::batch::{Batch, Message};
use crate::batch_metrics::BatchMetrics;
use crate::budget::Budget;
use crate::delivery_log::DeliveryLog;
use crate::destination::runner::{RunReport, Runner};
use crate::destination::runners::runners;
use crate::event::{Event, ParsedMessage};
use crate::secrets::{LiveSecrets, Secrets};
use crate::settlement::{Decision, Settler};

/// Well inside the time that the budget keeps for settling.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_millis(1_200),
    operation: Duration::from_millis(3_500),
    attempts: 10,
};

pub struct Worker {
    runners: Vec<Box<dyn Runner>>,
    settler: Settler,
    delivery_log: DeliveryLog,
    secrets: LiveSecrets,
    metrics: Metrics,
}

impl Worker {
    /// Reads the configuration and the secrets, and makes the clients, one a destination for the life of the process.
    ///
    /// # Errors
    /// If a variable cannot be used, a secret not be had or a client not be made.
    pub async fn start(environment: &Environment) -> Result<Self, StartError> {
        let config = Config::read(environment)?;
        let aws = Aws::from_environment(environment, SQS);
        let secrets = LiveSecrets::read(&aws, &config).await?;
        let settler = Settler::new(aws.sqs(), &config);
        settler.warm_up().await;
        Ok(Worker {
            runners: runners(&config, &aws)?,
            settler,
            delivery_log: DeliveryLog::new(&config, &aws),
            secrets,
            metrics: config.metrics,
        })
    }

    /// Works on one batch. `deadline` is when Lambda will end the process.
    ///
    /// # Errors
    /// Only for an event that SQS did not send; nothing has been done then.
    pub async fn handle(
        &self,
        event: &RawValue,
        deadline: SystemTime,
    ) -> Result<BatchResponse, NotAnSqsEvent> {
        let budget = Budget::until(deadline, world::now());
        let Batch { messages, unreadable } = batch::parse(event)?;
        let secrets = self.secrets.current().await;
        let mut metrics = BatchMetrics::new(messages.len() + unreadable.len());
        let (events, mut decisions) = read(&messages, &mut metrics);
        let outcomes = self.deliver(&events, &budget, &secrets, &mut metrics).await;
        let settled = || events.iter().zip(&outcomes);
        let rows: Vec<String> =
            settled().flat_map(|(event, outcomes)| self.delivery_log.rows(event, outcomes)).collect();
        decisions.extend(settled().map(|(event, outcomes)| Decision::of(event, outcomes)));
        let (mut returned, unrecorded) = tokio::join!(
            self.settler.settle(decisions, &budget, &mut metrics),
            self.delivery_log.write(&rows, budget.ends),
        );
        metrics.count_unrecorded(unrecorded);
        returned.extend(unreadable);
        metrics.log(returned.len(), &self.metrics);
        Ok(BatchResponse::of(returned))
    }

    /// Hands every event to the destinations that it is owed to; the result has the events' order.
    async fn deliver(
        &self,
        events: &[Event<'_>],
        budget: &Budget,
        secrets: &Secrets,
        metrics: &mut BatchMetrics,
    ) -> Vec<Vec<(String, DeliveryOutcome)>> {
        let mut all: Vec<Vec<(String, DeliveryOutcome)>> = vec![Vec::new(); events.len()];
        let runs = self.runners.iter().map(|runner| runner.run(events, budget, secrets));
        for RunReport { outcomes, calls } in join_all(runs).await {
            for (name, calls) in calls {
                metrics.count_calls(name, calls);
                if calls.unauthorized > 0 {
                    self.secrets.doubt();
                }
            }
            for (index, outcomes) in outcomes {
                all[index].extend(outcomes.into_iter().map(|(name, outcome)| (name.to_owned(), outcome)));
            }
        }
        for (event, outcomes) in events.iter().zip(&mut all) {
            let is_of_other_sources = |(_, outcome): &(String, DeliveryOutcome)| {
                *outcome == DeliveryOutcome::Skipped("other_source")
            };
            let off = self.switched_off(event, outcomes.iter().all(is_of_other_sources));
            outcomes.extend(off.into_iter().map(|name| (name, DeliveryOutcome::rejected("destination_off"))));
            for (name, outcome) in outcomes {
                metrics.count(event, name, outcome);
            }
        }
        all
    }

    /// The destinations that an event is owed to and that are off.
    fn switched_off(&self, event: &Event<'_>, is_left_alone: bool) -> Vec<String> {
        let is_on = |name: &str| self.runners.iter().any(|runner| runner.names().contains(&name));
        if event.envelope.destinations.is_none() && is_left_alone {
            // It was accepted, so it must not vanish because its one destination is off.
            let takes = destinations::ALL.iter().find(|row| row.takes(event.envelope.source));
            return takes.map(|row| row.name.to_owned()).into_iter().collect();
        }
        event.destinations().filter(|name| !is_on(name)).map(str::to_owned).collect()
    }
}

/// Parses messages: events to deliver, and decisions about the other ones.
fn read<'a>(messages: &'a [Message<'a>], metrics: &mut BatchMetrics) -> (Vec<Event<'a>>, Vec<Decision<'a>>) {
    let (mut events, mut decisions) =
        (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for message in messages {
        match Event::parse(message) {
            ParsedMessage::Event(event) => {
                metrics.count_received(&event.envelope);
                events.push(event);
            }
            ParsedMessage::Poison(reason) => {
                metrics.count_poison();
                decisions.push(Decision::poison(message, reason));
            }
            ParsedMessage::Invalid(envelope, reason) => {
                metrics.count_poison();
                decisions.push(Decision::invalid(message, &envelope, reason));
            }
            ParsedMessage::Later => decisions.push(Decision::later(message)),
        }
    }
    (events, decisions)
}
