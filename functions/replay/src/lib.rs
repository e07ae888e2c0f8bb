//! `replay` reads the archive and the log, and puts events on the queue again; and it deletes from the archive.
//!
//! Three tasks, each in a module of its own: `replay` (events of the archive, for some destinations), `requeue` (what
//! SQS did not take and only the log has) and `forget` (a user's rows). The way of an invocation: `event` (what is to
//! be done, and how far it has come) → the task, until it is done or `clock` says that time is up → a continuation on
//! this function's own queue, which invokes it again.

mod config;
mod error;
mod fields;
mod forget;
mod invocation;
mod lines;
mod progress_log;
mod rate_limiter;
mod replay;
mod requeue;
mod sender;
mod store;
mod time_limit;

use std::time::{Duration, SystemTime};

use relay_core::timestamp::Timestamp;
use relay_platform::aws::{Aws, Timeouts};
use relay_platform::environment::Environment;
use relay_platform::queue::{OutboundMessage, Queue};
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub use config::Config;
pub use error::InvocationError;
pub use store::S3ClientError;

use crate::error::TaskError;
use crate::invocation::{Invocation, Task};
use crate::replay::TaskOutcome;
use crate::requeue::LogGroup;
use crate::sender::send_with_retries;
use crate::store::Store;
use crate::time_limit::{Invoker, TimeLimit};

/// Inside a batch's time in `sender`.
const SQS: Timeouts = Timeouts {
    connect: Duration::from_millis(800),
    attempt: Duration::from_millis(1_200),
    operation: Duration::from_secs(3),
    attempts: 10,
};

/// FilterLogEvents looks through a range of the log for seconds before it gives a page.
const LOGS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(15),
    operation: Duration::from_secs(18),
    attempts: 5,
};

/// What was stopped goes on after so long, doubled each time, up to SQS's longest delay.
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
    /// Makes the clients; nothing is called yet.
    ///
    /// # Errors
    /// If the one for S3 cannot be made.
    pub fn new(environment: &Environment, config: Config) -> Result<Self, S3ClientError> {
        let sqs = Aws::from_environment(environment, SQS).sqs();
        let logs = Aws::from_environment(environment, LOGS).of_service(environment, "CLOUDWATCH_LOGS");
        Ok(Replay {
            store: Store::s3(environment, &config.bucket)?,
            log: LogGroup::new(aws_sdk_cloudwatchlogs::Client::new(&logs), config.log_group.clone()),
            queue: Queue::new(sqs.clone(), config.queue_url.clone()),
            own_queue: Queue::new(sqs, config.replay_queue_url.clone()),
            config,
        })
    }

    /// Does what an event asks for, or as much of it as there is time for. `deadline` is when Lambda will end the process.
    ///
    /// # Errors
    /// What is wrong with the event, or what stopped the task, and where to go on.
    pub async fn handle(&self, event: &RawValue, deadline: SystemTime) -> Result<Value, InvocationError> {
        let now = SystemTime::now();
        let mut invocation = Invocation::read(event, &self.config.bucket, Timestamp::from_system(now))?;
        let limit = TimeLimit::of(invocation.invoker, deadline, now);
        let answer = match self.work(&mut invocation, &limit).await {
            Ok((TaskOutcome::Done, answer)) => answer,
            Ok((TaskOutcome::TimeIsUp, answer)) => {
                invocation.failures = 0;
                match self.hand_over(&invocation, Duration::ZERO).await {
                    Ok(()) => answer,
                    Err(cause) => return Err(InvocationError::stopped(cause, &invocation)),
                }
            }
            Err(cause) if invocation.goes_on_after(&cause) => self.try_later(cause, &mut invocation).await?,
            Err(cause) => return Err(InvocationError::stopped(cause, &invocation)),
        };
        let message = if answer["continues"] == true { "handed over" } else { "done" };
        let mut told = answer.clone();
        if let Task::Replay(_, progress) = &invocation.task {
            told["by_type"] = json!(progress.counts.shown().by_type);
        }
        progress_log::log(invocation.task.name(), message, &told);
        Ok(answer)
    }

    async fn work(
        &self,
        invocation: &mut Invocation,
        limit: &TimeLimit,
    ) -> Result<(TaskOutcome, Value), TaskError> {
        match &mut invocation.task {
            Task::Replay(request, progress) => {
                let before = progress.counts.sent;
                let ended = replay::run(request, progress, &self.store, &self.queue, limit).await;
                self.count(REPLAYED, progress.counts.sent - before);
                let ended = ended?;
                Ok((ended, answer(request.dry_run, &progress.counts, ended)))
            }
            Task::Requeue(request) => {
                let mut counts = requeue::RequeueCounts::default();
                let ended =
                    requeue::run(request, &mut counts, &self.log, &self.store, &self.queue, limit).await;
                self.count(REQUEUED, counts.sent);
                let ended = ended?;
                if ended == TaskOutcome::TimeIsUp
                    && invocation.invoker == Invoker::OwnQueue
                    && counts.sent == 0
                {
                    return Err(TaskError::TooMuch);
                }
                Ok((ended, answer(request.dry_run, &counts, ended)))
            }
            Task::Forget(request, progress) => {
                let ended = forget::run(request, progress, &self.store, limit).await?;
                Ok((ended, answer(request.dry_run, &progress.counts, ended)))
            }
        }
    }

    /// Puts a continuation that was stopped back on its queue, with what is done so far: as it was received it would
    /// begin where its invocation did.
    async fn try_later(
        &self,
        cause: TaskError,
        invocation: &mut Invocation,
    ) -> Result<Value, InvocationError> {
        let delay = MAX_DELAY.min(FIRST_DELAY * 2_u32.pow(invocation.failures.min(8)));
        invocation.failures += 1;
        if let Err(second) = self.hand_over(invocation, delay).await {
            tracing::error!(error = %second, "it could not be put back either");
            return Err(InvocationError::stopped(cause, invocation));
        }
        tracing::error!(error = %cause, again_in_s = delay.as_secs(), "stopped; it goes on by itself: do not invoke it");
        Ok(json!({"stopped": cause.to_string(), "continues": true}))
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

/// What whoever invoked is told.
fn answer(dry_run: bool, counts: &impl serde::Serialize, ended: TaskOutcome) -> Value {
    // Counts always are a JSON object.
    let mut answer = serde_json::to_value(counts).unwrap_or_default();
    answer["dry_run"] = json!(dry_run);
    answer["continues"] = json!(ended == TaskOutcome::TimeIsUp);
    answer
}
