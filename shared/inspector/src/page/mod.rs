//! The page's HTML. Whatever came from others is text here: maud escapes it, [`text`] shows what acts on text, and the
//! page's policy lets no script run but its own.

mod curl;
pub(crate) mod event;
mod json;
pub(crate) mod numbers;
pub(crate) mod rows;
mod ruled;
pub(crate) mod text;

use maud::{DOCTYPE, Markup, html};

use crate::backend::{Behaviour, Route, Workbench};
use crate::model::state::Stack;

/// The page, without events: those come by the stream.
pub(crate) fn whole(stack: &Stack, limits: &[String], workbench: Option<&Workbench>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "vero-relay: " (stack.name) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="style.css";
                script src="script.js" defer {}
            }
            body {
                header {
                    h1 { "vero-relay" }
                    p {
                        (stack.name) " in " @if stack.is_local { "cargo local" } @else { (stack.region) }
                        " · " span #live role="status" { "connecting" }
                    }
                    p #said role="status" aria-live="polite" {}
                    p.keys { kbd { "j" } kbd { "k" } " move, " kbd { "Enter" } " open, " kbd { "Esc" } " close, " kbd { "/" } " search" }
                }
                @if !limits.is_empty() {
                    details.limits {
                        summary { "What this page cannot show" }
                        ul { @for limit in limits { li { (limit) } } }
                    }
                }
                section #numbers aria-label="Numbers" {}
                @if let Some(workbench) = workbench { (bench(workbench, stack)) }
                main {
                    section #events aria-label="Events" {
                        (filters())
                        p #none { "No event yet. " @if workbench.is_some() { "Send a sample above, or post to the webhook URL." } }
                        ol #list {}
                    }
                    section #event aria-label="Event" tabindex="-1" { p.hint { "Choose an event to see what came, what was sent, and what became of it." } }
                }
            }
        }
    }
}

fn filters() -> Markup {
    html! {
        form #filters role="search" {
            label { "Search " input #search type="search" placeholder="id, user, campaign …" autocomplete="off" spellcheck="false"; }
            label { "Type " select #type { option value="" { "all" } } }
            label { "Destination " select #destination { option value="" { "any" } } }
            label { "Outcome " select #outcome {
                option value="" { "any" }
                @for (value, words, meaning) in rows::OUTCOMES { option value=(value) title=(meaning) { (words) } }
            } }
            span #count role="status" {}
        }
    }
}

fn bench(workbench: &Workbench, stack: &Stack) -> Markup {
    html! {
        details #bench {
            summary { "Try things" }
            div.bench {
                form #send {
                    h2 { "Send an event" }
                    label { "Sample " select #sample {
                        @for sample in &workbench.samples { option value=(sample.body) data-route=(sample.route.name()) { (sample.name) } }
                    } }
                    label { "Send it as " select #route {
                        @for (route, words) in Route::ALL { option value=(route.name()) { (words) } }
                    } }
                    label { "Body " textarea #body rows="8" spellcheck="false" {} }
                    button { "Send" }
                    p.hint { "Token and write key are added here. Vero itself posts to " code { (workbench.webhook_url) } }
                    p.hint { "Two events of Segment or of an SDK with the same " code { "messageId" } " are one event, and one row." }
                }
                div {
                    h2 { "Have a destination misbehave" }
                    @for stand_in in &workbench.stand_ins {
                        p {
                            label { (stand_in.destination) " " select data-behave=(stand_in.destination) {
                                @for (behaviour, words) in Behaviour::ALL {
                                    option value=(behaviour.name()) selected[behaviour == stand_in.behaviour] { (words) }
                                }
                            } }
                            " "
                            @let is_paused = stack.paused().any(|name| name == stand_in.destination);
                            button type="button" data-pause=(stand_in.destination) hidden[is_paused] { "Pause" }
                            button type="button" data-resume=(stand_in.destination) hidden[!is_paused] { "Paused: resume" }
                        }
                    }
                    h2 { "Hurry time" }
                    p { button type="button" #hurry { "Let every next try come now" } }
                    p.hint { "Waits are as long here as they are in production. The button ends every wait now." }
                }
            }
        }
    }
}
