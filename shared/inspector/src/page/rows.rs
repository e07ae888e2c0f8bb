//! The list: a row an event.

use maud::{Markup, html};

use super::text::{plain, shown};
use crate::feed::Event;
use crate::model::state::Stack;
use crate::model::story::{DestinationStory, State, Story, tell};
use crate::model::time::At;

/// The outcomes that can be chosen, with their words and what they mean.
pub(crate) const OUTCOMES: [(&str, &str, &str); 6] = [
    ("accepted", "accepted", "the destination has it"),
    ("waits", "waits", "not tried yet, or the destination is paused"),
    ("owed", "owed", "a try failed, the next one comes by itself"),
    ("dead", "dead letter", "only a redrive tries it again"),
    ("skipped", "skipped", "not meant for the destination"),
    ("unknown", "not known", "its column says why"),
];

/// One of [`OUTCOMES`], or `off`.
pub(crate) fn outcome(state: &State) -> &'static str {
    match state {
        State::Accepted { .. } => "accepted",
        State::Queued { reason: None, .. } | State::UnderWay | State::Paused => "waits",
        State::Queued { .. } | State::Owed { .. } => "owed",
        State::DeadLetter { .. } | State::WasDeadLetter { .. } => "dead",
        State::Skipped { .. } => "skipped",
        State::Off => "off",
        State::Unknown { .. } => "unknown",
    }
}

/// What is shown of events, and of which stack.
pub(crate) struct View<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) now: At,
    pub(crate) shows_addresses: bool,
    /// Things can be tried there.
    pub(crate) is_workbench: bool,
}

impl View<'_> {
    /// The story of an event as the page shows it.
    pub(crate) fn story(&self, event: &Event) -> Story {
        tell(&event.evidence, self.stack, self.now, self.shows_addresses)
    }
}

/// Whom an event is about: an id, or an address.
fn user(story: &Story) -> Option<String> {
    let payload = &story.envelope.as_ref()?["payload"];
    let user = &payload["user"];
    [&user["id"], &payload["userId"], &user["email"], &payload["traits"]["email"], &payload["anonymousId"]]
        .into_iter()
        .find(|value| value.is_string() || value.is_number())
        .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
}

/// An event in the list.
pub(crate) fn row(event: &Event, view: &View<'_>) -> Markup {
    let (story, now) = (view.story(event), view.now);
    let kind = story.kind.as_deref().unwrap_or("no type");
    let user = user(&story).unwrap_or_default();
    let parts: Vec<_> = story.destinations.iter().filter(|part| part.state != State::Off).collect();
    let outcomes: Vec<String> =
        parts.iter().map(|part| format!("{}={}", part.name, outcome(&part.state))).collect();
    let payload = story.envelope.as_ref().map(|envelope| envelope["payload"].to_string()).unwrap_or_default();
    let searched = plain(&format!("{} {kind} {user} {}", story.id, payload).to_lowercase());
    html! {
        li data-id=(story.id) data-at=(story.received_at.map_or(0, At::ms)) data-type=(plain(kind)) data-outcomes=(outcomes.join(" ")) data-text=(searched) {
            a href={ "#" (story.id) } {
                time { (clock(story.received_at)) }
                span.type { (shown(kind)) }
                span.user { (shown(&user)) }
                span.outcomes {
                    @for part in &parts {
                        span class={ "pill " (outcome(&part.state)) } title=(plain(&part.state.text(now))) {
                            (part.name) " " b { (words(part)) }
                        }
                    }
                }
            }
        }
    }
}

fn words(part: &DestinationStory) -> String {
    match &part.state {
        State::Queued { reason: Some(reason), attempt, .. } => {
            let reason = if part.is_held_by_breaker() { "breaker" } else { reason };
            format!("owed: {reason}, {} tried", attempt - 1)
        }
        State::DeadLetter { reason } => format!("dead: {reason}"),
        State::WasDeadLetter { .. } => "was dead".to_owned(),
        State::Skipped { .. } => "skipped".to_owned(),
        other => OUTCOMES
            .iter()
            .find(|(name, ..)| *name == outcome(other))
            .map_or("off", |(_, words, _)| words)
            .to_owned(),
    }
}

/// The time of day.
pub(crate) fn clock(at: Option<At>) -> String {
    at.map(|at| at.to_string().get(11..23).unwrap_or_default().to_owned()).unwrap_or_default()
}
