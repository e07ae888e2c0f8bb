//! What a seed stands for: what goes wrong, when and how often; what is sent; what the operator does. `draw`: how a seed
//! becomes that.

mod draw;

use std::fmt;

use relay_core::endpoints::Form;

use crate::ledger::ENDPOINT;

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;

/// The operator pauses a destination for no longer.
const LONGEST_PAUSE: u64 = 4 * HOUR;

/// They see and mend a mistake of their own within this time.
const LONGEST_MISTAKE: u64 = 30 * MINUTE;

/// Where something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Calls to SQS.
    Sqs,
    /// SQS's own promises: at least once, in no order.
    Queue,
    Ssm,
    Firehose,
    /// The archive's bucket.
    S3,
    Segment,
    Vero,
    /// A webhook endpoint.
    Endpoint,
    /// CloudWatch Logs.
    Logs,
    Worker,
    Ingest,
    Replay,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// An error of the server's; nothing is done.
    Refused,
    /// Too many requests; nothing is done.
    Throttled,
    /// No answer ever; nothing is done.
    Hangs,
    /// The connection breaks; nothing is done.
    Breaks,
    /// No connection comes about.
    Unreachable,
    /// It is done, and takes seconds.
    Slow,
    /// It is done, and then the connection breaks.
    AnswerLost,
    /// It is done at once, and the answer comes seconds or minutes later.
    AnswerLate,
    /// It is done, and the answer breaks off in its body.
    AnswerCut,
    /// The connection was kept, and the other side has closed it.
    Stale,
    /// Some of a batch is refused, or one event for good.
    Partly,
    /// The key is refused.
    Unauthorized,
    /// Something else answers there: a wrong path, a wrong proxy.
    Misrouted,
    /// Its name leads to a private address.
    Private,
    /// The process ends, at whatever point.
    Dies,
    /// There is no concurrency left.
    Starved,
    /// A message that was received is shown again at once.
    Twice,
    /// A message that is to be deleted stays.
    NotDeleted,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something that goes wrong for a while. Times are in milliseconds of the simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub place: Place,
    pub mishap: Mishap,
    pub from: u64,
    pub until: u64,
    /// How often it meets a call, from 0 to 1.
    pub rate: f64,
}

impl Trouble {
    pub fn is_on(&self, now: u64) -> bool {
        (self.from..self.until).contains(&now)
    }

    pub fn overlaps(&self, from: u64, until: u64) -> bool {
        self.from < until && from < self.until
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trouble { place, mishap, from, until, rate } = self;
        write!(f, "{place:?} {mishap} at {:.0} % from {} to {}", rate * 100.0, Clock(*from), Clock(*until))
    }
}

/// A time of the simulation, for people.
pub struct Clock(pub u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / SECOND;
        write!(f, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
        write!(f, ".{:03}", self.0 % SECOND)
    }
}

/// Documents of rules: some of `events/`, and two for the endpoint.
pub const RULES: [&str; 8] = [
    include_str!("../../../events/rules-clicks-and-bounces-to-vero.json"),
    include_str!("../../../events/rules-hash-addresses.json"),
    include_str!("../../../events/rules-no-newsletters-to-segment.json"),
    include_str!("../../../events/rules-only-consented.json"),
    include_str!("../../../events/rules-own-property-names.json"),
    include_str!("../../../events/rules-sample-opens.json"),
    r#"{"version":2,"webhooks":{"webhook":{"crm":{"address":"hash","omit":["/payload/context"],
        "rules":[{"when":{"type":["sent","identify"]},"send":false},{"when":{"source":"segment"},"sample":0.5}],"default":{"rename":"Mail","properties":{"set":{"team":"a"}}}}}}}"#,
    r#"{"version":2,"webhooks":{"webhook":{"crm":{"address":"omit",
        "rules":[{"when":{"/event":"Order Completed"},"consent":["marketing"]}],"default":{"sample":0.5}}}}}"#,
];

/// What addresses are hashed with.
pub const ADDRESS_SECRET: &str = "a-secret-that-never-changes";

/// What is sent at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Send {
    /// A webhook of Vero's, of the type at this place among [`crate::senders::TYPES`], about this user.
    Webhook { kind: usize, user: u32 },
    /// Vero's test button: an example of each type, about a user of Vero's own.
    TestButton,
    /// A newsletter: so many webhooks within a second.
    Newsletter { recipients: u32 },
    /// So many webhooks about a user in one request. If they are alike, only their times differ, as of clicks within
    /// seconds.
    Array { webhooks: u32, user: u32, alike: bool },
    /// So many events of an SDK in one request, about this user.
    Batch { events: u32, user: u32 },
    /// An identify with tags.
    Tags { user: u32 },
    /// The user wants messages again.
    Resubscribe { user: u32 },
    /// The user wants no more messages.
    Unsubscribe { user: u32 },
    /// Somebody has put on the queue what a later release wrote.
    Later,
    /// An envelope as the first release wrote it, without what came later.
    Earlier { kind: usize, user: u32 },
    /// Somebody has put on the queue what is no event, of this kind among [`crate::senders::POISON`].
    Poison { kind: usize },
}

