//! One event: what came, what was sent, and what became of it.

use std::collections::BTreeSet;

use maud::{Markup, html};
use relay_core::envelope::Envelope;
use serde_json::Value;

use super::curl::curl;
use super::json::{Before, Side, tree};
use super::rows::{View, clock, outcome};
use super::ruled::{Ruled, RuledRequest};
use super::text::shown;
use crate::backend::Route;
use crate::feed::{Event, Exchange, Received};
use crate::links::{self, Links};
use crate::model::mapping::requests;
use crate::model::state::Stack;
use crate::model::story::{DestinationStory, State};
use crate::model::time::{At, for_people};

/// A body that is no JSON, or too deep, is shown up to here.
const RAW: usize = 64 * 1024;

/// What keeps an event from a destination, by the reasons of a skip: the parameter, or the part of the blueprint.
const RULES: [(&str, &str); 8] = [
    ("type_not_tracked", "VeroTrackTypes does not have this type"),
    ("loop", "SuppressLoops: it was at Vero before, or an event of ours set it off"),
    ("no_identity", "Vero takes nothing without an id or an address"),
    ("integration_off", "the event's own integrations leave Vero out"),
    ("dropped", "the blueprint drops it"),
    ("not_sampled", "it is outside of the share that a rule of the blueprint sends"),
    ("not_allowed", "the blueprint's allow or deny keeps it back"),
    ("no_consent", "the blueprint asks for a consent that the user has not given"),
];

/// The reasons of a skip that are a rule's doing.
const BY_RULES: [&str; 3] = ["dropped", "not_sampled", "no_consent"];

/// What the breaker does.
pub(super) const BREAKER: &str = "After three failures in a row the worker makes no request for 10 to 60 s, or for as long as Retry-After asks. What the destination is owed waits meanwhile. Then one request tries whether the destination is back.";

