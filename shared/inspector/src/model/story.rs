//! The story of an event: what came, what it was mapped to, each try, and where it is now. It is made of the evidence,
//! and says what it cannot know.

use std::collections::BTreeSet;
use std::time::Duration;

use relay_core::delivery::MAX_DELAY;
use relay_core::destinations::{self, Access, DestinationRow, Part};
use relay_core::envelope::Envelope;
use serde::Serialize;
use serde_json::Value;

use super::evidence::Evidence;
use super::mapping::{Mapping, map};
use super::state::Stack;
use super::switches::is_off;
use super::time::At;

/// The story of an event.
#[derive(Debug, Serialize)]
pub struct Story {
    /// Its id.
    pub id: String,
    /// Where it came from: `vero` or `segment`.
    pub source: Option<&'static str>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// When it was received.
    pub received_at: Option<At>,
    /// What became of it at each part of a destination.
    pub destinations: Vec<DestinationStory>,
    /// What is not known, and why.
    pub unknown: Vec<String>,
    /// The envelope whole; only when addresses are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Value>,
}

/// What became of an event at a part of a destination.
#[derive(Debug, Serialize)]
pub struct DestinationStory {
    /// The part's name, or that of an endpoint: `webhook:crm`.
    pub name: String,
    /// Where the event is now.
    pub state: State,
    /// What it was mapped to: the requests' names, such as `track Email Opened`.
    pub mapped_to: Vec<String>,
    /// The requests whole, without keys; only when addresses are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Value>,
    /// Each try that is known, in the order of time.
    pub attempts: Vec<Attempt>,
}

impl DestinationStory {
    /// Whether the last try met an open breaker, and nothing has come of the event since.
    pub fn is_held_by_breaker(&self) -> bool {
        let is_last = self.attempts.last().is_some_and(|attempt| attempt.met_breaker() == Some(true));
        is_last && !self.state.is_final()
    }
}

/// Where an event is, seen from a part of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// The destination has it.
    Accepted {
        /// Since when.
        at: At,
    },
    /// It was not meant for the destination.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// It waits for its next try.
    Owed {
        /// The latest time of the next try.
        next_try_before: At,
        /// Why the last one failed.
        reason: String,
    },
    /// It is in the queue, and its next try is known.
    Queued {
        /// When it is tried.
        next_try: At,
        /// The number of that try.
        attempt: u64,
        /// Why the last one failed; `None` before the first.
        reason: Option<String>,
    },
    /// The worker has it now.
    UnderWay,
    /// The destination is paused, and the event waits.
    Paused,
    /// It is in the dead-letter queue.
    DeadLetter {
        /// Why.
        reason: String,
    },
    /// It was a dead letter, and is none any more: somebody has redriven or deleted it.
    WasDeadLetter {
        /// Why.
        reason: String,
    },
    /// The destination is off.
    Off,
    /// Not known.
    Unknown {
        /// What it may be.
        may_be: &'static str,
    },
}

impl State {
    /// Whether nothing more will happen by itself.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            State::Accepted { .. }
                | State::Skipped { .. }
                | State::DeadLetter { .. }
                | State::WasDeadLetter { .. }
                | State::Off
        )
    }

    /// In words.
    pub fn text(&self, now: At) -> String {
        match self {
            State::Accepted { at } => format!("accepted at {at}"),
            State::Skipped { reason } => format!("skipped: {reason}"),
            State::Owed { next_try_before, reason } if *next_try_before > now => {
                let wait = super::time::for_people(next_try_before.since(now));
                format!("owed ({reason}); it is tried again within {wait}")
            }
            State::Owed { reason, .. } => format!("owed ({reason}); its next try is due"),
            State::Queued { next_try, attempt, reason } => {
                let why = reason.as_ref().map(|reason| format!("owed ({reason}); ")).unwrap_or_default();
                let wait = super::time::for_people(next_try.since(now));
                if *next_try > now {
                    let at = next_try.clock();
                    format!("{why}again in {wait}, at {at}, attempt {attempt}")
                } else {
                    format!("{why}in the queue, attempt {attempt} is due")
                }
            }
            State::UnderWay => "the worker has it now".to_owned(),
            State::Paused => "paused; it waits until the destination is resumed".to_owned(),
            State::DeadLetter { reason } => format!("dead letter: {reason}"),
            State::WasDeadLetter { reason } => {
                format!("was a dead letter ({reason}) and is none any more: redriven or deleted")
            }
            State::Off => "the destination is off".to_owned(),
            State::Unknown { may_be } => format!("not known: {may_be}"),
        }
    }
}

