//! What an event is mapped to at each part of a destination: by the functions' own code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relay_core::blueprint::Blueprint;
use relay_core::delivery::DeliveryOutcome;
use relay_core::destinations::{self, DestinationRow};
use relay_core::endpoints::{Endpoints, Form};
use relay_core::envelope::{Envelope, Payload, Source};
use relay_core::first_party::FirstParty;
use relay_core::mapping::endpoint::EndpointEvent;
use relay_core::mapping::vero_track::{FirstPartySettings, Tags, VeroRequest, from_event};
use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_core::rules::{AddressKey, Holding, RuledEvent, RuledWebhook};
use relay_core::webhook::Webhook;
use serde_json::Value;

use super::state::Stack;

const ENDPOINTS: &DestinationRow = destinations::named("webhook");

/// What a part is sent.
pub(super) enum Mapping {
    Requests(Vec<(String, Value)>),
    None(String),
}

impl Mapping {
    /// Names and requests, or why there are none.
    pub(super) fn into_shown(self) -> (Vec<String>, Vec<Value>) {
        match self {
            Mapping::Requests(requests) => requests.into_iter().unzip(),
            Mapping::None(why) => (vec![why], Vec::new()),
        }
    }

    fn nothing(outcome: &DeliveryOutcome) -> Self {
        Mapping::None(match outcome {
            DeliveryOutcome::Skipped(reason) => format!("nothing: {reason}"),
            DeliveryOutcome::Rejected(error) => format!("nothing: {}", error.reason),
            _ => "nothing".to_owned(),
        })
    }

    fn endpoint(event: &EndpointEvent) -> Self {
        let messages = event.messages.iter();
        Mapping::Requests(
            messages.map(|message| ("a request to the endpoint".to_owned(), json(message))).collect(),
        )
    }

    fn vero(requests: &[&VeroRequest]) -> Self {
        let shown = requests.iter().map(|request| {
            let mut body: Value = serde_json::from_str(&request.body("…")).unwrap_or_default();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("auth_token");
            }
            let event = body["event_name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
            (format!("{}{event}", request.endpoint.path()), body)
        });
        Mapping::Requests(shown.collect())
    }
}

/// What each part is sent of an event, and each endpoint that is on or that rules are for.
pub(super) fn map(
    envelope: &Envelope<'_>,
    stack: &Stack,
    blueprint: &Blueprint,
) -> BTreeMap<String, Mapping> {
    map_for(envelope, stack, blueprint, &endpoints(stack, [blueprint]), &Endpoints::default())
}

fn map_for(
    envelope: &Envelope<'_>,
    stack: &Stack,
    blueprint: &Blueprint,
    endpoints: &BTreeSet<String>,
    settings: &Endpoints,
) -> BTreeMap<String, Mapping> {
    let mut all = BTreeMap::new();
    let Payload::Object(payload) = envelope.payload else { return all };
    let naming = naming(stack);
    // Nobody but the worker has the secret that addresses are hashed with.
    let (rules, key) = (blueprint.webhooks(), AddressKey::default());
    let at_endpoints = |event: RuledEvent<'_, '_>| {
        let at_endpoint = |name: &String| {
            let form = form(settings, name, envelope.source);
            let mapped = form.and_then(|form| form.of_event(name, event, rules, &naming, &key));
            let mapped = mapped.map_or_else(|why| Mapping::nothing(&why), |event| Mapping::endpoint(&event));
            (ENDPOINTS.endpoint(name), mapped)
        };
        endpoints.iter().map(at_endpoint).collect::<Vec<_>>()
    };
    match envelope.source {
        Source::Vero => {
            let webhook = Webhook::read(payload, envelope.received_at);
            let event = RuledWebhook { envelope, webhook: &webhook };
            let to_segment = match rules.to_segment(event, &naming, &key) {
                Ok(messages) => {
                    Mapping::Requests(messages.iter().map(|message| of_segment(message)).collect())
                }
                Err(outcome) => Mapping::nothing(&outcome),
            };
            all.insert("segment".to_owned(), to_segment);
            let to_vero = match rules.to_vero(event, &naming) {
                Ok(request) => Mapping::vero(&[&request]),
                Err(outcome) => Mapping::nothing(&outcome),
            };
            all.insert("vero_track".to_owned(), to_vero);
            all.extend(at_endpoints(event.into()));
        }
        Source::Segment => {
            let of_blueprint = FirstPartySettings {
                blueprint: blueprint.clone(),
                forward_deletes: stack.parameter("ForwardDeletes") == "true",
            };
            let Ok(event) = FirstParty::read(payload, envelope.received_at, envelope.through_segment) else {
                return all;
            };
            all.extend(at_endpoints(RuledEvent::FirstParty { envelope, event: &event }));
            match from_event(&envelope.id, &event, &of_blueprint, Duration::ZERO) {
                Ok(requests) => {
                    all.insert("vero_track".to_owned(), Mapping::vero(&[&requests.request]));
                    if let Tags::Edit(tags) = &requests.tags {
                        all.insert("vero_tags".to_owned(), Mapping::vero(&[tags]));
                    }
                }
                Err(outcome) => {
                    all.insert("vero_track".to_owned(), Mapping::nothing(&outcome));
                }
            }
        }
    }
    all
}

