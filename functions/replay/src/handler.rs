//! An invocation, from its event to its response.

use std::time::{Duration, SystemTime};

use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use relay_platform::queue::{OutboundMessage, Queue};
use relay_platform::world;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::archive::Store;
use crate::config::Config;
use crate::error::{InvocationError, TaskError};
use crate::invocation::Invocation;
use crate::progress_log;
use crate::requeue::{LogGroup, RequeueCounts};
use crate::sender::send_with_retries;
use crate::start::StartError;
use crate::task::Task;
use crate::time_limit::{Invoker, TaskOutcome, TimeLimit};
use crate::{forget, replay, requeue};

/// Inside a batch's time in `sender`.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_millis(1_200),
    operation: Duration::from_secs(3),
    attempts: 10,
};

/// A stopped task goes on after this time, doubled each time, up to SQS's longest delay.
const FIRST_DELAY: Duration = Duration::from_secs(30);
const MAX_DELAY: Duration = Duration::from_secs(900);

const REPLAYED: &str = "Replayed";
const REQUEUED: &str = "Requeued";

/// All metrics of replay, by their names in CloudWatch.
pub const METRICS: [&str; 2] = [REPLAYED, REQUEUED];

/// The function, ready for events.
#[derive(Debug)]
pub struct Replay {
    config: Config,
    store: Store,
    log: LogGroup,
    queue: Queue,
    own_queue: Queue,
}

impl Replay {
    /// Reads the configuration and makes the clients. It calls nothing yet.
    ///
    /// # Errors
    /// If a variable cannot be used or a client not be made.
    pub fn start(environment: &Environment) -> Result<Self, StartError> {
        let config = Config::read(environment)?;
        let sqs = Aws::from_environment(environment, SQS).sqs();
        Ok(Replay {
            store: Store::s3(environment, &config.bucket)?,
            log: LogGroup::new(environment, config.log_group.clone()),
            queue: Queue::new(sqs.clone(), config.queue_url.clone()),
            own_queue: Queue::new(sqs, config.replay_queue_url.clone()),
            config,
        })
    }

    /// Runs the task of an event, as far as there is time. Lambda ends the process at `deadline`.
    ///
    /// # Errors
    /// What is wrong with the event, or what stopped the task and how to go on.
    pub async fn handle(&self, event: &RawValue, deadline: SystemTime) -> Result<Value, InvocationError> {
        let now = world::now();
        let Config { bucket, endpoints, .. } = &self.config;
        let mut invocation = Invocation::read(event, bucket, endpoints, Timestamp::from_system(now))?;
        let limit = TimeLimit::new(invocation.invoker, deadline, now);
        let response = match self.run(&mut invocation, &limit).await {
            Ok((TaskOutcome::Done, response)) => response,
            Ok((TaskOutcome::TimeIsUp, response)) => {
                invocation.failures = 0;
                match self.hand_over(&invocation, Duration::ZERO).await {
                    Ok(()) => response,
                    Err(error) => return Err(stopped(error, &invocation)),
                }
            }
            Err(error) if error.is_retriable() && invocation.may_retry() => {
                self.retry_later(error, &mut invocation).await?
            }
            Err(error) => return Err(stopped(error, &invocation)),
        };
        log(&invocation.task, &response);
        Ok(response)
    }

    async fn run(
        &self,
        invocation: &mut Invocation,
        limit: &TimeLimit,
    ) -> Result<(TaskOutcome, Value), TaskError> {
        match &mut invocation.task {
            Task::Replay(request, progress) => {
                let before = progress.counts.sent;
                let outcome = replay::run(request, progress, &self.store, &self.queue, limit).await;
                self.count(REPLAYED, progress.counts.sent - before);
                let outcome = outcome?;
                Ok((outcome, response(request.dry_run, &progress.counts, outcome)))
            }
            Task::Requeue(request) => {
                let mut counts = RequeueCounts::default();
                let outcome =
                    requeue::run(request, &mut counts, &self.log, &self.store, &self.queue, limit).await;
                self.count(REQUEUED, counts.sent);
                let outcome = outcome?;
                let is_stuck = outcome == TaskOutcome::TimeIsUp && counts.sent == 0;
                if is_stuck && invocation.invoker == Invoker::OwnQueue {
                    return Err(TaskError::TooMuch);
                }
                Ok((outcome, response(request.dry_run, &counts, outcome)))
            }
            Task::Forget(request, progress) => {
                let outcome = forget::run(request, progress, &self.store, limit).await?;
                Ok((outcome, response(request.dry_run, &progress.counts, outcome)))
            }
        }
    }

    /// Puts a continuation that was stopped back on its queue, with its progress. The received message would begin where
    /// this invocation began.
    async fn retry_later(
        &self,
        error: TaskError,
        invocation: &mut Invocation,
    ) -> Result<Value, InvocationError> {
        let delay = MAX_DELAY.min(FIRST_DELAY * 2_u32.pow(invocation.failures.min(8)));
        invocation.failures += 1;
        if let Err(second) = self.hand_over(invocation, delay).await {
            tracing::error!(error = %second, "the continuation could not be put back on the queue");
            return Err(stopped(error, invocation));
        }
        tracing::error!(%error, again_in_s = delay.as_secs(), "stopped; it goes on by itself: do not invoke it");
        Ok(json!({"stopped": error.to_string(), "continues": true}))
    }

    async fn hand_over(&self, invocation: &Invocation, delay: Duration) -> Result<(), TaskError> {
        let body = invocation.continuation().to_string();
        let message = OutboundMessage { body, attributes: Vec::new(), delay, trace: None };
        send_with_retries(&self.own_queue, vec![message]).await.map_err(TaskError::NotHandedOver)
    }

    fn count(&self, metric: &'static str, count: u64) {
        if count > 0 {
            self.config.metrics.line().count(metric, count as usize).info("queued");
        }
    }
}

fn stopped(error: TaskError, invocation: &Invocation) -> InvocationError {
    InvocationError::stopped(error, invocation.task.redacted_progress())
}

fn response(dry_run: bool, counts: &impl serde::Serialize, outcome: TaskOutcome) -> Value {
    // Counts always are a JSON object.
    let mut response = serde_json::to_value(counts).unwrap_or_default();
    response["dry_run"] = json!(dry_run);
    response["continues"] = json!(outcome == TaskOutcome::TimeIsUp);
    response
}

fn log(task: &Task, response: &Value) {
    let message = if response["continues"] == true { "handed over" } else { "done" };
    let mut fields = response.clone();
    if let Task::Replay(_, progress) = task {
        fields["by_type"] = json!(progress.counts.redacted().by_type);
    }
    progress_log::log(task.name(), message, &fields);
}