/// A try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When its end became known.
    pub at: At,
    /// The number of the try.
    pub attempt: Option<u64>,
    /// `accepted`, `skipped`, `owed` or `dead`.
    pub outcome: String,
    /// Why it was not accepted.
    pub reason: Option<String>,
    /// HTTP's status.
    pub status: Option<u64>,
    /// `breaker` or `time` if no request was made: reason and status are those of an earlier one then. Only the log
    /// knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
}

impl Attempt {
    /// Why no request was made, in words.
    pub fn held_back_by(&self) -> Option<&'static str> {
        match self.held_back.as_deref()? {
            "breaker" => Some("the breaker"),
            _ => Some("the 10 s that a failing destination has in an invocation"),
        }
    }

    /// Whether the breaker was open; `None` if it tells nothing of the breaker.
    pub fn met_breaker(&self) -> Option<bool> {
        match (&*self.outcome, self.held_back.as_deref()) {
            (_, Some(by)) => (by == "breaker").then_some(true),
            ("accepted" | "owed", None) => Some(false),
            (_, None) => self.status.map(|_| false),
        }
    }
}

/// Tells the story of what was found; `show_addresses` puts the event and the requests in.
pub fn tell(evidence: &Evidence, stack: &Stack, now: At, show_addresses: bool) -> Story {
    let parsed = evidence.envelope.as_deref().and_then(|text| Some((text, Envelope::parse(text).ok()?)));
    let envelope = parsed.as_ref().map(|(_, envelope)| envelope);
    let mut mapped = envelope.map(|envelope| map(envelope, stack, &evidence.blueprint)).unwrap_or_default();
    let mut story = Story {
        id: evidence.id.clone(),
        source: envelope.map(|envelope| envelope.source.as_str()),
        kind: envelope.and_then(Envelope::type_attribute),
        received_at: envelope.map(|envelope| At(envelope.received_at)).or(At::of_id(&evidence.id)),
        destinations: Vec::new(),
        unknown: unknown(evidence),
        envelope: None,
    };
    for row in &destinations::ALL {
        let mut names = names(row, stack);
        names.extend(gone(row, evidence, &names));
        for (name, part) in names {
            let is_first = part.name == row.name;
            let attempts = attempts(evidence, &name);
            let is_wanted = envelope.is_none_or(|envelope| part.sources.contains(&envelope.source));
            let mapping = mapped.remove(&name);
            // Tags are owed only where there are any.
            if !is_wanted || (!is_first && attempts.is_empty() && mapping.is_none()) {
                continue;
            }
            let (mapped_to, requests) = mapping.map_or_else(Default::default, Mapping::into_shown);
            let state = state(evidence, stack, row, &name, &attempts, now);
            let requests = if show_addresses { requests } else { Vec::new() };
            story.destinations.push(DestinationStory { name, state, mapped_to, requests, attempts });
        }
    }
    if show_addresses {
        story.envelope = parsed.and_then(|(text, _)| serde_json::from_str(text).ok());
    }
    story
}

/// The names under which a new event is owed to a destination: its own, or that of each endpoint that is on.
pub fn first_names(row: &'static DestinationRow, stack: &Stack) -> Vec<String> {
    let names = names(row, stack).into_iter();
    names.filter(|(_, part)| part.name == row.name).map(|(name, _)| name).collect()
}

