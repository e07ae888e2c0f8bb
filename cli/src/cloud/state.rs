//! The whole state of a stack, by calls that run side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::Cloud;
use super::logs::Group;
use crate::error::Error;
use crate::model::known::Known;
use crate::model::letter;
use crate::model::state::{Archive, Role, Stack, StackState};
use crate::model::time::At;

/// So many marks of requeued webhooks are read; they are kept for as long as the log.
const MARKS: usize = 100_000;
/// How many letters are looked at to say what they are.
const LETTERS: usize = 200;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

const FUNCTIONS: [(&str, &str, &str); 3] = [
    ("ingest", "Ingest", "IngestRole"),
    ("worker", "Worker", "WorkerRole"),
    ("replay", "Replay", "ReplayRole"),
];

impl Cloud {
    /// Looks at everything.
    ///
    /// # Errors
    /// If there is no such stack. What else cannot be known is told so in the state.
    pub async fn state(&self) -> Result<StackState, Error> {
        let stack = self.describe().await?;
        let at = At::now();
        let physical = |name: &str| stack.resources.get(name).cloned();
        let (basics, figures, rest) = tokio::join!(
            async {
                tokio::join!(
                    self.functions(&stack),
                    self.of_resource(physical("WorkerQueue"), async |id| self.event_source(&id).await),
                    self.of_resource(physical("Ingest"), async |name| self.function_url(&name).await),
                    async { Known::from(self.health(&stack).await) },
                    self.queues(&stack),
                    self.letters(&stack),
                )
            },
            async {
                tokio::join!(
                    async { Known::from(self.figures(&stack, at, HOUR).await) },
                    async { Known::from(self.figures(&stack, at, DAY).await) },
                    async { Known::from(self.unqueued(&stack, at).await) },
                )
            },
            async {
                tokio::join!(
                    self.secrets(&stack),
                    async { Known::from(self.alarms(&stack).await) },
                    self.of_resource(physical("AlarmTopic"), async |arn| self.subscribers(&arn).await),
                    async { Known::from(self.account().await) },
                    self.archive(&stack),
                    self.kms_key(&stack),
                    self.roles(&stack),
                )
            },
        );
        let (functions, event_source, function_url, health, queues, letters) = basics;
        let (last_hour, last_day, unqueued) = figures;
        let (secrets, alarms, subscribers, account, archive, kms_key, roles) = rest;
        Ok(StackState {
            at,
            stack,
            functions,
            event_source,
            function_url,
            health,
            queues,
            letters,
            secrets,
            alarms,
            subscribers,
            account,
            last_hour,
            last_day,
            unqueued,
            archive,
            kms_key,
            roles,
        })
    }

    async fn of_resource<T>(
        &self,
        physical: Option<String>,
        look: impl AsyncFnOnce(String) -> Result<T, Error>,
    ) -> Known<T> {
        match physical {
            Some(physical) => look(physical).await.into(),
            None => Known::No { unknown: "the stack has no such resource".to_owned() },
        }
    }

    async fn functions(&self, stack: &Stack) -> BTreeMap<String, Known<crate::model::state::Function>> {
        let named =
            FUNCTIONS.iter().filter_map(|(name, resource, _)| Some((*name, stack.resources.get(*resource)?)));
        let looks =
            named.map(async |(name, physical)| (name.to_owned(), self.function(physical).await.into()));
        join_all(looks).await.into_iter().collect()
    }

    async fn roles(&self, stack: &Stack) -> BTreeMap<String, Known<Role>> {
        let named = FUNCTIONS.iter().filter_map(|(name, _, role)| Some((*name, stack.resources.get(*role)?)));
        let looks = named.map(async |(name, physical)| (name.to_owned(), self.role(physical).await.into()));
        join_all(looks).await.into_iter().collect()
    }

    async fn queues(&self, stack: &Stack) -> BTreeMap<String, Known<crate::model::state::Queue>> {
        let named = ["Queue", "DeadLetterQueue", "ReplayQueue"];
        let named = named.into_iter().filter_map(|name| Some((name, stack.resources.get(name)?)));
        let looks = named.map(async |(name, url)| (name.to_owned(), self.queue(url).await.into()));
        join_all(looks).await.into_iter().collect()
    }

    async fn letters(&self, stack: &Stack) -> Known<Vec<crate::model::state::LetterCount>> {
        let Some(url) = stack.output("DeadLetterQueueUrl") else { return Known::default() };
        self.look_at_letters(url, LETTERS).await.map(|look| letter::count(&look.letters)).into()
    }

    /// Webhooks that the log of the last day has and the queue had not, each once; without those that were queued from
    /// there: with an archive the function `replay` marks them, without one `relay requeue` notes their times.
    async fn unqueued(&self, stack: &Stack, now: At) -> Result<u64, Error> {
        let since = now.before(DAY);
        let mut lines = self.log_lines(Group::Ingest, since, Some(("message", "unqueued_webhook"))).await?;
        if lines.is_empty() {
            return Ok(0);
        }
        if stack.has_archive() {
            let marks = self.bucket(stack).await?.keys("requeued", MARKS).await?;
            let marked: std::collections::HashSet<&str> =
                marks.iter().filter_map(|key| key.strip_prefix("requeued/")).collect();
            lines.retain(|line| line.id.as_deref().is_none_or(|id| !marked.contains(id)));
        } else {
            let requeued = self.requeued(stack).await?;
            lines.retain(|line| !requeued.has(line.at));
        }
        let ids: std::collections::BTreeSet<&str> =
            lines.iter().filter_map(|line| line.id.as_deref()).collect();
        Ok(ids.len() as u64)
    }

    async fn archive(&self, stack: &Stack) -> Option<Archive> {
        if !stack.has_archive() {
            return None;
        }
        let named = ["ArchiveStream", "DeliveriesStream"];
        let named = named.into_iter().filter_map(|name| Some((name, stack.resources.get(name)?)));
        let looks =
            named.map(async |(name, stream)| (name.to_owned(), self.stream_state(stream).await.into()));
        let misplaced = async { self.bucket(stack).await?.keys("errors/data", 1_000).await };
        let (streams, misplaced) = tokio::join!(join_all(looks), misplaced);
        let misplaced_objects = misplaced.map(|keys| keys.len() as u64).into();
        Some(Archive { streams: streams.into_iter().collect(), misplaced_objects })
    }

    async fn kms_key(&self, stack: &Stack) -> Option<Known<String>> {
        let arn = stack.parameter("KmsKeyArn");
        if arn.is_empty() { None } else { Some(self.kms_key_state(arn).await.into()) }
    }
}