/// The requests that an event is mapped to, without keys: named after the part that gets them, and numbered.
pub fn requests(envelope: &Envelope<'_>, stack: &Stack, blueprint: &Blueprint) -> Vec<(String, Value)> {
    let parts = map(envelope, stack, blueprint).into_iter();
    let requests = parts.flat_map(|(part, mapping)| {
        let (_, requests) = mapping.into_shown();
        requests.into_iter().enumerate().map(move |(place, body)| (format!("{part}/{place}"), body))
    });
    requests.collect()
}

/// What of the blueprint's rules holds for an event, by the parts that have rules.
pub struct Rules {
    /// Where the part's rules are: `webhooks.segment`.
    pub destination: String,
    /// The rule in words: its path, and its author's note.
    pub rule: String,
}

/// What of the rules holds for an event, by the parts that have rules. Of a first-party event these are endpoints alone.
pub fn rules(envelope: &Envelope<'_>, stack: &Stack, blueprint: &Blueprint) -> BTreeMap<String, Rules> {
    let Payload::Object(payload) = envelope.payload else { return BTreeMap::new() };
    let holding = |event: RuledEvent<'_, '_>, parts: &[&str]| {
        let named = endpoints(stack, [blueprint]).into_iter().map(|name| ENDPOINTS.endpoint(&name));
        let of_part = |part: String| {
            let Holding { destination, rule, note } = blueprint.webhooks().holding(&part, event)?;
            let rule = note.map_or(rule.clone(), |note| format!("{rule} ({note})"));
            Some((part, Rules { destination, rule }))
        };
        parts.iter().map(|part| (*part).to_owned()).chain(named).filter_map(of_part).collect()
    };
    match envelope.source {
        Source::Vero => {
            let webhook = Webhook::read(payload, envelope.received_at);
            holding(RuledWebhook { envelope, webhook: &webhook }.into(), &["segment", "vero_track"])
        }
        Source::Segment => match FirstParty::read(payload, envelope.received_at, envelope.through_segment) {
            Ok(event) => holding(RuledEvent::FirstParty { envelope, event: &event }, &[]),
            Err(_) => BTreeMap::new(),
        },
    }
}

/// What is tried: another blueprint in the place of the one that holds, for a stack with endpoints of these settings, as far
/// as they are known.
pub struct Trial<'t> {
    /// The stack.
    pub stack: &'t Stack,
    /// The settings of its endpoints.
    pub settings: &'t Endpoints,
    /// The blueprint that holds.
    pub before: &'t Blueprint,
    /// The other one.
    pub after: &'t Blueprint,
}