/// What the operator does.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// New instances in the place of the old ones.
    Deploy,
    Pause(&'static str),
    Resume,
    /// The configuration is wrong from now on: no new worker can start.
    Mistake(Mistake),
    /// It is right again.
    Mend,
    /// A new key, of Segment or Vero, or a new secret of the endpoint; the old one is good for twenty minutes more.
    RotateKey(Place),
    /// A new token for Vero; ingest takes the old one, too.
    RotateToken,
    /// The archive forgets a user.
    Forget {
        user: u32,
    },
    /// What lies in the dead-letter queue is sent again.
    Redrive,
    /// What the archive has of the last hours goes to a destination again.
    Replay {
        hours: u64,
        destination: &'static str,
    },
}

/// Values that a variable cannot have.
pub const WRONG: [(&str, &str); 11] = [
    ("EVENT_NAMES", "{"),
    ("SEGMENT_ENDPOINT", "https://name:password@segment.test"),
    ("SEGMENT_ENDPOINT", "https://segment.test?region=eu"),
    ("SEGMENT_ENDPOINT", "http://segment.test"),
    ("VERO_ENDPOINT", "mailto:vero.test"),
    ("ARCHIVE_STREAM", "a stream"),
    ("PAUSED_DESTINATIONS", "everything"),
    ("WEBHOOK_ENDPOINTS", "crm,billing"),
    ("WEBHOOK_ENDPOINTS", "C R M"),
    ("WEBHOOK_ENDPOINT_SETTINGS_PARAMETER", ""),
    ("ADDRESS_HASH_SECRET_PARAMETER", ""),
];

/// What the operator gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A variable of [`WRONG`], with a deployment.
    Variable(usize),
    /// The document of the rules or of the endpoint, in SSM: workers that run go on by the last one.
    Document,
}

/// What a webhook endpoint gets.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// In a request, at most.
    pub max_events: usize,
    pub form: Form,
}

/// All that a seed stands for.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    /// After so long all troubles are over.
    pub end: u64,
    pub troubles: Vec<Trouble>,
    pub sends: Vec<(u64, Send)>,
    pub operations: Vec<(u64, Operation)>,
    /// How many instances of the worker run at once.
    pub concurrency: usize,
    pub batch_size: usize,
    /// How long Lambda fills a batch.
    pub batch_window: u64,
    /// By how much an instance's clock may be off, in milliseconds.
    pub skew: u64,
    /// The other side closes a connection that was not used for so long.
    pub idle: u64,
    /// Without an archive no function `replay` either.
    pub has_archive: bool,
    /// Segment passes on to this relay whatever it gets from it.
    pub passes_on: bool,
    /// SQS hands out no more messages while so many are in flight.
    pub in_flight: usize,
    /// There is a webhook endpoint.
    pub endpoint: Option<Endpoint>,
    /// The blueprint, with rules.
    pub rules: Option<&'static str>,
}

impl Scenario {
    /// Whether something that the operator has done may be felt at any time from `from` to `until`.
    pub fn has_operations(&self, felt_at: Place, from: u64, until: u64) -> bool {
        self.operations.iter().any(|(at, operation)| {
            let felt = match operation {
                Operation::Pause(name) if at_place(name) == felt_at => LONGEST_PAUSE + HOUR,
                Operation::RotateKey(place) if *place == felt_at => HOUR,
                Operation::Mistake(_) => LONGEST_MISTAKE + HOUR,
                Operation::Redrive | Operation::Replay { .. } => HOUR,
                _ => return false,
            };
            *at <= until && from <= at + felt
        })
    }

    /// Whether a destination is slow, at any time from `from` to `until`.
    pub fn has_slow(&self, from: u64, until: u64) -> bool {
        let is_slow = |trouble: &&Trouble| trouble.mishap == Mishap::Slow && trouble.place != Place::S3;
        self.troubles.iter().filter(is_slow).any(|trouble| trouble.overlaps(from, until))
    }

    /// Whether nothing goes wrong anywhere but at S3, which no worker calls, at any time from `from` to `until`.
    pub fn is_calm_everywhere(&self, from: u64, until: u64) -> bool {
        let counts = |trouble: &&Trouble| trouble.place != Place::S3;
        !self.troubles.iter().filter(counts).any(|trouble| trouble.overlaps(from, until))
    }

    /// Whether nothing goes wrong in these places, at any time from `from` to `until`.
    pub fn is_calm(&self, places: &[Place], from: u64, until: u64) -> bool {
        let met = |trouble: &&Trouble| places.contains(&trouble.place) && trouble.overlaps(from, until);
        !self.troubles.iter().any(|trouble| met(&trouble))
    }
}

/// Where a destination of this name is.
pub fn at_place(name: &str) -> Place {
    match name {
        "segment" => Place::Segment,
        "archive" => Place::Firehose,
        ENDPOINT => Place::Endpoint,
        _ => Place::Vero,
    }
}
