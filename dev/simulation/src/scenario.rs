//! What a seed draws: what goes wrong, when and how often; what is sent; what the operator does.
//!
//! Every seed switches kinds of trouble on and off at random (swarm testing: Groce et al., ISSTA 2012), since troubles
//! that are always all on hide each other.

use std::fmt;

use fastrand::Rng;

use crate::ledger::ENDPOINT;
use crate::senders::POISON;

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

use Mishap::*;

const DESTINATION: &[Mishap] = &[
    Refused,
    Throttled,
    Hangs,
    Breaks,
    Unreachable,
    Slow,
    AnswerLost,
    AnswerLate,
    AnswerCut,
    Stale,
    Partly,
    Unauthorized,
    Misrouted,
];

/// Which mishaps a place knows; the endpoint's are drawn on their own, where there is one.
const MISHAPS: [(Place, &[Mishap]); 10] = [
    (Place::Sqs, &[Refused, Throttled, Hangs, Breaks, AnswerLost, AnswerLate, Partly]),
    (Place::Queue, &[Twice, NotDeleted]),
    (Place::Ssm, &[Refused, Throttled, Hangs, Breaks]),
    (
        Place::Firehose,
        &[
            Refused,
            Throttled,
            Hangs,
            Breaks,
            AnswerLost,
            AnswerLate,
            AnswerCut,
            Partly,
            Unauthorized,
            Misrouted,
        ],
    ),
    (Place::Segment, DESTINATION),
    (Place::Vero, DESTINATION),
    (Place::Logs, &[Refused, Throttled, Hangs, Breaks]),
    (Place::Replay, &[Dies]),
    (Place::Worker, &[Dies, Starved]),
    (Place::Ingest, &[Dies, Starved]),
];

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

/// Documents of rules, each as it stands in `events/`.
pub const RULES: [&str; 6] = [
    include_str!("../../../events/rules-clicks-and-bounces-to-vero.json"),
    include_str!("../../../events/rules-hash-addresses.json"),
    include_str!("../../../events/rules-no-newsletters-to-segment.json"),
    include_str!("../../../events/rules-only-consented.json"),
    include_str!("../../../events/rules-own-property-names.json"),
    include_str!("../../../events/rules-sample-opens.json"),
];

/// What addresses are hashed with.
pub const ADDRESS_SECRET: &str = "a-secret-that-never-changes";

/// What is sent at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Send {
    /// A webhook of Vero's, of the type at this place among [`crate::senders::TYPES`], about this user.
    Webhook { kind: usize, user: u32 },
    /// A newsletter: so many webhooks within a second.
    Newsletter { recipients: u32 },
    /// So many webhooks about a user in one request.
    Array { webhooks: u32, user: u32 },
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
    /// There is a webhook endpoint, which gets so many events a request.
    pub endpoint: Option<usize>,
    /// The blueprint, with rules.
    pub rules: Option<&'static str>,
}

impl Scenario {
    pub fn of(seed: u64, hours: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let end = hours * HOUR;
        let kinds: Vec<(Place, Mishap)> = MISHAPS
            .iter()
            .flat_map(|(place, mishaps)| mishaps.iter().map(|mishap| (*place, *mishap)))
            .collect();
        let mut troubles = Vec::new();
        for _ in 0..rng.usize(0..=5) {
            let (place, mishap) = kinds[rng.usize(..kinds.len())];
            for _ in 0..rng.usize(1..=3) {
                troubles.push(trouble(&mut rng, place, mishap, end));
            }
        }
        if rng.usize(..20) == 0 {
            // A destination is down all day: what is tried so often becomes a dead letter.
            let place = [Place::Segment, Place::Vero, Place::Firehose][rng.usize(..3)];
            let mishap = [Refused, Hangs, Breaks][rng.usize(..3)];
            let from = rng.u64(0..HOUR);
            troubles.push(Trouble { place, mishap, from, until: end, rate: 1.0 });
        }
        let mut sends = sends(&mut rng, end, &troubles);
        // More for one user than a slow Vero takes within many invocations.
        let is_too_much = rng.usize(..40) == 0;
        if is_too_much {
            let from = rng.u64(0..end);
            let (place, mishap) = (Place::Vero, Slow);
            troubles.push(Trouble { place, mishap, from, until: (from + HOUR).min(end), rate: 1.0 });
            sends.push(((from + MINUTE).min(end), Send::Batch { events: 250, user: 0 }));
            sends.sort_by_key(|(at, _)| *at);
        }
        let mut operations = Vec::new();
        for _ in 0..rng.usize(0..=3) {
            let at = rng.u64(0..end);
            match rng.usize(..10) {
                0 => operations.push((at, Operation::Deploy)),
                1 => {
                    let paused = ["segment", "vero_track", "archive"][rng.usize(..3)];
                    operations.push((at, Operation::Pause(paused)));
                    operations.push(((at + rng.u64(MINUTE..LONGEST_PAUSE)).min(end), Operation::Resume));
                }
                2 | 3 => {
                    let place = if rng.bool() { Place::Segment } else { Place::Vero };
                    operations.push((at, Operation::RotateKey(place)));
                }
                4 => {
                    let destination = ["segment", "vero_track"][rng.usize(..2)];
                    operations.push((at, Operation::Replay { hours: rng.u64(1..12), destination }));
                }
                5 => operations.push((at, Operation::RotateToken)),
                6 | 7 => operations.push((at, Operation::Forget { user: rng.u32(..6) })),
                _ => operations.push((at, Operation::Redrive)),
            }
        }
        let endpoint = with_endpoint(seed, end, &mut troubles, &mut operations);
        with_both_down(seed, end, &mut troubles, &mut sends);
        with_changes_of_mind(seed, end, &mut troubles, &mut sends);
        with_mistake(seed, end, &mut operations);
        operations.sort_by_key(|(at, _)| *at);
        Scenario {
            seed,
            end,
            troubles,
            sends,
            operations,
            concurrency: if is_too_much { 2 } else { [2, 3, 10][rng.usize(..3)] },
            batch_size: if is_too_much { 100 } else { [1, 10, 10, 100][rng.usize(..4)] },
            batch_window: [0, 0, SECOND, 20 * SECOND][rng.usize(..4)],
            skew: [0, 0, 50, 500][rng.usize(..4)],
            idle: [5 * SECOND, 60 * SECOND, 350 * SECOND][rng.usize(..3)],
            has_archive: !is_too_much && rng.usize(..5) > 0,
            passes_on: rng.usize(..4) == 0,
            endpoint,
            rules: rules(seed),
        }
    }

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

