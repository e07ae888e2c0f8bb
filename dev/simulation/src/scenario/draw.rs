//! What a seed draws.
//!
//! Every seed switches kinds of trouble on and off at random (swarm testing: Groce et al., ISSTA 2012), since troubles
//! that are always all on hide each other.

use fastrand::Rng;
use relay_core::endpoints::Form;

use super::Mishap::*;
use super::{
    Endpoint, HOUR, LONGEST_MISTAKE, LONGEST_PAUSE, MINUTE, Mishap, Mistake, Operation, Place, RULES, SECOND,
    Scenario, Send, Trouble, WRONG,
};
use crate::ledger::ENDPOINT;
use crate::senders::{POISON, TYPES};

/// Of a standard queue (SQS developer guide, "Message quotas").
const IN_FLIGHT: usize = 120_000;

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
const MISHAPS: [(Place, &[Mishap]); 11] = [
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
    (Place::S3, &[Refused, Throttled, Hangs, Breaks, Slow, AnswerLost, AnswerLate, AnswerCut, Unauthorized]),
    (Place::Segment, DESTINATION),
    (Place::Vero, DESTINATION),
    (Place::Logs, &[Refused, Throttled, Hangs, Breaks]),
    (Place::Replay, &[Dies]),
    (Place::Worker, &[Dies, Starved]),
    (Place::Ingest, &[Dies, Starved]),
];

impl Scenario {
    /// All that a seed stands for.
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
            let at = moment(&mut rng, end, &troubles);
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
        with_test_button(seed, end, &mut sends);
        with_changes_of_mind(seed, end, &mut troubles, &mut sends);
        with_mistake(seed, end, &mut operations, &mut sends);
        with_forgotten_user(seed, end, &mut troubles, &mut operations, &mut sends);
        operations.sort_by_key(|(at, _)| *at);
        let concurrency = if is_too_much { 2 } else { [2, 3, 10][rng.usize(..3)] };
        let batch_size = if is_too_much { 100 } else { [1, 10, 10, 100][rng.usize(..4)] };
        Scenario {
            seed,
            end,
            troubles,
            sends,
            operations,
            concurrency,
            batch_size,
            batch_window: [0, 0, SECOND, 20 * SECOND][rng.usize(..4)],
            skew: [0, 0, 50, 500][rng.usize(..4)],
            idle: [5 * SECOND, 60 * SECOND, 350 * SECOND][rng.usize(..3)],
            has_archive: !is_too_much && rng.usize(..5) > 0,
            passes_on: rng.usize(..4) == 0,
            // What SQS allows, or what all workers get at once: then the messages of a dead one keep others back.
            in_flight: [IN_FLIGHT, IN_FLIGHT, concurrency * batch_size][rng.usize(..3)],
            endpoint,
            rules: rules(seed),
        }
    }
}

/// A webhook endpoint in every other seed, with troubles and operations of its own.
fn with_endpoint(
    seed: u64,
    end: u64,
    troubles: &mut Vec<Trouble>,
    operations: &mut Vec<(u64, Operation)>,
) -> Option<Endpoint> {
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
    let max_events = [1, 1, 7, 100][rng.usize(..4)];
    Some(Endpoint { max_events, form: [Form::Received, Form::Received, Form::Segment][rng.usize(..3)] })
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
            let kind = rng.usize(..TYPES.len());
            sends.push((from + rng.u64(15..30) * SECOND, Send::Webhook { kind, user: rng.u32(..6) }));
        }
    }
    sends.sort_by_key(|(at, _)| *at);
}

/// In some seeds somebody presses Vero's test button, perhaps more than once: all webhooks of a type are alike then.
fn with_test_button(seed: u64, end: u64, sends: &mut Vec<(u64, Send)>) {
    let mut rng = Rng::with_seed(seed ^ 0x7e57);
    if rng.usize(..10) == 0 {
        let at = rng.u64(0..end);
        for press in 0..rng.u64(1..4) {
            sends.push(((at + press * 3 * SECOND).min(end), Send::TestButton));
        }
        sends.sort_by_key(|(at, _)| *at);
    }
}

