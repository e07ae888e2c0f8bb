//! What must hold when a seed has been played.

use crate::ledger::{ARCHIVE, ENDPOINT, SEGMENT, VERO};
use crate::scenario::{HOUR, MINUTE, Place, SECOND, Scenario, Send, at_place};
use crate::services::unpacked;
use crate::state::{DEAD_LETTERS, QUEUE, REPLAY_DEAD_LETTERS, State};

/// A destination that is well, and was so for an hour, has an event within this time, plus what follows.
const PROMPT: u64 = 60 * SECOND;

/// A destination that fails holds up an invocation for so long (docs/delivery.md, "Time"), and one that takes all, if
/// slowly, for as long as it may take.
const HELD_UP: u64 = 10 * SECOND;
const SLOWED_DOWN: u64 = 25 * SECOND;

/// So many messages may lie before one's own: a newsletter and its copies; more if that many are sent at once.
const BEFORE: usize = 80;

/// Everything that can be told from the end alone.
pub fn all(state: &mut State) {
    check_later(state);
    check_poison(state);
    check_forgotten(state);
    check_metrics(state);
    check_delivery_log(state);
    check_promptness(state);
}

/// What a later release has written waits for it.
fn check_later(state: &mut State) {
    for number in 0..state.scenario.sends.len() {
        let (at, send) = &state.scenario.sends[number];
        let name = format!(r#""later-{number}""#);
        // What was received for nothing too often is a dead letter.
        let queues = [QUEUE, DEAD_LETTERS];
        let is_there =
            queues.iter().any(|queue| state.aws.messages(queue).any(|(_, body)| body.contains(&name)));
        if matches!(send, Send::Later) && *at < state.now && !is_there {
            state.ledger.violation(state.now, format!("{name}, of a later release, is lost"));
        }
    }
}

/// What is no event is a dead letter, once.
fn check_poison(state: &mut State) {
    for number in 0..state.scenario.sends.len() {
        let (at, send) = &state.scenario.sends[number];
        let name = format!("poison-{number}");
        let is_it = |body: &str| body == name || body.contains(&format!(r#""{name}""#));
        let letters = state.aws.messages(DEAD_LETTERS).filter(|(_, body)| is_it(body)).count();
        if matches!(send, Send::Poison { .. }) && *at < state.now && letters == 0 {
            state.ledger.violation(state.now, format!("{name} is no dead letter"));
        }
    }
}

/// A run that forgets and went on by itself has come to its end, unless its continuation failed too often.
fn check_forgotten(state: &mut State) {
    if state.aws.messages(REPLAY_DEAD_LETTERS).next().is_some() {
        return;
    }
    for (column, keys) in std::mem::take(&mut state.forgetting) {
        for key in keys {
            if unpacked(state.bucket.get(&key).unwrap_or_default()).contains(&column) {
                state.ledger.violation(state.now, format!("{key} still has rows with {column}"));
            }
        }
    }
}

/// What the metrics say has happened, if no process died with its line unwritten.
fn check_metrics(state: &mut State) {
    if state.ledger.broken_off > 0 {
        return;
    }
    let ledger = &state.ledger;
    let said = |name: &str| ledger.metrics.get(name).copied().unwrap_or_default();
    let of_all = |metric: &str| -> u64 {
        ["Segment", "VeroTrack", "VeroTags", "Archive", "Webhook"]
            .iter()
            .map(|part| said(&format!("{part}{metric}")))
            .sum()
    };
    let called = |place| ledger.calls.get(&place).copied().unwrap_or_default();
    let accepted = |part: &str| ledger.acknowledged.get(part).copied().unwrap_or_default();
    let mut sums = vec![
        ("Messages", said("Messages"), ledger.handed_out as u64),
        ("Returned", said("Returned"), ledger.returned as u64),
        ("SegmentCalls", said("SegmentCalls"), called(Place::Segment)),
        // Vero's tags are calls to Vero, too.
        (
            "VeroTrackCalls and VeroTagsCalls",
            said("VeroTrackCalls") + said("VeroTagsCalls"),
            called(Place::Vero),
        ),
        ("WebhookCalls", said("WebhookCalls"), called(Place::Endpoint)),
        ("WebhookAccepted", said("WebhookAccepted"), accepted(ENDPOINT)),
        ("SegmentAccepted", said("SegmentAccepted"), accepted(SEGMENT)),
        ("ArchiveAccepted", said("ArchiveAccepted"), accepted(ARCHIVE)),
        (
            "VeroTrackAccepted and VeroTagsAccepted",
            said("VeroTrackAccepted") + said("VeroTagsAccepted"),
            accepted(VERO),
        ),
    ];
    if state.scenario.is_calm(&[Place::Sqs], 0, u64::MAX) {
        sums.push(("Dead and Poison", of_all("Dead") + said("Poison"), ledger.letters as u64));
    }
    let mut wrong: Vec<String> = sums
        .into_iter()
        .filter(|(_, said, happened)| said != happened)
        .map(|(name, said, happened)| format!("{name} is {said}, but it was {happened}"))
        .collect();
    for (part, name) in [(SEGMENT, "Segment"), (VERO, "VeroTrack"), (ENDPOINT, "Webhook")] {
        let doubled = ledger.events.values().filter(|event| event.is_doubled(part)).count() as u64;
        let counted = said(&format!("{name}MaybeDoubled"));
        if counted < doubled {
            wrong.push(format!("{name} got {doubled} events twice, and {counted} are counted"));
        }
    }
    for what in wrong {
        state.ledger.violation(state.now, what);
    }
}

/// The delivery log has a row of everything that was delivered, if no process died and Firehose took all.
fn check_delivery_log(state: &mut State) {
    let is_kept = state.scenario.has_archive;
    if !is_kept
        || state.ledger.broken_off > 0
        || !state.scenario.is_calm(&[Place::Firehose, Place::Sqs], 0, u64::MAX)
    {
        return;
    }
    let mut missing = Vec::new();
    for (id, event) in &state.ledger.events {
        let parts = event.deliveries.keys().filter(|part| !event.logged.contains(*part));
        missing.extend(parts.map(|part| format!("{part} has {id}, and the delivery log does not know")));
    }
    for what in missing {
        state.ledger.violation(state.now, what);
    }
}

/// A destination's trouble holds up no other's events.
fn check_promptness(state: &mut State) {
    let Scenario { concurrency, batch_size, batch_window, .. } = state.scenario;
    // Batches are half full on average.
    let largest = state.scenario.sends.iter().map(|(_, send)| match send {
        Send::Batch { events, .. } => *events as usize,
        _ => 0,
    });
    let before = BEFORE.max(largest.max().unwrap_or_default());
    let batches = (before / (concurrency * batch_size.div_ceil(2)) + 1) as u64;
    let held_up = if state.scenario.has_slow(0, u64::MAX) { SLOWED_DOWN } else { HELD_UP };
    let prompt = PROMPT + held_up * batches + 2 * batch_window;
    let mut late = Vec::new();
    for (id, event) in &state.ledger.events {
        for part in [SEGMENT, VERO, ARCHIVE, ENDPOINT] {
            let place = at_place(part);
            let Some(first) = event.deliveries.get(part).and_then(|times| times.first()) else { continue };
            let from = event.queued_at;
            let ours = [Place::Sqs, Place::Queue, Place::Ssm, Place::Worker];
            let was_paused = state.scenario.has_operations(place, from, from + prompt);
            let is_calm = state.scenario.is_calm(&ours, from.saturating_sub(10 * MINUTE), from + prompt)
                && state.scenario.is_calm(&[place], from.saturating_sub(HOUR), from + prompt);
            if is_calm && !was_paused && first - from > prompt {
                late.push(format!("{id} came to {part} after {} s", (first - from) / SECOND));
            }
        }
    }
    for what in late {
        state.ledger.violation(state.now, what);
    }
}