    /// Whether this goes wrong somewhere, at any time from `from` to `until`.
    pub fn has(&self, mishap: Mishap, from: u64, until: u64) -> bool {
        self.troubles.iter().any(|trouble| trouble.mishap == mishap && trouble.overlaps(from, until))
    }

    /// Whether nothing goes wrong anywhere, at any time from `from` to `until`.
    pub fn is_calm_everywhere(&self, from: u64, until: u64) -> bool {
        !self.troubles.iter().any(|trouble| trouble.overlaps(from, until))
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

/// A webhook endpoint in every other seed, with troubles and operations of its own.
fn with_endpoint(
    seed: u64,
    end: u64,
    troubles: &mut Vec<Trouble>,
    operations: &mut Vec<(u64, Operation)>,
) -> Option<usize> {
    let mut rng = Rng::with_seed(seed ^ 0xe4d);
    if rng.bool() {
        return None;
    }
    for _ in 0..rng.usize(0..=2) {
        let mishap = DESTINATION.get(rng.usize(..=DESTINATION.len())).unwrap_or(&Private);
        troubles.push(trouble(&mut rng, Place::Endpoint, *mishap, end));
    }
    let at = rng.u64(0..end);
    match rng.usize(..8) {
        // One pause at a time.
        0 if !operations.iter().any(|(_, operation)| matches!(operation, Operation::Pause(_))) => {
            operations.push((at, Operation::Pause(ENDPOINT)));
            operations.push(((at + rng.u64(MINUTE..LONGEST_PAUSE)).min(end), Operation::Resume));
        }
        1 | 2 => operations.push((at, Operation::RotateKey(Place::Endpoint))),
        3 => {
            operations.push((at, Operation::Replay { hours: rng.u64(1..12), destination: ENDPOINT }));
        }
        _ => (),
    }
    Some([1, 1, 7, 100][rng.usize(..4)])
}

/// In some seeds SQS takes nothing while a destination does not either, so that nothing can be put back. In some there is
/// what is no event.
fn with_both_down(seed: u64, end: u64, troubles: &mut Vec<Trouble>, sends: &mut Vec<(u64, Send)>) {
    let mut rng = Rng::with_seed(seed ^ 0xb07);
    if rng.usize(..3) == 0 {
        let at = rng.u64(0..end);
        sends.push((at, Send::Poison { kind: rng.usize(..POISON.len()) }));
    }
    if rng.usize(..4) == 0 {
        let from = rng.u64(0..end - HOUR);
        let (down, ours) = (from + 30 * SECOND, from + rng.u64(2..20) * MINUTE);
        let place = [Place::Segment, Place::Vero, Place::Firehose][rng.usize(..3)];
        troubles.push(Trouble { place, mishap: Refused, from, until: ours + 10 * MINUTE, rate: 1.0 });
        let mishap = [Refused, Hangs, Breaks, Partly][rng.usize(..4)];
        troubles.push(Trouble { place: Place::Sqs, mishap, from: down, until: ours, rate: 1.0 });
        for _ in 0..rng.usize(1..6) {
            let kind = rng.usize(..crate::senders::TYPES.len());
            sends.push((from + rng.u64(15..30) * SECOND, Send::Webhook { kind, user: rng.u32(..6) }));
        }
    }
    sends.sort_by_key(|(at, _)| *at);
}

/// In some seeds users want messages again and then do not, while neither Vero nor the archive takes everything, so that
/// one of the two is owed here and the other one there.
fn with_changes_of_mind(seed: u64, end: u64, troubles: &mut Vec<Trouble>, sends: &mut Vec<(u64, Send)>) {
    let mut rng = Rng::with_seed(seed ^ 0xc0);
    if rng.usize(..8) > 0 {
        return;
    }
    let from = rng.u64(0..end - HOUR);
    let until = from + 20 * MINUTE;
    for (place, rate) in [(Place::Vero, 0.8), (Place::Firehose, 1.0)] {
        troubles.push(Trouble { place, mishap: Refused, from, until, rate });
    }
    for user in 1_000..1_000 + rng.u32(5..20) {
        let at = from + rng.u64(MINUTE..3 * MINUTE);
        sends.push((at, Send::Resubscribe { user }));
        sends.push((at + rng.u64(1..20) * SECOND, Send::Unsubscribe { user }));
    }
    sends.sort_by_key(|(at, _)| *at);
}

/// In some seeds the operator makes a mistake.
fn with_mistake(seed: u64, end: u64, operations: &mut Vec<(u64, Operation)>) {
    let mut rng = Rng::with_seed(seed ^ 0x3157);
    if rng.usize(..4) == 0 {
        let mistake = match rng.bool() {
            true => Mistake::Variable(rng.usize(..WRONG.len())),
            false => Mistake::Document,
        };
        let at = rng.u64(0..end);
        operations.push((at, Operation::Mistake(mistake)));
        operations.push(((at + rng.u64(MINUTE..LONGEST_MISTAKE)).min(end), Operation::Mend));
    }
}

/// One of the documents in every third seed.
fn rules(seed: u64) -> Option<&'static str> {
    let mut rng = Rng::with_seed(seed ^ 0x2e1);
    (rng.usize(..3) == 0).then(|| RULES[rng.usize(..RULES.len())])
}

fn trouble(rng: &mut Rng, place: Place, mishap: Mishap, end: u64) -> Trouble {
    // From seconds to the whole day, each length as likely as ten times that.
    let length = rng.u64(5..10) * [1, 10, 100, 1_000, 8_000][rng.usize(..5)] * SECOND;
    let from = rng.u64(0..end);
    let rate: f64 = [0.03, 0.2, 0.6, 1.0][rng.usize(..4)];
    // What dies at every turn does nothing at all, which says little. What makes two messages of one is kept rare or
    // short, since two become four; and an event that is tried all day, and taken each time, says no more than one of an
    // hour.
    let (rate, length) = match (place, mishap) {
        (_, Dies) if length > HOUR => (rate.min(0.2), length),
        (_, Dies) => (rate.min(0.6), length),
        (Place::Queue, _) => (rate.min(0.2), length.min(HOUR)),
        (Place::Sqs, AnswerLost | AnswerLate) => (rate, length.min(MINUTE)),
        (_, AnswerLost | AnswerLate | AnswerCut) => (rate, length.min(2 * HOUR)),
        _ => (rate, length),
    };
    Trouble { place, mishap, from, until: (from + length).min(end), rate }
}

fn sends(rng: &mut Rng, end: u64, troubles: &[Trouble]) -> Vec<(u64, Send)> {
    let mut sends = Vec::new();
    for number in 0..rng.u32(5..40) {
        // Half of it while something goes wrong: the rest of the day is long.
        let at = match troubles {
            [_, ..] if rng.bool() => {
                let Trouble { from, until, .. } = troubles[rng.usize(..troubles.len())];
                rng.u64(from..until.max(from + 1))
            }
            _ => rng.u64(0..end),
        };
        let user = rng.u32(..6);
        match rng.usize(..12) {
            0 => sends.push((at, Send::Newsletter { recipients: rng.u32(2..40) })),
            1 | 2 => sends.push((at, Send::Batch { events: [1, 2, 3, 12][rng.usize(..4)], user })),
            3 => sends.push((at, Send::Tags { user: number })),
            4 | 5 => {
                // Of each such user there is one of each, so that they can be told apart at Vero.
                let gap = rng.u64(1..10) * [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000][rng.usize(..7)];
                let (first, second) = match rng.bool() {
                    true => (Send::Resubscribe { user: number }, Send::Unsubscribe { user: number }),
                    false => (Send::Unsubscribe { user: number }, Send::Resubscribe { user: number }),
                };
                sends.push((at, first));
                sends.push(((at + gap).min(end), second));
            }
            6 if rng.usize(..4) == 0 => sends.push((at, Send::Later)),
            7 => sends.push((at, Send::Array { webhooks: rng.u32(1..12), user })),
            _ => sends.push((at, Send::Webhook { kind: rng.usize(..crate::senders::TYPES.len()), user })),
        }
    }
    sends.sort_by_key(|(at, _)| *at);
    sends
}