/// Endpoints that are off by now, of which there are tries or dead letters.
fn gone(
    row: &'static DestinationRow,
    evidence: &Evidence,
    on: &[(String, &'static Part)],
) -> Vec<(String, &'static Part)> {
    let of_letters = evidence.letters.yes().into_iter().flatten().flat_map(|letter| &letter.destinations);
    let of_log = evidence.deliveries.yes().into_iter().flatten().map(|delivery| &delivery.part);
    let names: BTreeSet<&String> = of_letters.chain(of_log).collect();
    let is_gone = |name: &str| !on.iter().any(|(own, _)| own == name);
    let known =
        names.into_iter().filter(|name| matches!(row.access, Access::Endpoints { .. }) && is_gone(name));
    let of_row = known.filter_map(|name| {
        let (own, part) = destinations::owed_to(name)?;
        (own.name == row.name).then(|| (name.clone(), part))
    });
    of_row.collect()
}

/// What an event can be owed to at a destination, and the parts: of endpoints each that is on.
fn names(row: &'static DestinationRow, stack: &Stack) -> Vec<(String, &'static Part)> {
    let parts = row.parts.iter();
    match row.access {
        Access::Endpoints { .. } => parts
            .flat_map(|part| stack.endpoints().into_iter().map(move |name| (row.endpoint(&name), part)))
            .collect(),
        Access::Api { .. } | Access::Stream { .. } => {
            parts.map(|part| (part.name.to_owned(), part)).collect()
        }
    }
}

fn unknown(evidence: &Evidence) -> Vec<String> {
    let sources = [
        ("the archive's row of the event", evidence.archived.why_not()),
        ("the delivery log", evidence.deliveries.why_not()),
        ("the logs", evidence.lines.why_not()),
        ("the dead letters", evidence.letters.why_not()),
    ];
    let mut unknown: Vec<String> =
        sources.into_iter().filter_map(|(source, why)| Some(format!("{source}: {}", why?))).collect();
    if evidence.envelope.is_none() {
        unknown
            .push("what was received and what it was mapped to: its envelope is in none of these".to_owned());
    }
    unknown
}

fn attempts(evidence: &Evidence, part: &str) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for row in evidence.deliveries.yes().into_iter().flatten().filter(|row| row.part == part) {
        attempts.push(Attempt {
            at: row.at,
            attempt: row.attempt,
            outcome: row.outcome.clone(),
            reason: row.reason.clone(),
            status: row.status,
            held_back: None,
        });
    }
    let rows = attempts.len();
    for line in evidence.lines.yes().into_iter().flatten() {
        let outcome = match line.message.as_str() {
            "still owed" => "owed",
            "skipped" => "skipped",
            message if message.starts_with("to the dead-letter queue") => "dead",
            _ => continue,
        };
        if line.destination.as_deref() != Some(part) {
            continue;
        }
        // The delivery log has what is final, too, but not what held it back.
        let known = attempts.iter().position(|other| {
            other.outcome == outcome && (other.attempt == line.attempt || line.attempt.is_none())
        });
        let held_back = line.held_back().map(str::to_owned);
        match known {
            Some(row) if row < rows => attempts[row].held_back = held_back,
            Some(_) => (),
            None => attempts.push(Attempt {
                at: line.at,
                attempt: line.attempt,
                outcome: outcome.to_owned(),
                reason: line.reason.clone(),
                status: line.status,
                held_back,
            }),
        }
    }
    attempts.sort_by_key(|attempt| attempt.at);
    attempts
}

/// The longest wait for the next try, and the time that an event takes through the queue.
const SLACK: Duration = Duration::from_secs(120);

fn state(
    evidence: &Evidence,
    stack: &Stack,
    row: &DestinationRow,
    part: &str,
    attempts: &[Attempt],
    now: At,
) -> State {
    let letters = evidence.letters.yes().map(Vec::as_slice).unwrap_or_default();
    let letter = letters
        .iter()
        .find(|letter| letter.destinations.iter().any(|name| name == part) || letter.destinations.is_empty());
    if let Some(letter) = letter {
        return State::DeadLetter { reason: letter.reason.clone() };
    }
    let accepted = attempts.iter().rev().find(|attempt| attempt.outcome == "accepted");
    if let Some(accepted) = accepted {
        return State::Accepted { at: accepted.at };
    }
    let reason = |attempt: &Attempt| attempt.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
    // What is in the queue is owed, also if it was a dead letter before.
    if let Some(queued) = evidence.queued_for(part).filter(|_| !is_off(stack, row)) {
        if stack.paused().any(|paused| paused == row.name || paused == part) {
            return State::Paused;
        }
        if queued.is_received {
            return State::UnderWay;
        }
        let last = attempts.last().filter(|last| last.outcome == "owed");
        let (next_try, attempt) = (queued.due, queued.attempt + 1);
        return State::Queued { next_try, attempt, reason: last.map(reason) };
    }
    match attempts.last() {
        Some(last) if last.outcome == "skipped" => return State::Skipped { reason: reason(last) },
        Some(last) if last.outcome == "dead" && evidence.letters.yes().is_none() => {
            return State::DeadLetter { reason: reason(last) };
        }
        Some(last) if last.outcome == "dead" => return State::WasDeadLetter { reason: reason(last) },
        _ => (),
    }
    if is_off(stack, row) {
        return State::Off;
    }
    if stack.paused().any(|paused| paused == row.name || paused == part) {
        return State::Paused;
    }
    match attempts.last() {
        Some(last) => {
            let next_try_before = At::from_ms(last.at.ms() + (MAX_DELAY + SLACK).as_millis() as i64);
            // A further failure would have left a line.
            if now > next_try_before && evidence.deliveries.yes().is_none() {
                return State::Unknown {
                    may_be: "no failure since its last try, so it was most likely accepted; without an archive there is no proof",
                };
            }
            State::Owed { next_try_before, reason: reason(last) }
        }
        None if evidence.deliveries.yes().is_some() => State::Unknown {
            may_be: "it waits in the queue, a worker died over it and it comes back (relay status says when), or the delivery log does not have its row yet (up to 15 minutes)",
        },
        None => State::Unknown {
            may_be: "no failure is known, so it was accepted or skipped, or it still waits; without an archive there is no record",
        },
    }
}
