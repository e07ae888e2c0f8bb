//! A stack as it is: what `relay status` shows and `relay doctor` judges. It holds no secret, and nothing of an event but
//! ids.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::destinations;
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::known::Known;
use super::time::At;

/// A stack and all that belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StackState {
    /// When it was looked at.
    pub at: At,
    /// As CloudFormation describes it.
    pub stack: Stack,
    /// The functions, by their names: `ingest`, `worker` and, with an archive, `replay`.
    pub functions: BTreeMap<String, Known<Function>>,
    /// What feeds the worker.
    pub event_source: Known<EventSource>,
    /// The way in.
    pub function_url: Known<FunctionUrl>,
    /// The answer of `/health`.
    pub health: Known<Health>,
    /// The queues, by their names in the template.
    pub queues: BTreeMap<String, Known<Queue>>,
    /// The dead letters that were looked at, by reason and destination.
    pub letters: Known<Vec<LetterCount>>,
    /// What the stack reads from SSM, by the template parameters that name it.
    pub secrets: BTreeMap<String, Known<Secret>>,
    /// The stack's alarms.
    pub alarms: Known<Vec<Alarm>>,
    /// Who hears of alarms.
    pub subscribers: Known<Vec<Subscriber>>,
    /// The account's limits of Lambda.
    pub account: Known<Account>,
    /// The figures of the last hour.
    pub last_hour: Known<Figures>,
    /// The figures of the last day.
    pub last_day: Known<Figures>,
    /// Webhooks that are in the log instead of the queue, of the last day.
    pub unqueued: Known<u64>,
    /// The archive's own parts; `None` without an archive.
    pub archive: Option<Archive>,
    /// The key that `KmsKeyArn` names; `None` without one.
    pub kms_key: Option<Known<String>>,
    /// The functions' roles, by function.
    pub roles: BTreeMap<String, Known<Role>>,
}

/// As CloudFormation describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Whether it is that of `cargo local`.
    pub is_local: bool,
    /// CloudFormation's status.
    pub status: String,
    /// Why it has that status, if CloudFormation says so.
    pub status_reason: Option<String>,
    /// When it was created or last updated.
    pub changed_at: Option<At>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Its resources: names in the template, and at AWS.
    pub resources: BTreeMap<String, String>,
}

impl Stack {
    /// A parameter's value; empty if there is none.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// An output's value.
    pub fn output(&self, name: &str) -> Option<&str> {
        self.outputs.get(name).map(String::as_str)
    }

    /// Whether the stack has an archive.
    pub fn has_archive(&self) -> bool {
        self.parameter("Archive") == "true"
    }

    /// The destinations that are paused.
    pub fn paused(&self) -> impl Iterator<Item = &str> {
        self.parameter("PausedDestinations").split(',').filter(|name| !name.is_empty())
    }

    /// The names of the webhook endpoints that are on.
    pub fn endpoints(&self) -> BTreeSet<String> {
        destinations::endpoint_names(self.parameter("WebhookEndpoints")).unwrap_or_default()
    }
}

/// A function's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Function {
    /// Its name at AWS.
    pub name: String,
    /// Lambda's state of it: `Active`, or why not.
    pub state: String,
    /// The state of its last update.
    pub last_update: String,
    /// The managed runtime.
    pub runtime: String,
    /// The processor.
    pub architecture: String,
    /// In seconds.
    pub timeout_s: u64,
    /// Executions reserved for it; `None` if none are.
    pub reserved: Option<u64>,
    /// Whether Lambda stops it when its own messages come back to it.
    pub stops_recursion: Option<bool>,
}

/// What feeds the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventSource {
    /// Lambda's state of it: `Enabled`, or another.
    pub state: String,
    /// How many batches at once.
    pub max_concurrency: Option<u64>,
    /// A message that failed returns alone.
    pub reports_failures: bool,
}

/// The way in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// `NONE`, or Lambda wants signatures.
    pub auth_type: String,
    /// The actions that everybody may take.
    pub public_actions: Vec<String>,
}

/// The answer of `/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    /// HTTP's status.
    pub status: u16,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// This machine's clock less the server's, in seconds.
    pub clock_skew_s: Option<i64>,
}

/// A queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
    /// Messages that somebody has received.
    pub in_flight: u64,
    /// In seconds.
    pub visibility_s: u64,
    /// In seconds.
    pub retention_s: u64,
    /// After so many receives SQS moves a message to the dead-letter queue.
    pub max_receives: Option<u64>,
}

impl Queue {
    /// All messages.
    pub fn messages(&self) -> u64 {
        self.visible + self.delayed + self.in_flight
    }
}

/// Dead letters of one reason and one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterCount {
    /// `none` for those that SQS moved.
    pub reason: String,
    /// `none` if no destination was tried.
    pub destination: String,
    /// How many.
    pub count: u64,
}

/// Something that the stack reads from SSM: what can be said of it without showing it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secret {
    /// SSM's name.
    pub name: String,
    /// `SecureString` or `String`; `None` if it does not exist.
    pub kind: Option<String>,
    /// It has no characters.
    pub is_empty: bool,
    /// It begins or ends with white space, or has line breaks.
    pub has_blanks: bool,
    /// The names of other secrets of the stack with the same value.
    pub same_as: Vec<String>,
    /// What is wrong with the blueprint, if it is one.
    pub fault: Option<String>,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name in the template.
    pub name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    /// Since when.
    pub since: Option<At>,
    /// Whether anybody is told.
    pub actions_enabled: bool,
}

/// Who hears of alarms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscriber {
    /// `email`, or another.
    pub protocol: String,
    /// Whether they have confirmed it.
    pub is_confirmed: bool,
}

/// The account's limits of Lambda.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Executions at once.
    pub concurrency: u64,
    /// Those of them that no function has reserved.
    pub unreserved: u64,
}

/// The archive's own parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// The delivery streams' states, by their names in the template.
    pub streams: BTreeMap<String, Known<String>>,
    /// Objects under `errors/`; at most 1,000 are counted.
    pub misplaced_objects: Known<u64>,
}

/// A function's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The actions that its own policies allow.
    pub actions: Vec<String>,
    /// The managed policies that somebody has attached.
    pub attached: Vec<String>,
}
