//! What an event is mapped to at each part of a destination: by the functions' own code.

use std::collections::BTreeMap;
use std::time::Duration;

use relay_core::blueprint::Blueprint;
use relay_core::delivery::DeliveryOutcome;
use relay_core::envelope::{Envelope, Payload, Source};
use relay_core::first_party::FirstParty;
use relay_core::mapping::segment;
use relay_core::mapping::vero_track::{FirstPartySettings, Tags, VeroRequest, from_event, from_webhook};
use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_core::webhook::Webhook;
use serde_json::Value;

use super::state::Stack;

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

/// What each part is sent of an event.
pub(super) fn map(
    envelope: &Envelope<'_>,
    stack: &Stack,
    blueprint: &Blueprint,
) -> BTreeMap<&'static str, Mapping> {
    let mut mapped = BTreeMap::new();
    let Payload::Object(payload) = envelope.payload else { return mapped };
    match envelope.source {
        Source::Vero => {
            let naming = naming(stack);
            let webhook = Webhook::read(payload, envelope.received_at);
            let to_segment = match segment::messages(&envelope.id, &webhook, &naming) {
                Ok(messages) => {
                    Mapping::Requests(messages.iter().map(|message| of_segment(message)).collect())
                }
                Err(error) => Mapping::None(format!("nothing: {error}")),
            };
            mapped.insert("segment", to_segment);
            let to_vero = match from_webhook(&envelope.id, &webhook, &naming) {
                Ok(request) => Mapping::vero(&[&request]),
                Err(outcome) => Mapping::nothing(&outcome),
            };
            mapped.insert("vero_track", to_vero);
        }
        Source::Segment => {
            let settings = FirstPartySettings {
                blueprint: blueprint.clone(),
                forward_deletes: stack.parameter("ForwardDeletes") == "true",
            };
            let Ok(event) = FirstParty::read(payload, envelope.received_at, envelope.through_segment) else {
                return mapped;
            };
            match from_event(&envelope.id, &event, &settings, Duration::ZERO) {
                Ok(requests) => {
                    mapped.insert("vero_track", Mapping::vero(&[&requests.request]));
                    if let Tags::Edit(tags) = &requests.tags {
                        mapped.insert("vero_tags", Mapping::vero(&[tags]));
                    }
                }
                Err(outcome) => {
                    mapped.insert("vero_track", Mapping::nothing(&outcome));
                }
            }
        }
    }
    mapped
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
