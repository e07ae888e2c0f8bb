//! `worker` drains the queue and delivers each event to every destination that wants it.
//!
//! The way of a batch: `batch` (records to messages) → `event` (messages to events) → `destination`, side by
//! side, each on its own terms → `relay_core::delivery::settle`, what happens to each message → `settlement`,
//! which sends what is owed before it acknowledges what was received. Beside it the `delivery_log` writes down what
//! became of each.

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
use relay_core::delivery::{DeliveryOutcome, Tries, settle};
use relay_core::destinations;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use relay_platform::metrics::Metrics;
use serde_json::value::RawValue;

pub use batch::{BatchResponse, NotAnSqsEvent};
pub use batch_metrics::metrics;
pub use config::Config;
pub use start::StartError;

use crate::batch::Received;
use crate::batch_metrics::BatchMetrics;
use crate::budget::Budget;
use crate::delivery_log::DeliveryLog;
use crate::destination::runner::{RunReport, Runner};
use crate::destination::runners::runners;
use crate::event::{Event, Sorted};
use crate::secrets::{LiveSecrets, Secrets};
use crate::settlement::{Decision, Settler};

/// Well inside the time that the budget keeps for settling.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_millis(1_200),
    operation: Duration::from_millis(3_500),
    attempts: 10,
};

/// The function, ready for batches.
pub struct Worker {
    runners: Vec<Box<dyn Runner>>,
    settler: Settler,
    delivery_log: DeliveryLog,
    secrets: LiveSecrets,
    metrics: Metrics,
}

impl Worker {
    /// Reads the secrets and makes the clients, one a destination for the life of the process.
    ///
    /// # Errors
    /// When a secret cannot be had, or a client not be made.
    pub async fn start(environment: &Environment, config: Config) -> Result<Self, StartError> {
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
        let budget = Budget::until(deadline, SystemTime::now());
        let Received { messages, unreadable } = batch::parse(event)?;
        for id in &unreadable {
            tracing::error!(message_id = %id, "the message has no body: it returns");
        }
        let secrets = self.secrets.current().await;
        let mut batch_metrics = BatchMetrics::new(messages.len() + unreadable.len());
        let mut decisions: Vec<Decision<'_>> = Vec::with_capacity(messages.len());
        let mut events = Vec::with_capacity(messages.len());
        for message in &messages {
            match Event::read(message) {
                Sorted::Event(event) => {
                    batch_metrics.count_received(&event.envelope);
                    events.push(event);
                }
                Sorted::Poison(reason) => {
                    batch_metrics.count_poison();
                    decisions.push(Decision::poison(message, reason));
                }
                Sorted::Invalid(envelope, reason) => {
                    batch_metrics.count_poison();
                    decisions.push(Decision::invalid(message, &envelope, reason));
                }
                Sorted::Later => decisions.push(Decision::later(message)),
            }
        }
        let outcomes = self.deliver(&events, &budget, &secrets, &mut batch_metrics).await;
        let mut rows = Vec::new();
        for (event, outcomes) in events.iter().zip(outcomes) {
            rows.extend(self.delivery_log.rows(event, outcomes.iter().map(|(name, told)| (&**name, told))));
            let tries = Tries { attempt: event.envelope.attempt, receives: event.message.receive_count };
            let settlement = settle(tries, outcomes.clone(), fastrand::f64());
            decisions.push(Decision::settled(event, &outcomes, settlement));
        }
        let (mut returned, unrecorded) = tokio::join!(
            self.settler.settle(decisions, &budget, &mut batch_metrics),
            self.delivery_log.write(&rows, budget.ends.into()),
        );
        batch_metrics.count_unrecorded(unrecorded);
        returned.extend(unreadable);
        batch_metrics.log(returned.len(), &self.metrics);
        Ok(BatchResponse::of(returned))
    }

    /// Hands every event to the destinations that it is owed to; the answer has the events' order.
    async fn deliver(
        &self,
        events: &[Event<'_>],
        budget: &Budget,
        secrets: &Secrets,
        batch_metrics: &mut BatchMetrics,
    ) -> Vec<Vec<(String, DeliveryOutcome)>> {
        let mut all: Vec<Vec<(String, DeliveryOutcome)>> = vec![Vec::new(); events.len()];
        let runs = self.runners.iter().map(|runner| runner.run(events, budget, secrets));
        for RunReport { outcomes, calls } in join_all(runs).await {
            for (name, calls) in calls {
                batch_metrics.count_calls(name, calls);
                if calls.unauthorized > 0 {
                    self.secrets.doubt();
                }
            }
            for (index, outcomes) in outcomes {
                all[index].extend(outcomes.into_iter().map(|(name, outcome)| (name.to_owned(), outcome)));
            }
        }
        for (event, outcomes) in events.iter().zip(&mut all) {
            let off = self.switched_off(event, outcomes.is_empty());
            outcomes.extend(off.into_iter().map(|name| (name, DeliveryOutcome::rejected("destination_off"))));
            for (name, outcome) in outcomes {
                batch_metrics.count(event, name, outcome);
            }
        }
        all
    }
    /// The destinations that an event is owed to and that are off.
    fn switched_off(&self, event: &Event<'_>, is_left_alone: bool) -> Vec<String> {
        let is_on = |name: &str| {
            self.runners.iter().any(|runner| runner.row().parts.iter().any(|part| part.name == name))
        };
        if event.envelope.destinations.is_none() && is_left_alone {
            // It was accepted, so it must not vanish because its one destination is off.
            let takes = destinations::ALL.iter().find(|row| row.takes(event.envelope.source));
            return takes.map(|row| row.name.to_owned()).into_iter().collect();
        }
        event.destinations().filter(|name| !is_on(name)).map(str::to_owned).collect()
    }
}
