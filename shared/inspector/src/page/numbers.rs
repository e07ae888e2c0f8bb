//! The numbers: what came and what became of it, as a table, a picture of the flow, and a histogram of latencies.

use std::collections::{BTreeMap, HashMap, HashSet};

use maud::{Markup, html};

use super::event::BREAKER;
use super::rows::{OUTCOMES as LEGEND, View, outcome};
use crate::feed::Feed;
use crate::model::story::{State, Story};
use crate::model::time::At;

/// Upper bounds of the histogram's bars, in milliseconds, with their words.
const BARS: [(u64, &str); 7] = [
    (100, "≤ 0.1 s"),
    (250, "≤ ¼ s"),
    (500, "≤ ½ s"),
    (1_000, "≤ 1 s"),
    (10_000, "≤ 10 s"),
    (60_000, "≤ 1 min"),
    (u64::MAX, "> 1 min"),
];

/// The counts of a part, by outcome.
type Counts = BTreeMap<&'static str, usize>;

/// What counts of an event at a part.
struct Summary {
    part: String,
    outcome: &'static str,
    /// From receipt to acceptance, in milliseconds.
    took: Option<u64>,
    /// The last try that tells of the breaker, and whether it was open.
    breaker: Option<(At, bool)>,
}

/// What counts of all events, kept from one look to the next.
#[derive(Default)]
pub(crate) struct Numbers {
    version: u64,
    by_id: HashMap<String, Vec<Summary>>,
}

impl Numbers {
    /// Looks at the events that changed, and shows the numbers.
    pub(crate) fn show(&mut self, feed: &Feed, view: &View<'_>) -> Markup {
        loop {
            let events = feed.changed_since(self.version, 500);
            let Some(last) = events.last() else { break };
            self.version = last.version;
            for event in &events {
                self.by_id.insert(event.evidence.id.clone(), summary(&view.story(event)));
            }
        }
        let here: HashSet<String> = feed.each(|event| event.evidence.id.clone()).into_iter().collect();
        self.by_id.retain(|id, _| here.contains(id));
        let mut parts: BTreeMap<&str, Counts> = BTreeMap::new();
        let mut bars = [0_usize; BARS.len()];
        // A worker's breaker is seen in what it held back alone, and each worker has its own: the last try of all tells.
        let mut breakers: BTreeMap<&str, (At, bool)> = BTreeMap::new();
        for Summary { part, outcome, took, breaker } in self.by_id.values().flatten() {
            *parts.entry(part).or_default().entry(outcome).or_default() += 1;
            if let Some(took) = took {
                bars[BARS.iter().position(|(bound, _)| took <= bound).unwrap_or(BARS.len() - 1)] += 1;
            }
            if let Some(breaker) = breaker {
                let last = breakers.entry(part).or_insert(*breaker);
                *last = (*last).max(*breaker);
            }
        }
        breakers.retain(|_, (_, is_open)| *is_open);
        html! {
            (flow(self.by_id.len(), &parts, &breakers))
            (histogram(&bars))
        }
    }
}

fn summary(story: &Story) -> Vec<Summary> {
    let parts = story.destinations.iter().filter(|part| part.state != State::Off);
    let of_part = parts.map(|part| {
        let took = match (&part.state, story.received_at) {
            (State::Accepted { at }, Some(received_at)) => Some(at.since(received_at).as_millis() as u64),
            _ => None,
        };
        let tells = part.attempts.iter().filter_map(|attempt| Some((attempt.at, attempt.met_breaker()?)));
        Summary { part: part.name.clone(), outcome: outcome(&part.state), took, breaker: tells.max() }
    });
    of_part.collect()
}

const OUTCOMES: [(&str, &str); 5] = [
    ("accepted", "accepted"),
    ("waits", "waiting"),
    ("owed", "owed"),
    ("dead", "dead"),
    ("skipped", "skipped"),
];

/// The outcomes whose words say too little.
const EXPLAINED: [&str; 3] = ["waits", "owed", "dead"];

fn count(counts: &Counts, name: &str) -> usize {
    counts.get(name).copied().unwrap_or_default()
}

/// From the left to the right: what came, the queue, and each part with what became of it.
fn flow(total: usize, parts: &BTreeMap<&str, Counts>, held_back: &BTreeMap<&str, (At, bool)>) -> Markup {
    let height = 40 * parts.len().max(1) + 10;
    let middle = height / 2;
    html! {
        figure {
            svg viewBox={ "0 0 710 " (height) } role="img" aria-label="How events flow, with counts" {
                (node(5, middle, "known", total, "accepted"))
                @for (place, (name, counts)) in parts.iter().enumerate() {
                    @let y = 25 + 40 * place;
                    @let stuck = count(counts, "owed") + count(counts, "waits");
                    @let is_held_back = held_back.contains_key(name);
                    path class={ "edge " @if is_held_back { "open " } @if count(counts, "dead") > 0 { "dead" } @else if stuck > 0 { "owed" } @else { "accepted" } }
                        d={ "M115 " (middle) " C175 " (middle) " 150 " (y) " 215 " (y) } {}
                    @if stuck > 0 { text.count.owed x="208" y=(y - 6) text-anchor="end" { (stuck) " stuck" @if is_held_back { ": breaker" } } }
                    (node(215, y, name, counts.values().sum(), ""))
                    @for (column, (outcome, words)) in OUTCOMES.iter().enumerate() {
                        @let number = count(counts, outcome);
                        text class={ "count " @if number > 0 { (outcome) } } x=(335 + 76 * column) y=(y + 4) { (number) " " (words) }
                    }
                }
            }
            figcaption {
                "The events that this page knows, and what became of them. " b { "stuck" } ": waits or owed"
                @for (_, words, meaning) in LEGEND.iter().filter(|(outcome, ..)| EXPLAINED.contains(outcome)) {
                    " · " b { (words) } ": " (meaning)
                }
            }
            @for (name, (at, _)) in held_back {
                p.breaker { b { "The breaker of " (name) " held the last try back" } ", at " (at.clock()) ". " (BREAKER) }
            }
        }
    }
}

fn node(x: usize, y: usize, name: &str, number: usize, class: &str) -> Markup {
    html! {
        rect.node x=(x) y=(y - 14) width="110" height="28" rx="6" {}
        text class=(class) x=(x + 55) y=(y + 4) text-anchor="middle" { (name) " " tspan.number { (number) } }
    }
}

fn histogram(bars: &[usize; BARS.len()]) -> Markup {
    let most = bars.iter().copied().max().unwrap_or_default().max(1);
    html! {
        figure {
            svg viewBox="0 0 330 100" role="img" aria-label="How long events took until a destination accepted them" {
                @for (place, ((_, words), number)) in BARS.iter().zip(bars).enumerate() {
                    @let height = 60 * number / most;
                    @let x = 5 + 46 * place;
                    rect.bar x=(x) y=(75 - height) width="36" height=(height) {}
                    text x=(x + 18) y=(70 - height) text-anchor="middle" { @if *number > 0 { (number) } }
                    text.axis x=(x + 18) y="90" text-anchor="middle" { (words) }
                }
            }
            figcaption { "From receipt to acceptance: how many took so long, but longer than the bar before" }
        }
    }
}