impl Trial<'_> {
    fn map(&self, envelope: &Envelope<'_>, blueprint: &Blueprint) -> BTreeMap<String, Mapping> {
        let mut names = endpoints(self.stack, [self.before, self.after]);
        names.extend(self.settings.names().map(str::to_owned));
        map_for(envelope, self.stack, blueprint, &names, self.settings)
    }

    /// Why parts are sent nothing of an event today, where that is so.
    pub fn unsent(&self, envelope: &Envelope<'_>) -> BTreeMap<String, String> {
        let mapped = self.map(envelope, self.before).into_iter();
        mapped
            .filter_map(|(part, mapping)| match mapping {
                Mapping::None(why) => Some((part, why)),
                Mapping::Requests(_) => None,
            })
            .collect()
    }

    /// What changes of what each part is sent of an event: a line a change, none where all stays.
    pub fn changes(&self, envelope: &Envelope<'_>) -> BTreeMap<String, Vec<String>> {
        let mut old = self.map(envelope, self.before);
        let new = self.map(envelope, self.after);
        let mut compared = BTreeMap::new();
        for (part, new) in new {
            let changes = match (old.remove(&part), new) {
                (Some(Mapping::None(before)), Mapping::None(after)) if before == after => Vec::new(),
                (_, Mapping::None(why)) => vec![why],
                (old, Mapping::Requests(new)) => {
                    let mut old = match old {
                        Some(Mapping::Requests(old)) => old,
                        _ => Vec::new(),
                    };
                    old.resize(new.len(), Default::default());
                    let mut lines = Vec::new();
                    for ((_, before), (_, after)) in old.iter().zip(&new) {
                        differences(
                            "",
                            Some(before).filter(|before| !before.is_null()),
                            Some(after),
                            &mut lines,
                        );
                    }
                    lines
                }
            };
            compared.insert(part, changes);
        }
        // Of an event that is not sent at all there are no tags either.
        for (part, old) in old {
            let had_any = matches!(old, Mapping::Requests(_));
            compared.insert(part, if had_any { vec!["nothing any more".to_owned()] } else { Vec::new() });
        }
        compared
    }
}

/// Where two JSON values differ, field by field.
fn differences(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => (),
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                differences(&format!("{path}/{key}"), old.get(key), new.get(key), lines);
            }
        }
        (None, Some(after)) if path.is_empty() => lines.push(format!("+ all of it {after}")),
        (None, Some(after)) => lines.push(format!("+ {path} {after}")),
        (Some(before), None) => lines.push(format!("- {path} {before}")),
        (Some(before), Some(after)) => lines.push(format!("~ {path} {before} -> {after}")),
        (None, None) => (),
    }
}

fn json(message: &str) -> Value {
    serde_json::from_str(message).unwrap_or_default()
}

/// In what form an endpoint gets events of this source. Without settings, which the worker alone has, it is taken for one
/// that gets all as they were received.
fn form(settings: &Endpoints, name: &str, source: Source) -> Result<Form, DeliveryOutcome> {
    match settings.get(name) {
        None => Ok(Form::Received),
        Some(endpoint) if endpoint.takes(source) => Ok(endpoint.form),
        Some(_) => Err(DeliveryOutcome::Skipped("other_source")),
    }
}

/// The endpoints that are on, and those that rules are for.
fn endpoints<'b>(stack: &Stack, blueprints: impl IntoIterator<Item = &'b Blueprint>) -> BTreeSet<String> {
    let mut names = stack.endpoints();
    let ruled = blueprints.into_iter().flat_map(|blueprint| blueprint.webhooks().endpoints());
    names.extend(ruled.map(str::to_owned));
    names
}