/// The event, with what can be done about it.
pub(crate) fn whole(event: &Event, view: &View<'_>) -> Markup {
    let (story, stack, now) = (view.story(event), view.stack, view.now);
    let envelope = event.evidence.envelope.as_deref().filter(|_| view.shows_addresses);
    let links = envelope
        .map(|envelope| {
            links::links(envelope, |envelope| requests(envelope, stack, &event.evidence.blueprint))
        })
        .unwrap_or_default();
    // By no settings at all: what differs then is a setting's doing.
    let unnamed = envelope
        .and_then(|envelope| {
            // A document of its own has the default preset, too.
            let without_preset = serde_json::from_str(r#"{"events":{}}"#).unwrap_or_default();
            Some(requests(&Envelope::parse(envelope).ok()?, &Stack::default(), &without_preset))
        })
        .unwrap_or_default();
    let parsed = event.evidence.envelope.as_deref().and_then(|envelope| Envelope::parse(envelope).ok());
    let ruled = parsed
        .as_ref()
        .filter(|_| view.shows_addresses)
        .map(|envelope| Ruled::of(envelope, stack, &event.evidence.blueprint))
        .unwrap_or_default();
    let is_dead = story.destinations.iter().any(|part| matches!(part.state, State::DeadLetter { .. }))
        || event.evidence.letters.yes().is_some_and(|letters| !letters.is_empty());
    let route = match story.source {
        Some("segment") => Route::of_first_party(parsed.as_ref().is_some_and(|own| own.through_segment)),
        _ => Route::Vero,
    };
    let is_webhook = route == Route::Vero;
    // A first-party event's body has no key any more, so that its payload is what can be sent again.
    let body = event.received.as_ref().filter(|_| is_webhook).map(|received| received.body.clone());
    let payload_of =
        |envelope: &Value| Some(envelope["payload"].clone()).filter(|payload| !payload.is_null());
    let body = body.or_else(|| Some(payload_of(story.envelope.as_ref()?)?.to_string()));
    // What serde cannot read, half a surrogate or 5,000 levels, is shown as its text.
    let unread = parsed.filter(|_| view.shows_addresses).map(|parsed| parsed.payload.text().to_owned());
    let body = body.or(unread);
    html! {
        div.head {
            h2 { (shown(story.kind.as_deref().unwrap_or("an event without a type"))) }
            p { code { (story.id) } @if let Some(at) = story.received_at { " received " time { (at.to_string()) } } }
            ul.states { @for part in &story.destinations { @if part.state != State::Off {
                li class=(outcome(&part.state)) { b { (part.name) } ": " (part.state.text(now)) }
            } } }
            @if !story.unknown.is_empty() {
                details { summary { "Not known" } ul { @for unknown in &story.unknown { li { (shown(unknown)) } } } }
            }
            p.do {
                @if let Some(body) = &body {
                    button type="button" data-copy=(curl(body, route, story.kind.as_deref())) { "Copy as curl" } " "
                    button type="button" data-copy=(pretty(body)) { "Copy as test sample" } " "
                    @if view.is_workbench { button type="button" data-again=(body) data-route=(route.name()) {
                        @if is_webhook { "Send as a new event" } @else { "Send again" }
                    } " " }
                }
                @if is_dead { button type="button" data-redrive=(story.id) data-asks=[(!view.is_workbench).then_some("")] { "Redrive: to whom it is still owed" } }
            }
            label.find { "Find in this event " input #find type="search" autocomplete="off" spellcheck="false"; }
        }
        div.sides {
            section aria-label="What came" {
                h3 { @match route {
                    Route::Vero => "What Vero sent",
                    Route::Segment => "What Segment sent",
                    Route::Sdk => "What the SDK sent",
                } }
                @if let Some(received) = &event.received { (came(received, is_webhook)) }
                (payload(&story.envelope, body.as_deref(), &links))
                @if let Some(envelope) = &story.envelope {
                    details { summary { "The envelope in the queue" } (tree(&without_payload(envelope), &none())) }
                }
            }
            @for part in &story.destinations { @if part.state != State::Off {
                section aria-label=(part.name) {
                    h3 { (part.name) " " span class={ "pill " (outcome(&part.state)) } { (outcome(&part.state)) } }
                    p { (part.state.text(now)) }
                    @if part.is_held_by_breaker() { p.breaker { b { "The breaker held the last try back. " } (BREAKER) } }
                    (attempts(part, event, now))
                    (sent(part, event, &links, &unnamed, &ruled, is_webhook))
                }
            } }
        }
    }
}

fn none() -> Side<'static> {
    static NONE: BTreeSet<&'static str> = BTreeSet::new();
    Side::Came { used: &NONE, is_linked: false }
}

fn came(received: &Received, is_webhook: bool) -> Markup {
    html! {
        p.line { code { (received.method) " " (shown(&received.path)) } " → " (received.status) }
        details {
            summary {
                (received.headers.len()) " headers, " (received.bytes) " bytes"
                @if received.events > 1 { ", " (received.events) " events, of which this is one" }
            }
            (headers(&received.headers))
        }
        // A webhook travels as it came; a first-party event is completed by its path and its batch.
        @if !is_webhook {
            details {
                summary { "The event as it came, its write key blanked out" }
                @match serde_json::from_str(&received.body) {
                    Ok(body) => (tree(&body, &none())),
                    Err(_) => p.hint { "It is too large to be kept here." },
                }
            }
        }
    }
}

fn headers(headers: &[(String, String)]) -> Markup {
    html! {
        dl.headers { @for (name, value) in headers { dt { (shown(name)) } dd { (shown(value)) } } }
        p.hint { "Secrets are blanked out." }
    }
}

fn payload(envelope: &Option<Value>, body: Option<&str>, links: &Links) -> Markup {
    let used: BTreeSet<&str> = links.values().flatten().map(String::as_str).collect();
    let payload =
        envelope.as_ref().map(|envelope| envelope["payload"].clone()).filter(|payload| !payload.is_null());
    let payload = payload.or_else(|| serde_json::from_str(body?).ok());
    html! {
        @match payload {
            Some(payload) => (tree(&payload, &Side::Came { used: &used, is_linked: !links.is_empty() })),
            None => {
                @if let Some(body) = body {
                    p.hint { "This is no JSON that can be shown as such: as it came." }
                    pre tabindex="0" { (shown(head(body))) }
                } @else {
                    p.hint { "What came is not known, or may not be shown here." }
                }
            },
        }
    }
}

fn head(text: &str) -> &str {
    let mut end = RAW.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn without_payload(envelope: &Value) -> Value {
    let mut envelope = envelope.clone();
    if let Some(fields) = envelope.as_object_mut() {
        fields.insert("payload".to_owned(), "… as it came".into());
    }
    envelope
}

/// The requests as they are mapped, and below each exchange as it was.
fn sent(
    part: &DestinationStory,
    event: &Event,
    links: &Links,
    unnamed: &[(String, Value)],
    ruled: &Ruled,
    is_webhook: bool,
) -> Markup {
    let exchanges: Vec<&Exchange> = event.exchanges.iter().filter(|one| part_of(one) == part.name).collect();
    html! {
        @for (place, request) in part.requests.iter().enumerate() {
            @let name = format!("{}/{place}", part.name);
            h4 { (shown(part.mapped_to.get(place).map_or("request", String::as_str))) }
            @let own = unnamed.iter().find(|(own, _)| *own == name).map(|(_, body)| body);
            @let by_rules = ruled.request(&part.name, &name);
            @if let Some((author, before)) = renamed(request, by_rules, own, is_webhook) {
                p.hint { (shown(&author)) " renames it; otherwise it is " b { (shown(&before)) } }
            }
            @let before = match (by_rules, own.filter(|_| !is_webhook)) {
                (Some(ruled), _) => Before::WithoutRules(ruled),
                (None, Some(body)) => Before::WithoutBlueprint(body),
                (None, None) => Before::Unknown,
            };
            (tree(request, &Side::Sent { request: &name, links, before }))
            @for (author, fields) in by_rules.map(|ruled| ruled.left_out(request)).into_iter().flatten() {
                p.hint { "Left out by " (shown(&author)) ": " (shown(&fields.join(", "))) }
            }
        }
        @if let Some(rules) = ruled.by_part.get(&part.name).filter(|_| BY_RULES.iter().any(|reason| is_kept_back(part, reason))) {
            p.hint { "Kept back by " (shown(&rules.rule)) }
        }
        @if part.requests.is_empty() { @for words in &part.mapped_to { p.hint { (shown(words)) } } }
        @if let Some((_, rule)) = RULES.iter().find(|(reason, _)| is_kept_back(part, reason)) { p.hint { (rule) } }
        @if let Some(last) = exchanges.last().filter(|last| last.status.is_none_or(|status| status >= 300)) {
            p { "The last response: " (status(last)) " " (shown(head(&last.response))) }
        }
        @if exchanges.len() > 1 {
            p.hint { "An attempt may make two requests: what failed at once is sent again, and what Vero refused is sent again without the address." }
        }
        @for exchange in exchanges {
            details {
                summary { (clock(Some(exchange.at))) " " (exchange.method) " " (shown(&exchange.path)) " → " (status(exchange)) }
                p { (exchange.bytes) " bytes, events: " (exchange.events) }
                (headers(&exchange.headers))
                (tree(&exchange.message, &none()))
                h4 { "Response" }
                pre tabindex="0" { (shown(head(&exchange.response))) }
            }
        }
    }
}

fn is_kept_back(part: &DestinationStory, reason: &str) -> bool {
    matches!(&part.state, State::Skipped { reason: own } if own == reason)
        || part.mapped_to.iter().any(|words| words.strip_prefix("nothing: ") == Some(reason))
}

/// Who gave an event another name, and which one it would have otherwise. `unnamed` is the request without any setting.
fn renamed(
    request: &Value,
    by_rules: Option<RuledRequest<'_>>,
    unnamed: Option<&Value>,
    is_webhook: bool,
) -> Option<(String, String)> {
    let field = ["event", "event_name"].into_iter().find(|field| request[*field].is_string())?;
    let other =
        |before: &Value| before[field].as_str().filter(|name| request[field] != *name).map(str::to_owned);
    if let Some(ruled) = by_rules
        && let Some(before) = other(ruled.plain)
    {
        let author = ruled.author(&format!("/{field}"), Some(&request[field]))?;
        return Some((author, before));
    }
    let author = if is_webhook { "EventNames" } else { "The blueprint" };
    Some((author.to_owned(), other(unnamed?)?))
}

/// The part that a request is of: tags go to Vero Track, too.
fn part_of(exchange: &Exchange) -> &str {
    if exchange.path.ends_with("/users/tags/edit") { "vero_tags" } else { &exchange.destination }
}

fn status(exchange: &Exchange) -> String {
    exchange.status.map_or("no response".to_owned(), |status| status.to_string())
}

/// Each try on a line of time, and what happens next.
fn attempts(part: &DestinationStory, event: &Event, now: At) -> Markup {
    let begin = At::of_id(&event.evidence.id).or(event.received.as_ref().map(|received| received.at));
    let after = |at: At| begin.map(|begin| format!("+{}", for_people(at.since(begin)))).unwrap_or_default();
    html! {
        ol.attempts {
            @for attempt in &part.attempts {
                li class=(attempt.outcome) {
                    time title=(attempt.at.to_string()) { (after(attempt.at)) } " "
                    @if let Some(number) = attempt.attempt { "attempt " (number) ": " }
                    (shown(&attempt.outcome))
                    @let by = attempt.held_back_by();
                    @if let Some(by) = by { ", held back by " (by) }
                    @if let Some(reason) = &attempt.reason {
                        " (" @if by.is_some() { "the last failure: " } (shown(reason))
                        @if let Some(status) = attempt.status { ", HTTP " (status) } ")"
                    }
                }
            }
            @if let State::Queued { next_try, attempt, .. } = &part.state {
                li.next {
                    "attempt " (attempt) " "
                    @if *next_try > now { "in " (for_people(next_try.since(now))) ", at " (next_try.clock()) } @else { "is due" }
                }
            }
        }
    }
}

fn pretty(body: &str) -> String {
    let value: Option<Value> = serde_json::from_str(body).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::Delivery;
    use crate::model::known::Known;
    use crate::model::log_line::LogLine;

    #[test]
    fn a_try_that_the_breaker_held_back_says_so() {
        let stack = Stack {
            parameters: [("VeroAuthTokenParameter".to_owned(), "/v".to_owned())].into(),
            ..Stack::default()
        };
        let view = View { stack: &stack, now: At::from_ms(0), shows_addresses: true, is_workbench: true };
        let feed = crate::feed::Feed::default();
        let owed = |attempt: i64, held_back: &str| {
            let text = format!(
                r#"{{"level":"WARN","message":"still owed","id":"e1","destination":"vero_track","attempt":{attempt},"reason":"server_error","status":500{held_back}}}"#
            );
            let line = LogLine::read("worker", At::from_ms(attempt), &text).unwrap();
            feed.change("e1", |event| {
                let before = event.evidence.lines.yes().cloned().unwrap_or_default();
                event.evidence.lines = Known::Yes(before.into_iter().chain([line]).collect());
                true
            });
            whole(&feed.event("e1").unwrap(), &view).into_string()
        };
        let mut numbers = crate::page::numbers::Numbers::default();
        let is_open = |page: &str| page.contains("breaker");
        assert!(!is_open(&owed(1, "")) && !is_open(&numbers.show(&feed, &view).into_string()));
        let page = owed(2, r#","held_back":"breaker""#);
        assert!(
            page.contains("held back by the breaker (the last failure: <bdi>server_error</bdi>, HTTP 500)"),
            "{page}"
        );
        assert!(page.contains("The breaker held the last try back."), "{page}");
        let shown = numbers.show(&feed, &view).into_string();
        assert!(shown.contains("The breaker of vero_track held the last try back"), "{shown}");
        // A request was made again.
        assert!(!owed(3, "").contains("The breaker held"));
        assert!(!is_open(&numbers.show(&feed, &view).into_string()));
        // Time is no breaker.
        let page = owed(4, r#","held_back":"time""#);
        assert!(page.contains("held back by the 10 s") && !page.contains("The breaker held"), "{page}");
    }

    #[test]
    fn the_last_try_says_what_held_it_back_although_its_row_does_not() {
        let text = r#"{"level":"ERROR","message":"to the dead-letter queue after its last try","id":"e1","destination":"vero_track","attempt":120,"reason":"timeout","held_back":"breaker"}"#;
        let line = LogLine::read("worker", At::from_ms(1), text).unwrap();
        let row = Delivery {
            part: "vero_track".to_owned(),
            outcome: "dead".to_owned(),
            reason: line.reason.clone(),
            status: None,
            attempt: line.attempt,
            at: At::from_ms(2),
        };
        let feed = crate::feed::Feed::default();
        feed.change("e1", |event| {
            event.evidence.deliveries = Known::Yes(vec![row]);
            event.evidence.lines = Known::Yes(vec![line]);
            true
        });
        let stack = Stack::default();
        let view = View { stack: &stack, now: At::from_ms(0), shows_addresses: true, is_workbench: true };
        let page = whole(&feed.event("e1").unwrap(), &view).into_string();
        assert_eq!(page.matches("held back by the breaker (the last failure: ").count(), 1, "{page}");
    }

    #[test]
    fn a_first_party_event_says_what_the_blueprint_renames() {
        let payload = r#"{"type":"track","event":"Product Viewed","userId":"u","messageId":"m","properties":{"url":"/p","price":1}}"#;
        let envelope = format!(
            r#"{{"version":1,"id":"e1","source":"segment","received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
        );
        let stack = Stack {
            parameters: [("VeroAuthTokenParameter".to_owned(), "/v".to_owned())].into(),
            ..Stack::default()
        };
        let view = View { stack: &stack, now: At::from_ms(0), shows_addresses: true, is_workbench: true };
        let feed = crate::feed::Feed::default();
        feed.change("e1", |event| {
            event.evidence.envelope = Some(envelope);
            true
        });
        let page = whole(&feed.event("e1").unwrap(), &view).into_string();
        assert!(page.contains(
            "<bdi>The blueprint</bdi> renames it; otherwise it is <b><bdi>Product Viewed</bdi></b>"
        ));
        let notes: Vec<&str> =
            page.split("data-path=").filter(|leaf| leaf.contains("renamed by the blueprint")).collect();
        assert!(notes.len() == 1 && notes[0].contains("data/product_url"), "{notes:?}");
        assert!(page.contains(r#"data-route="sdk""#) && page.contains("$SDK_HOST/v1/track"), "{page}");
    }

    #[test]
    fn a_first_party_event_that_cannot_be_read_is_shown_as_its_text() {
        let stack = Stack::default();
        let feed = crate::feed::Feed::default();
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        for (id, value) in [("e1", r#""\ud800""#), ("e2", &*deep)] {
            let envelope = format!(
                r#"{{"version":1,"id":"{id}","source":"segment","through_segment":true,"received_at":"2026-11-21T05:04:03.123Z","payload":{{"type":"track","traits":{value}}}}}"#
            );
            feed.change(id, |event| {
                event.evidence.envelope = Some(envelope);
                true
            });
            let page = |shows_addresses| {
                let view = View { stack: &stack, now: At::from_ms(0), shows_addresses, is_workbench: true };
                whole(&feed.event(id).unwrap(), &view).into_string()
            };
            assert!(page(true).contains("&quot;traits&quot;:") && page(true).contains("What Segment sent"));
            assert!(!page(false).contains("traits") && page(false).contains("What Segment sent"));
        }
    }

    #[test]
    fn what_a_setting_keeps_back_or_renames_says_which() {
        let envelope = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"opened","user":{"id":1}}}"#;
        let page = |parameters: &[(&str, &str)]| {
            let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let on = [("SegmentWriteKeyParameter", "/s"), ("VeroAuthTokenParameter", "/v")];
            let on = on.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let stack = Stack { parameters: on.into_iter().chain(parameters).collect(), ..Stack::default() };
            let view =
                View { stack: &stack, now: At::from_ms(0), shows_addresses: true, is_workbench: false };
            let feed = crate::feed::Feed::default();
            feed.change("e1", |event| {
                event.evidence.envelope = Some(envelope.to_owned());
                true
            });
            whole(&feed.event("e1").unwrap(), &view).into_string()
        };
        let usual = page(&[]);
        assert!(!usual.contains("renames it") && !usual.contains("VeroTrackTypes"), "{usual}");
        let renamed = page(&[("EventNames", r#"{"opened":"Mail Read"}"#)]);
        assert!(renamed.contains("otherwise it is <b><bdi>Email Opened</bdi></b>"), "{renamed}");
        let skipped = page(&[("VeroTrackTypes", "clicked")]);
        assert!(skipped.contains("VeroTrackTypes does not have this type"), "{skipped}");
    }
}
