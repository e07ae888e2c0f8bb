//! What a webhook endpoint gets: its requests, by which ids, and by which rules.

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
use crate::rules::{document, envelope, first_party_at_endpoint, naming, sent_to_endpoint};

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

#[test]
fn an_endpoint_has_rules_of_its_own() {
    let blueprint = document(&json!({"webhook": {"own": {
        "omit": ["/payload/ip", "/properties/sent_to"],
        "rules": [{"when": {"type": "sent"}, "send": false}],
        "default": {"rename": "Read", "properties": {"set": {"team": "growth"}, "pick": ["type", "ip", "to"]}},
    }}}));
    let payload =
        json!({"type": "opened", "ip": 1, "to": 2, "campaign": {"id": 5, "sent_to": "a@example.org"}});
    let text = payload.to_string();
    let all = sent_to_endpoint(&text, &blueprint);
    let [received, in_segment_s_form, first_party, renamed] = &all[..] else { panic!("{all:?}") };
    let received: Value = serde_json::from_str(received).unwrap();
    assert_eq!(received["payload"], json!({"type": "opened", "to": 2, "team": "growth"}));
    assert_eq!((&received["id"], &received["source"]), (&json!("e1"), &json!("vero")));
    let message: Value = serde_json::from_str(in_segment_s_form).unwrap();
    assert_eq!((&message["event"], &message["properties"]), (&json!("Read"), &json!({"team": "growth"})));
    let nothing_left =
        document(&json!({"webhook": {"own": {"default": {"properties": {"pick": ["none"]}}}}}));
    let bare: Value = serde_json::from_str(&sent_to_endpoint(&text, &nothing_left)[0]).unwrap();
    assert_eq!(bare["payload"], json!({}));
    let first_party: Value = serde_json::from_str(first_party).unwrap();
    let of_call = |call: &Value| (call["event"].clone(), call["properties"].clone(), call["ip"].clone());
    assert_eq!(of_call(&first_party["payload"]), (json!("Read"), json!({"team": "growth"}), Value::Null));
    let in_segment_s_form: Value = serde_json::from_str(renamed).unwrap();
    assert_eq!(of_call(&in_segment_s_form), (json!("Read"), json!({"team": "growth"}), json!(1)));
    assert_eq!(sent_to_endpoint(r#"{"type":"sent"}"#, &blueprint).len(), 2, "no webhook");
}

/// Rules of the endpoint `own`: one rule.
fn one_rule(rule: &Value) -> Blueprint {
    document(&json!({"webhook": {"own": {"rules": [rule]}}}))
}

#[test]
fn rules_of_an_endpoint_hold_for_first_party_events() {
    let payload = r#"{"type":"Track","event":"Order Completed","userId":"u1","properties":{"total":5}}"#;
    for (when, goes) in [
        (json!({"type": "track"}), 0),
        (json!({"type": "Track"}), 2),
        (json!({"source": "segment"}), 0),
        (json!({"source": ["vero"]}), 2),
        (json!({"source": {"exists": true}}), 0),
        (json!({"user_id": {"prefix": "u"}}), 0),
        (json!({"/event": "Order Completed", "/properties/total": 5}), 0),
        (json!({"channel": {"exists": false}}), 0),
        (json!({"campaign_id": {"exists": true}}), 2),
    ] {
        let blueprint = one_rule(&json!({"when": when, "send": false}));
        assert_eq!(first_party_at_endpoint(payload, &blueprint).len(), goes, "{when}");
    }
    // A track of these names asks for something, however it is spelled.
    for (name, when, goes) in [
        ("unSubscribe", json!("unsubscribe"), 0),
        ("unSubscribe", json!("track"), 0),
        ("RESUBSCRIBE", json!(["resubscribe", "delete"]), 0),
        ("RESUBSCRIBE", json!("unsubscribe"), 2),
        ("Ping", json!(["unsubscribe", "resubscribe"]), 2),
    ] {
        let track = json!({"type": "track", "event": name, "userId": "u"}).to_string();
        let blueprint = one_rule(&json!({"when": {"type": when}, "send": false}));
        assert_eq!(first_party_at_endpoint(&track, &blueprint).len(), goes, "{name} {when}");
    }
}

#[test]
fn a_first_party_event_needs_the_consent_and_is_in_the_share_of_its_rule() {
    let track = |user: &str| {
        format!(
            r#"{{"type":"track","event":"E",{user},"context":{{"consent":{{"categoryPreferences":{{"marketing":true,"ads":false}}}}}}}}"#
        )
    };
    // Of user 9 the hash is in a tenth, of 10 it is not.
    let (nine, ten) = (track(r#""userId":"9""#), track(r#""userId":10"#));
    let device = |id: &str| track(&format!(r#""anonymousId":"{id}""#));
    let [unsubscribe, resubscribe] = ["unsubscribe", "Resubscribe"]
        .map(|name| format!(r#"{{"type":"track","event":"{name}","userId":"10"}}"#));
    let delete = r#"{"type":"delete","userId":"10"}"#.to_owned();
    let alias = r#"{"type":"alias","userId":"10","previousId":"9"}"#.to_owned();
    let (consent, ads) = (json!({"consent": ["marketing"]}), json!({"consent": ["marketing", "ads"]}));
    let (tenth, none) = (json!({"sample": 0.1}), json!({"sample": 0, "sample_by": "event"}));
    for (rule, payload, goes) in [
        (&consent, &nine, true),
        (&ads, &nine, false),
        (&ads, &resubscribe, false),
        (&ads, &alias, false),
        (&tenth, &nine, true),
        (&tenth, &ten, false),
        (&tenth, &device("9"), true),
        (&tenth, &device("10"), false),
        (&none, &nine, false),
        // Whoever wants no messages, or to be forgotten, need not agree to it. No such wish is left to chance.
        (&ads, &unsubscribe, true),
        (&ads, &delete, true),
        (&none, &unsubscribe, true),
        (&none, &resubscribe, true),
        (&none, &delete, true),
        (&none, &alias, false),
    ] {
        let sent = first_party_at_endpoint(payload, &one_rule(rule));
        assert_eq!(sent.len(), if goes { 2 } else { 0 }, "{rule} {payload}");
    }
    // A webhook says nothing of consent, and goes; its user is the same one.
    let webhook = |user: u32| json!({"type": "sent", "user": {"id": user}}).to_string();
    let of_webhook = |user: u32, rule: &Value| {
        let sent = sent_to_endpoint(&webhook(user), &one_rule(rule));
        sent.iter().filter(|message| message.contains("\"sent\"") || message.contains("Email Sent")).count()
    };
    assert_eq!((of_webhook(9, &ads), of_webhook(9, &tenth), of_webhook(10, &tenth)), (2, 2, 0));
}

#[test]
fn a_rule_changes_of_a_first_party_event_what_its_type_says() {
    let rule = |rule: Value| one_rule(&rule);
    let usual = rule(json!({"rename": "N", "properties": {"omit": ["plan"], "set": {"team": "growth"}}}));
    let copies = rule(json!({"properties": {"copy": {"who": "/userId"}}}));
    let omits = rule(json!({"properties": {"omit": ["plan"]}}));
    let picks = rule(json!({"properties": {"pick": ["a"]}}));
    for (blueprint, payload, expected) in [
        (
            &usual,
            r#"{"type":"identify","traits":{"plan":1,"a":2}}"#,
            json!({"type": "identify", "traits": {"a": 2, "team": "growth"}}),
        ),
        (
            &usual,
            r#"{"type":"group","traits":{"plan":1}}"#,
            json!({"type": "group", "traits": {"team": "growth"}}),
        ),
        (
            &usual,
            r#"{"type":"page","properties":{"plan":1}}"#,
            json!({"type": "page", "properties": {"team": "growth"}}),
        ),
        (
            &usual,
            r#"{"type":"screen","properties":{}}"#,
            json!({"type": "screen", "properties": {"team": "growth"}}),
        ),
        (
            &usual,
            r#"{"type":" Track ","event":"E"}"#,
            json!({"type": " Track ", "event": "N", "properties": {"team": "growth"}}),
        ),
        (
            &usual,
            r#"{"type":"track","event":"E","properties":null}"#,
            json!({"type": "track", "event": "N", "properties": {"team": "growth"}}),
        ),
        (
            &copies,
            r#"{"type":"page","userId":"u"}"#,
            json!({"type": "page", "userId": "u", "properties": {"who": "u"}}),
        ),
        (&omits, r#"{"type":"page","userId":"u"}"#, json!({"type": "page", "userId": "u"})),
        // Of equal keys the last counts, and the other does not go by the rule's back.
        (
            &picks,
            r#"{"type":"page","properties":{"ssn":1},"properties":{"a":2}}"#,
            json!({"type": "page", "properties": {"a": 2}}),
        ),
        (&picks, r#"{"type":"page","properties":["ssn"]}"#, json!({"type": "page"})),
        (
            &picks,
            r#"{"type":"identify","userId":"u","traits":"ssn"}"#,
            json!({"type": "identify", "userId": "u"}),
        ),
        // RudderStack's SDK has the traits of an identify in its context: none of ours may stand in their way.
        (
            &usual,
            r#"{"type":"identify","context":{"traits":{"plan":1}}}"#,
            json!({"type": "identify", "context": {"traits": {"plan": 1}}}),
        ),
        (
            &usual,
            r#"{"type":"identify","traits":{},"context":{"traits":{"plan":1}}}"#,
            json!({"type": "identify", "traits": {}, "context": {"traits": {"plan": 1}}}),
        ),
        (&usual, r#"{"type":"group"}"#, json!({"type": "group", "traits": {"team": "growth"}})),
        (
            &usual,
            r#"{"type":"alias","previousId":"a","userId":"b"}"#,
            json!({"type": "alias", "previousId": "a", "userId": "b"}),
        ),
        (&usual, r#"{"type":"delete","userId":"u"}"#, json!({"type": "delete", "userId": "u"})),
        // Calls of their own, which no rule renames.
        (
            &usual,
            r#"{"type":"track","event":"Unsubscribe","properties":{}}"#,
            json!({"type": "track", "event": "Unsubscribe", "properties": {"team": "growth"}}),
        ),
    ] {
        let [received, in_segment_s_form] = &first_party_at_endpoint(payload, blueprint)[..] else {
            panic!("{payload}")
        };
        // To the letter: of equal keys a parser would show the last alone.
        assert!(!received.contains("ssn") && !in_segment_s_form.contains("ssn"), "{received}");
        let received: Value = serde_json::from_str(received).unwrap();
        assert_eq!(received["payload"], expected, "{payload}");
        assert_eq!(serde_json::from_str::<Value>(in_segment_s_form).unwrap(), expected, "{payload}");
    }
    let twice = r#"{"type":"track","event":"A","event":"B","userId":"u"}"#;
    let sent = first_party_at_endpoint(twice, &usual);
    assert_eq!(sent.len(), 2);
    for message in sent {
        assert!(!message.contains(r#""A""#) && message.contains(r#""event":"N""#), "{message}");
    }
}

#[test]
fn a_first_party_event_goes_to_an_endpoint_to_the_letter() {
    let payload = r#"{"type" : "track","event":"E", "n":1.50}"#;
    for blueprint in [Blueprint::default(), document(&json!({"webhook": {"other": {"address": "hash"}}}))] {
        let [received, in_segment_s_form] = &first_party_at_endpoint(payload, &blueprint)[..] else {
            panic!()
        };
        assert!(received.contains(&format!(r#""payload":{payload}}}"#)), "{received}");
        assert_eq!(in_segment_s_form, payload);
    }
}

#[test]
fn what_never_goes_does_not_go_by_a_second_key_of_the_same_name() {
    let omits =
        document(&json!({"webhook": {"own": {"omit": ["/payload/context/page/ip", "/context/page/ip"]}}}));
    let payload = r#"{"type":"track","event":"E","userId":"u",
        "context":{"page":{"ip":"1.2.3.4"}},"context":{"page":{"ip":"1.2.3.4"},"page":{"a":1}}}"#;
    let sent = first_party_at_endpoint(payload, &omits);
    assert_eq!(sent.len(), 2);
    for message in sent {
        assert!(!message.contains("1.2.3.4") && message.contains(r#""page":{"a":1}"#), "{message}");
    }
}