fn of_segment(message: &str) -> (String, Value) {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let event = message["event"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
    (format!("{}{event}", message["type"].as_str().unwrap_or("message")), message)
}

fn naming(stack: &Stack) -> Naming {
    let given = |name| Some(stack.parameter(name)).filter(|value| !value.is_empty());
    Naming::new(
        given("EventNames").and_then(|json| EventNames::parse(json).ok()).unwrap_or_default(),
        given("VeroTrackTypes").and_then(|list| TrackTypes::parse(list).ok()).unwrap_or_default(),
        stack.parameter("SuppressLoops") != "false",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use relay_core::endpoints::Reach;
    use relay_core::envelope::EventId;
    use relay_core::timestamp::Timestamp;

    use super::*;

    const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");

    /// What no sample is about.
    const MORE: [(&str, &str); 3] = [
        (
            "vero-of-a-newsletter",
            r#"{"type":"opened","user":{"id":9,"email":"ana@example.org"},"user_agent":"Mozilla/5.0",
                "campaign":{"id":5,"name":"May","group":"EU news","channel":"email","sent_to":"Ana@Example.org"},
                "note":"to ana%40example.org"}"#,
        ),
        ("vero-of-a-test", r#"{"type":"sent","user":{"id":1},"campaign":{"id":6,"name":"[Test] June"}}"#),
        (
            "vero-of-a-tagged-test",
            r#"{"type":"sent","user":{"id":1},"campaign":{"id":7,"tags":["x","test"]}}"#,
        ),
    ];

    /// The samples of a kind, by their names.
    fn samples(prefix: &str) -> BTreeMap<String, String> {
        let files = fs::read_dir(EVENTS).unwrap().map(|file| file.unwrap().path());
        let named = files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path));
        let named = named
            .filter(|(name, path)| name.starts_with(prefix) && path.extension().is_some_and(|e| e == "json"));
        let more = MORE.iter().filter(|(name, _)| name.starts_with(prefix));
        let more = more.map(|(name, payload)| ((*name).to_owned(), (*payload).to_owned()));
        named.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).chain(more).collect()
    }

    fn envelope(payload: &str, source: Source) -> Envelope<'_> {
        Envelope {
            id: EventId::parse("01935f3a-0000-7000-8000-000000000001").unwrap(),
            source,
            received_at: Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap(),
            place: 0,
            through_segment: true,
            destinations: None,
            attempt: 0,
            payload: Payload::Object(serde_json::from_str(payload).unwrap()),
        }
    }

    /// Beside the default, at a stack with the defaults.
    fn changes(envelope: &Envelope<'_>, after: &Blueprint) -> BTreeMap<String, Vec<String>> {
        let (stack, settings, before) = (&Stack::default(), &Endpoints::default(), &Blueprint::default());
        Trial { stack, settings, before, after }.changes(envelope)
    }

    #[test]
    fn settings_say_what_an_endpoint_gets() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let settings = format!(
            r#"{{"eu":{{"url":"https://example.org","secrets":["{secret}"],"payload":"segment","sources":["vero"]}}}}"#
        );
        let settings = &Endpoints::parse(&settings, Reach::Public).unwrap();
        let rules = r#"{"version":2,"webhooks":{"webhook":{"eu":{"default":{"rename":"Mine"}}}}}"#;
        let (stack, before, after) =
            (&Stack::default(), &Blueprint::default(), &Blueprint::parse(rules).unwrap());
        let trial = Trial { stack, settings, before, after };
        let webhook = envelope(r#"{"type":"opened"}"#, Source::Vero);
        assert_eq!(trial.changes(&webhook)["webhook:eu"], [r#"~ /event "Email Opened" -> "Mine""#]);
        let event = envelope(r#"{"type":"page","userId":"u"}"#, Source::Segment);
        assert!(trial.changes(&event)["webhook:eu"].is_empty());
        assert_eq!(trial.unsent(&event)["webhook:eu"], "nothing: other_source");
    }

    /// The documents of docs/rules.md, over all samples: reviewed snapshots.
    #[test]
    fn every_document_over_every_sample() {
        let documents = samples("rules-");
        assert!(documents.len() >= 10);
        for (name, document) in documents {
            let document = Blueprint::parse(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(document.oddities().is_empty(), "{name}");
            let mut all = BTreeMap::new();
            for (prefix, source) in [("vero-", Source::Vero), ("segment-", Source::Segment)] {
                for (sample, payload) in samples(prefix) {
                    let envelope = envelope(&payload, source);
                    let mut changed = changes(&envelope, &document);
                    changed.retain(|_, lines| !lines.is_empty());
                    if !changed.is_empty() {
                        all.insert(sample, changed);
                    }
                }
            }
            assert!(!all.is_empty(), "{name} changes no sample");
            insta::assert_json_snapshot!(name, all);
        }
    }

    #[test]
    fn the_same_document_changes_nothing() {
        for payload in samples("vero-").values() {
            let envelope = envelope(payload, Source::Vero);
            let changed = changes(&envelope, &Blueprint::default());
            assert!(changed.values().all(Vec::is_empty), "{changed:?}");
        }
    }
}