/// In some seeds users want messages again and then do not, while neither Vero nor the archive takes everything, so that
/// one of the two is owed here and the other one there.
fn with_changes_of_mind(seed: u64, end: u64, troubles: &mut Vec<Trouble>, sends: &mut Vec<(u64, Send)>) {
    let mut rng = Rng::with_seed(seed ^ 0xc0);
    if rng.usize(..4) > 0 {
        return;
    }
    let from = rng.u64(0..end - HOUR);
    let until = from + 20 * MINUTE;
    for (place, rate) in [(Place::Vero, 0.5), (Place::Firehose, 1.0)] {
        troubles.push(Trouble { place, mishap: Refused, from, until, rate });
    }
    for user in 1_000..1_000 + rng.u32(10..40) {
        let at = from + rng.u64(MINUTE..3 * MINUTE);
        sends.push((at, Send::Resubscribe { user }));
        sends.push((at + rng.u64(1..20) * SECOND, Send::Unsubscribe { user }));
    }
    sends.sort_by_key(|(at, _)| *at);
}

/// In some seeds the operator makes a mistake, and webhooks come before it is seen, so that workers go on.
fn with_mistake(seed: u64, end: u64, operations: &mut Vec<(u64, Operation)>, sends: &mut Vec<(u64, Send)>) {
    let mut rng = Rng::with_seed(seed ^ 0x3157);
    if rng.usize(..4) == 0 {
        let mistake = match rng.bool() {
            true => Mistake::Variable(rng.usize(..WRONG.len())),
            false => Mistake::Document,
        };
        let at = rng.u64(0..end);
        operations.push((at, Operation::Mistake(mistake)));
        operations.push(((at + rng.u64(MINUTE..LONGEST_MISTAKE)).min(end), Operation::Mend));
        for number in 0..rng.u64(0..12) {
            let send = Send::Webhook { kind: rng.usize(..TYPES.len()), user: rng.u32(..6) };
            sends.push(((at + number * 2 * MINUTE).min(end), send));
        }
        sends.sort_by_key(|(at, _)| *at);
    }
}

/// In some seeds the operator forgets a user whose webhooks are both on the queue and in the log, since SQS's answers were
/// lost. Meanwhile S3 fails now and then.
fn with_forgotten_user(
    seed: u64,
    end: u64,
    troubles: &mut Vec<Trouble>,
    operations: &mut Vec<(u64, Operation)>,
    sends: &mut Vec<(u64, Send)>,
) {
    let mut rng = Rng::with_seed(seed ^ 0xf0);
    if rng.usize(..10) > 0 {
        return;
    }
    // The hourly run that reads the log comes last.
    let (hour, user) = (rng.u64(0..end / HOUR) * HOUR, rng.u32(..6));
    let (place, mishap, from) = (Place::Sqs, AnswerLost, hour + 5 * MINUTE);
    troubles.push(Trouble { place, mishap, from, until: from + MINUTE, rate: 1.0 });
    for _ in 0..rng.usize(1..4) {
        let kind = rng.usize(..TYPES.len());
        sends.push((from + rng.u64(0..MINUTE), Send::Webhook { kind, user }));
    }
    sends.sort_by_key(|(at, _)| *at);
    operations.push((hour + rng.u64(20..45) * MINUTE, Operation::Forget { user }));
    let (place, mishap) =
        (Place::S3, [Refused, Hangs, Breaks, AnswerLost, AnswerCut, Unauthorized][rng.usize(..6)]);
    let rate = [0.2, 0.6][rng.usize(..2)];
    troubles.push(Trouble { place, mishap, from, until: hour + HOUR, rate });
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

/// When something happens: in half of the cases while something goes wrong, because the rest of the day is long.
fn moment(rng: &mut Rng, end: u64, troubles: &[Trouble]) -> u64 {
    match troubles {
        [_, ..] if rng.bool() => {
            let Trouble { from, until, .. } = troubles[rng.usize(..troubles.len())];
            rng.u64(from..until.max(from + 1))
        }
        _ => rng.u64(0..end),
    }
}

fn sends(rng: &mut Rng, end: u64, troubles: &[Trouble]) -> Vec<(u64, Send)> {
    let mut sends = Vec::new();
    for number in 0..rng.u32(5..40) {
        let at = moment(rng, end, troubles);
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
            6 => match rng.usize(..4) {
                0 => sends.push((at, Send::Later)),
                1 => sends.push((at, Send::Earlier { kind: rng.usize(..TYPES.len()), user })),
                _ => sends.push((at, Send::Webhook { kind: rng.usize(..TYPES.len()), user })),
            },
            7 => sends.push((at, Send::Array { webhooks: rng.u32(1..12), user, alike: rng.bool() })),
            _ => sends.push((at, Send::Webhook { kind: rng.usize(..TYPES.len()), user })),
        }
    }
    sends.sort_by_key(|(at, _)| *at);
    sends
}
