//! What a webhook endpoint gets: its requests, and by which ids.

use relay_core::blueprint::Blueprint;
use relay_core::delivery::DeliveryOutcome;
use relay_core::endpoints::{Endpoints, Form, Reach};
use relay_core::envelope::Source;
use relay_core::first_party::FirstParty;
use relay_core::mapping::endpoint::{EndpointEvent, request_id};
use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_core::rules::{AddressKey, RuledEvent};
use serde_json::{Value, json};

use crate::properties::received_at;
use crate::rules::{document, envelope, naming};

#[test]
fn requests_to_an_endpoint_keep_to_its_limits_and_have_an_id() {
    let event = |number: usize, bytes: usize| EndpointEvent {
        id: format!("e{number}"),
        messages: vec!["x".repeat(bytes)],
    };
    let with = |fields: &str| {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let document =
            format!(r#"{{"own":{{"url":"https://example.org","secrets":["{secret}"],{fields}}}}}"#);
        Endpoints::parse(&document, Reach::Public).unwrap().get("own").unwrap().clone()
    };
    let events: Vec<EndpointEvent> = (0..5).map(|number| event(number, 10)).collect();
    assert_eq!(with(r#""max_events":1"#).plan(&events), [1, 2, 3, 4, 5]);
    assert_eq!(with(r#""max_events":2"#).plan(&events), [2, 4, 5]);
    assert_eq!(with(r#""max_events":2"#).plan(&[]), [0; 0]);
    let sizes: Vec<EndpointEvent> = [499, 499, 1, 2_000, 10]
        .into_iter()
        .enumerate()
        .map(|(number, bytes)| event(number, bytes))
        .collect();
    for form in ["received", "segment"] {
        let endpoint = with(&format!(r#""max_events":100,"max_bytes":1048,"payload":"{form}""#));
        let ends = endpoint.plan(&sizes);
        assert_eq!(ends, if form == "received" { vec![3, 4, 5] } else { vec![2, 3, 4, 5] }, "{form}");
        let mut begin = 0;
        for end in ends {
            let body = endpoint.body(&sizes[begin..end], "2026-11-21T05:04:03.123Z");
            assert!(body.len() <= 1_048 || end - begin == 1, "{form}: {}", body.len());
            begin = end;
        }
    }
    let too_long_first = with(r#""max_events":100,"max_bytes":1048"#).plan(&sizes[3..]);
    assert_eq!(too_long_first, [1, 2], "no request is empty");
    let exactly = with(r#""max_events":100,"max_bytes":1001"#);
    assert_eq!(exactly.plan(&sizes[..2]), [2]);
    assert_eq!(exactly.body(&sizes[..2], "t").len(), 1_001);
    assert_eq!(with(r#""max_events":100,"max_bytes":1000"#).plan(&sizes[..2]), [1, 2]);
    let in_segment_s_form =
        |max_bytes: usize| with(&format!(r#""max_events":100,"max_bytes":{max_bytes},"payload":"segment""#));
    let length = in_segment_s_form(9_000).body(&sizes[..2], "2026-11-21T05:04:03.123Z").len();
    assert_eq!(in_segment_s_form(length).plan(&sizes[..2]), [2]);
    assert_eq!(in_segment_s_form(length - 1).plan(&sizes[..2]), [1, 2]);
    assert_eq!(with(r#""max_events":1"#).body(&events[..1], "t"), "x".repeat(10));
    assert_eq!(with(r#""max_events":9"#).body(&events[..1], "t"), format!("[{}]", "x".repeat(10)));
    let batch = with(r#""max_events":9,"payload":"segment""#).body(&events[..2], "t");
    assert_eq!(batch, format!(r#"{{"batch":[{0},{0}],"sentAt":"t"}}"#, "x".repeat(10)));
    let ids = [request_id(&events[..1]), request_id(&events[..2]), request_id(&events[1..3])];
    assert_eq!(ids[0], "e0");
    assert!(ids[1].starts_with("batch-") && ids[1].len() == 38 && ids[1] != ids[2]);
    assert_eq!(ids[1], request_id(&events[..2]));
}

#[test]
fn the_id_of_a_first_party_event_says_nothing_that_the_endpoint_does_not_get() {
    let key = AddressKey::new("secret");
    let id = |payload: &str, blueprint: &Blueprint| {
        let envelope = envelope(payload, Source::Segment);
        let event = FirstParty::read(serde_json::from_str(payload).unwrap(), received_at(), true).unwrap();
        let rules = blueprint.webhooks();
        let event = RuledEvent::FirstParty { envelope: &envelope, event: &event };
        let sent = Form::Received.of_event("own", event, rules, &naming(), &key).unwrap();
        let message: Value = serde_json::from_str(&sent.messages[0]).unwrap();
        assert_eq!(message["id"], sent.id.as_str());
        sent.id
    };
    let track = |event: &str, to: &str, sent_at: &str| {
        json!({"type": "track", "event": event, "userId": "u", "to": to, "sentAt": sent_at}).to_string()
    };
    let plain = Blueprint::default();
    let first = id(&track("A", "ana@example.org", "1"), &plain);
    assert_eq!(first, id(&track("A", "ana@example.org", "2"), &plain), "a sender's retry");
    assert_ne!(first, id(&track("B", "ana@example.org", "1"), &plain), "another mapping");
    let hidden = document(&json!({"webhook": {"own": {"address": "omit"}}}));
    let ana = id(&track("A", "ana@example.org", "1"), &hidden);
    assert_eq!(ana, id(&track("A", "bob@example.org", "1"), &hidden));
}

#[test]
fn an_endpoint_gets_no_event_that_came_back() {
    let payload = r#"{"type":"page","userId":"u","context":{"library":{"name":"vero-relay"}}}"#;
    let envelope = envelope(payload, Source::Segment);
    let event = FirstParty::read(serde_json::from_str(payload).unwrap(), received_at(), true).unwrap();
    let sent = |naming: &Naming| {
        let (blueprint, key) = (Blueprint::default(), AddressKey::default());
        let event = RuledEvent::FirstParty { envelope: &envelope, event: &event };
        Form::Received.of_event("own", event, blueprint.webhooks(), naming, &key)
    };
    assert_eq!(sent(&Naming::default()).unwrap_err(), DeliveryOutcome::Skipped("loop"));
    assert!(sent(&Naming::new(EventNames::default(), TrackTypes::default(), false)).is_ok());
}
