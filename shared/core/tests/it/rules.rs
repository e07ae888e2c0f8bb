//! What rules change of any webhook, and what they never do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use relay_core::blueprint::Blueprint;
use relay_core::delivery::DeliveryOutcome;
use relay_core::endpoints::Form;
use relay_core::envelope::{Envelope, EventId, Payload, Source};
use relay_core::first_party::FirstParty;
use relay_core::mapping::{segment, vero_track};
use relay_core::names::{EventNames, Naming, TrackTypes, WEBHOOK_TYPES};
use relay_core::rules::{AddressKey, AfterRules, RuledEvent, RuledWebhook};
use relay_core::webhook::Webhook;
use serde_json::{Value, json};

use crate::properties::{received_at, webhook};

pub fn naming() -> Naming {
    Naming::new(EventNames::default(), TrackTypes::All, false)
}

pub fn document(webhooks: &Value) -> Blueprint {
    Blueprint::parse(&json!({"version": 2, "webhooks": webhooks}).to_string()).unwrap()
}

pub fn envelope(payload: &str, source: Source) -> Envelope<'_> {
    Envelope {
        id: EventId::parse("e1").unwrap(),
        source,
        received_at: received_at(),
        place: 0,
        through_segment: false,
        destinations: None,
        attempt: 0,
        payload: Payload::Object(serde_json::from_str(payload).unwrap()),
    }
}

/// Any payload with what makes it a track call.
fn as_track(payload: &str) -> String {
    let mut payload: Value = serde_json::from_str(payload).unwrap();
    payload["type"] = "track".into();
    payload["set_off_by"] = std::mem::replace(&mut payload["event"], "E".into());
    payload.to_string()
}

/// What the endpoint `own` is sent of a payload, as a webhook and as a first-party event, in either form.
pub fn sent_to_endpoint(payload: &str, blueprint: &Blueprint) -> Vec<String> {
    let (rules, key) = (blueprint.webhooks(), AddressKey::new("secret"));
    let ours = envelope(payload, Source::Vero);
    let webhook = Webhook::read(serde_json::from_str(payload).unwrap(), received_at());
    let event = RuledWebhook { envelope: &ours, webhook: &webhook };
    let in_form =
        |form: Form| form.of_event("own", event.into(), rules, &naming(), &key).map(|event| event.messages);
    let of_webhook = [Form::Received, Form::Segment].into_iter().flat_map(in_form).flatten();
    of_webhook.chain(first_party_at_endpoint(&as_track(payload), blueprint)).collect()
}

/// What the endpoint `own` is sent of a first-party event, in either form.
pub fn first_party_at_endpoint(payload: &str, blueprint: &Blueprint) -> Vec<String> {
    let (rules, key) = (blueprint.webhooks(), AddressKey::new("secret"));
    let envelope = envelope(payload, Source::Segment);
    let event = FirstParty::read(serde_json::from_str(payload).unwrap(), received_at(), true);
    let (Ok(event), false) = (event, payload.contains("vero-relay")) else { return Vec::new() };
    let event = RuledEvent::FirstParty { envelope: &envelope, event: &event };
    let in_form = |form: Form| form.of_event("own", event, rules, &naming(), &key);
    [Form::Received, Form::Segment].into_iter().flat_map(in_form).flat_map(|event| event.messages).collect()
}

/// What both destinations are sent of a webhook, or why they are sent nothing.
pub fn sent(
    payload: &str,
    blueprint: &Blueprint,
) -> (Result<Vec<String>, DeliveryOutcome>, Result<String, DeliveryOutcome>) {
    let envelope = envelope(payload, Source::Vero);
    let read = Webhook::read(serde_json::from_str(payload).unwrap(), received_at());
    let event = RuledWebhook { envelope: &envelope, webhook: &read };
    let rules = blueprint.webhooks();
    let to_segment = rules.to_segment(event, &naming(), &AddressKey::new("secret"));
    (to_segment, rules.to_vero(event, &naming()).map(|request| request.body("t")))
}

fn rule() -> impl Strategy<Value = Value> {
    let types = prop::sample::select(WEBHOOK_TYPES.map(|row| row.name).to_vec());
    let when = prop_oneof![
        types.prop_map(|kind| json!({"type": kind})),
        Just(json!({"channel": ["sms", "email"]})),
        Just(json!({"user_id": {"prefix": "1"}})),
        Just(json!({"/campaign/locale": {"exists": true}})),
        Just(json!({"campaign_tag": "a", "/event/data": {"exists": false}})),
        Just(json!({"source": "segment"})),
        Just(json!({})),
    ];
    let shape = prop_oneof![
        Just(json!({})),
        Just(json!({"pick": ["email_id", "campaign_id"], "rename": {"email_id": "id"}})),
        Just(json!({"pick": ["traits", "user"]})),
        Just(json!({"pick": []})),
        Just(json!({"omit": ["sent_to", "vero"], "copy": {"whole": "/campaign"}})),
        Just(json!({"set": {"a": 1, "b": "é"}, "copy": {"kind": "/type"}})),
    ];
    (when, shape, any::<bool>(), prop::option::of(0.0..=1.0), prop::option::of("[A-Z][a-z]{1,9}")).prop_map(
        |(when, properties, send, sample, rename)| {
            json!({"when": when, "properties": properties, "send": send, "sample": sample, "rename": rename})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_document_without_rules_changes_no_byte(webhook in webhook()) {
        let payload = Value::Object(webhook).to_string();
        let read = Webhook::read(serde_json::from_str(&payload).unwrap(), received_at());
        let id = EventId::parse("e1").unwrap();
        let plain = (
            segment::messages(&id, &read, &naming()).map_err(|_| DeliveryOutcome::rejected("too_large")),
            vero_track::from_webhook(&id, &read, &naming()).map(|request| request.body("t")),
        );
        let none = json!({"segment": {"rules": [], "default": {}}, "vero_track": {"address": "keep"}});
        for blueprint in [Blueprint::default(), document(&none)] {
            prop_assert_eq!(&sent(&payload, &blueprint), &plain);
        }
        // A rule that is for nobody changes nothing either.
        let nobody = json!({"rules": [{"when": {"user_id": "nobody at all"}, "send": false}]});
        prop_assert_eq!(sent(&payload, &document(&json!({"segment": nobody, "vero_track": nobody}))), plain);
        let at_endpoint = sent_to_endpoint(&payload, &Blueprint::default());
        let end = [r#""payload":"#, &payload, "}"].concat();
        prop_assert!(at_endpoint[0].ends_with(&end));
        let for_others = json!({"webhook": {"other": {"address": "omit"}, "own": nobody}});
        prop_assert_eq!(sent_to_endpoint(&payload, &document(&for_others)), at_endpoint);
    }

    /// Any rules: what is sent is what a destination takes, or there is a reason.
    #[test]
    fn rules_keep_a_message_whole(webhook in webhook(), rules in prop::collection::vec(rule(), 0..6)) {
        let payload = Value::Object(webhook).to_string();
        let vero_rules: Vec<Value> = rules
            .iter()
            .cloned()
            .map(|mut rule| {
                rule["properties"]["copy"].take();
                rule
            })
            .map(|mut rule| {
                rule["properties"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
                rule
            })
            .collect();
        let blueprint = document(&json!({"segment": {"rules": rules}, "vero_track": {"rules": vero_rules}}));
        let (to_segment, to_vero) = sent(&payload, &blueprint);
        for message in to_segment.into_iter().flatten() {
            let message: Value = serde_json::from_str(&message).unwrap();
            prop_assert!(message["messageId"].as_str().is_some_and(|id| id.starts_with("vr-e1")), "{message}");
            prop_assert_eq!(&message["integrations"], &json!({"Vero": false}));
            prop_assert_eq!(&message["context"]["library"]["name"], "vero-relay");
        }
        if let Ok(body) = to_vero {
            let body: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(&body["data"]["webhook_id"], "e1");
            prop_assert!(body["event_name"].as_str().is_some_and(|name| !name.is_empty()), "{body}");
        }
        for policy in ["keep", "hash", "omit"] {
            let at_endpoint = document(&json!({"webhook": {"own": {"address": policy, "rules": rules}}}));
            for message in sent_to_endpoint(&payload, &at_endpoint) {
                let message: Result<Value, _> = serde_json::from_str(&message);
                prop_assert!(message.is_ok_and(|message| message.is_object()));
            }
        }
    }

    /// Where no webhook meets two rules, their order says nothing.
    #[test]
    fn the_order_of_rules_for_different_types_changes_nothing(webhook in webhook(), seed in any::<prop::sample::Index>()) {
        let payload = Value::Object(webhook).to_string();
        let mut rules: Vec<Value> = WEBHOOK_TYPES
            .iter()
            .map(|row| json!({"when": {"type": row.name}, "rename": format!("My {}", row.event), "send": row.name != "sent"}))
            .collect();
        let before = sent(&payload, &document(&json!({"segment": {"rules": rules}, "vero_track": {"rules": rules}})));
        let by = seed.index(rules.len());
        rules.rotate_left(by);
        rules.reverse();
        let after = sent(&payload, &document(&json!({"segment": {"rules": rules}, "vero_track": {"rules": rules}})));
        prop_assert_eq!(before, after);
    }
}

#[test]
fn the_first_rule_wins_and_the_default_is_for_the_rest() {
    let blueprint = document(&json!({"segment": {
        "rules": [
            {"when": {"type": "sent", "channel": "sms"}, "rename": "A"},
            {"when": {"type": "sent"}, "rename": "B"},
        ],
        "default": {"send": false},
    }}));
    let name = |payload: Value| {
        let (to_segment, _) = sent(&payload.to_string(), &blueprint);
        to_segment.map(|messages| serde_json::from_str::<Value>(&messages[0]).unwrap()["event"].clone())
    };
    assert_eq!(name(json!({"type": "sent", "campaign": {"channel": "sms"}})).unwrap(), "A");
    assert_eq!(name(json!({"type": "sent", "campaign": {"channel": "email"}})).unwrap(), "B");
    assert_eq!(name(json!({"type": "opened"})), Err(DeliveryOutcome::Skipped("dropped")));
}

#[test]
fn a_share_of_nothing_sends_nothing_and_a_whole_one_all() {
    for (sample, outcome) in [(0, Some(DeliveryOutcome::Skipped("not_sampled"))), (1, None)] {
        let rules = json!({"default": {"sample": sample, "sample_by": "event"}});
        let (to_segment, to_vero) = sent(
            r#"{"type":"sent","user":{"id":1}}"#,
            &document(&json!({"segment": rules, "vero_track": rules})),
        );
        assert_eq!((to_segment.err(), to_vero.err()), (outcome.clone(), outcome));
    }
}

#[test]
fn a_rule_gives_no_name_to_what_is_told_of_a_profile() {
    let payload = r#"{"type":"user_updated","user":{"id":1},"changes":{"plan":"a","_tags":{"add":["b"]}}}"#;
    let named = document(&json!({"segment": {"default": {"rename": "Other"}}}));
    let messages = sent(payload, &named).0.unwrap();
    let events: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_str::<Value>(message).unwrap()["event"].clone())
        .collect();
    assert_eq!(events, [Value::Null, json!("User Tags Updated")]);
}

#[test]
fn conditions_look_at_what_they_name() {
    let payload = json!({
        "type": "clicked", "user": {"id": "eu-7"}, "n": 5, "yes": true, "none": null, "list": ["a", 2],
        "less": -5, "most": u64::MAX,
        "campaign": {"id": 12, "name": "May", "group": "EU news", "tags": ["test", "x"], "type": "transactional",
            "channel": "email", "locale": "en-US"},
    });
    let meets = |when: Value| {
        let rules = json!({"segment": {"rules": [{"when": when}], "default": {"send": false}}});
        sent(&payload.to_string(), &document(&rules)).0.is_ok()
    };
    for when in [
        json!({}),
        json!({"type": ["opened", "clicked"]}),
        json!({"user_id": {"prefix": "eu-"}}),
        json!({"campaign_id": 12}),
        json!({"campaign_id": "12", "campaign_name": "May", "campaign_type": "transactional"}),
        json!({"campaign_tag": "test", "campaign_group": {"prefix": "EU "}}),
        json!({"/campaign/locale": ["de-DE", "en-US"], "/n": 5, "/yes": true}),
        json!({"/less": -5, "/most": u64::MAX}),
        json!({"/list": 2, "/none": {"exists": false}, "/list ": {"exists": false}, "channel": {"exists": true}}),
    ] {
        assert!(meets(when.clone()), "{when}");
    }
    for when in [
        json!({"type": "opened"}),
        json!({"type": {"exists": false}}),
        json!({"user_id": {"prefix": "us-"}}),
        json!({"campaign_tag": "tes"}),
        json!({"campaign_id": 12, "channel": "sms"}),
        json!({"/campaign": "EU news"}),
        json!({"/none": {"exists": true}}),
        json!({"/campaign/locale/x": {"exists": true}}),
    ] {
        assert!(!meets(when.clone()), "{when}");
    }
}

#[test]
fn what_a_rule_renames_at_vero_does_not_come_back() {
    let document =
        json!({"vero_track": {"rules": [{"when": {"type": "sent"}, "rename": "Newsletter Opened"}]}});
    let blueprint = Blueprint::parse(&json!({"version": 2, "webhooks": document}).to_string()).unwrap();
    for (trigger_event, is_loop) in [("newsletter_OPENED", true), ("Newsletter Sent", false)] {
        let payload =
            json!({"type": "opened", "user": {"id": 1}, "campaign": {"trigger-event": trigger_event}})
                .to_string();
        let read: relay_core::json::Json<'_> = serde_json::from_str(&payload).unwrap();
        let envelope = format!(
            r#"{{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
        );
        let envelope = Envelope::parse(&envelope).unwrap();
        let webhook = Webhook::read(read, received_at());
        let event = RuledWebhook { envelope: &envelope, webhook: &webhook };
        let skipped = blueprint.webhooks().to_vero(event, &Naming::default()).err();
        assert_eq!(skipped, is_loop.then_some(DeliveryOutcome::Skipped("loop")), "{trigger_event}");
        let off = Naming::new(EventNames::default(), TrackTypes::default(), false);
        assert!(blueprint.webhooks().to_vero(event, &off).is_ok());
    }
}

#[test]
fn an_open_by_a_machine_says_so() {
    let hinted = |kind: &str, agent: &str| {
        let payload = json!({"type": kind, "user": {"id": 1}, "user_agent": agent}).to_string();
        let rules = json!({"segment": {"machine_open": true}, "vero_track": {"machine_open": true}});
        let (to_segment, to_vero) = sent(&payload, &document(&rules));
        let message: Value = serde_json::from_str(&to_segment.unwrap()[0]).unwrap();
        let body: Value = serde_json::from_str(&to_vero.unwrap()).unwrap();
        assert_eq!(message["properties"]["machine_open"], body["data"]["machine_open"]);
        message["properties"]["machine_open"] == true
    };
    assert!(hinted("opened", "Mozilla/5.0"));
    let gmail = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 \
                 Safari/537.36 Edge/12.246 Mozilla/5.0";
    assert!(hinted("opened", gmail));
    assert!(!hinted(
        "opened",
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
    ));
    assert!(!hinted("clicked", "Mozilla/5.0"));
    assert!(!hinted("opened", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"));
}

#[test]
fn a_document_says_whether_addresses_are_hidden_and_whether_that_takes_a_secret() {
    for (webhooks, says) in [
        (json!({}), (false, false)),
        (json!({"segment": {"address": "keep"}}), (false, false)),
        (json!({"segment": {"address": "omit"}}), (true, false)),
        (json!({"segment": {"address": "hash"}}), (true, true)),
    ] {
        let blueprint = document(&webhooks);
        let rules = blueprint.webhooks();
        assert_eq!((rules.hides_addresses(), rules.hashes_at().is_some()), says, "{webhooks}");
    }
}

#[test]
fn rules_come_before_whatever_else_would_be_said_of_a_webhook() {
    let too_long = json!({"type": "sent", "user": {"id": "x".repeat(255)}}).to_string();
    let none = document(&json!({"vero_track": {"default": {"send": false}}}));
    assert_eq!(sent(&too_long, &none).1, Err(DeliveryOutcome::Skipped("dropped")));
    let long = json!({"type": "sent", "bounce_message": "x".repeat(33_000)}).to_string();
    let short = document(&json!({"segment": {"default": {"properties": {"omit": ["bounce_message"]}}}}));
    assert!(sent(&long, &short).0.is_ok());
    let copies = document(&json!({"vero_track": {"default": {"properties": {
        "copy": {"all": "/campaign", "tags": "/campaign/tags", "locale": "/campaign/locale"}
    }}}}));
    let payload =
        json!({"type": "sent", "user": {"id": 1}, "campaign": {"tags": ["a"], "locale": "de"}}).to_string();
    let body: Value = serde_json::from_str(&sent(&payload, &copies).1.unwrap()).unwrap();
    assert_eq!(body["data"], json!({"campaign_locale": "de", "webhook_id": "e1", "locale": "de"}));
    let twice = r#"{"type":"user_created","user":{"id":1,"phone":"1","phone":"2"}}"#;
    let omits = document(
        &json!({"segment": {"omit": ["/traits/phone", "/context/userAgent", "/properties/library"]}}),
    );
    assert!(!sent(twice, &omits).0.unwrap()[0].contains("phone"));
}

#[test]
fn a_document_tells_what_of_it_holds_for_an_event() {
    let blueprint = document(&json!({
        "segment": {"rules": [{"when": {"type": "sent"}}, {"when": {"type": "opened"}, "note": "why"}]},
        "webhook": {"own": {"rules": [{"when": {"source": "segment"}, "note": "ours"}]}},
    }));
    let rules = blueprint.webhooks();
    assert_eq!(rules.endpoints().collect::<Vec<_>>(), ["own"]);
    let held = |destination: &str, event: RuledEvent<'_, '_>| {
        let holding = rules.holding(destination, event)?;
        Some((holding.destination, holding.rule, holding.note.map(str::to_owned)))
    };
    let told = |destination: &str, rule: &str, note: Option<&str>| {
        Some((destination.to_owned(), format!("{destination}.{rule}"), note.map(str::to_owned)))
    };
    for (kind, rule, note) in
        [("sent", "rules[0]", None), ("opened", "rules[1]", Some("why")), ("failed", "default", None)]
    {
        let payload = json!({"type": kind}).to_string();
        let envelope = envelope(&payload, Source::Vero);
        let webhook = Webhook::read(serde_json::from_str(&payload).unwrap(), received_at());
        let event = RuledWebhook { envelope: &envelope, webhook: &webhook }.into();
        assert_eq!(held("segment", event), told("webhooks.segment", rule, note));
        assert_eq!(held("webhook:own", event), told("webhooks.webhook.own", "default", None));
        assert_eq!((held("vero_track", event), held("webhook:other", event)), (None, None));
    }
    let payload = r#"{"type":"page","userId":"u"}"#;
    let envelope = envelope(payload, Source::Segment);
    let event = FirstParty::read(serde_json::from_str(payload).unwrap(), received_at(), true).unwrap();
    let event = RuledEvent::FirstParty { envelope: &envelope, event: &event };
    assert_eq!(held("webhook:own", event), told("webhooks.webhook.own", "rules[0]", Some("ours")));
}

#[test]
fn a_document_can_be_had_without_what_holds_after_the_rules() {
    let all = json!({"machine_open": true, "address": "omit", "omit": ["/context/userAgent"],
        "default": {"rename": "Read"}});
    let blueprint = document(&json!({"segment": all}));
    let opened = r#"{"type":"opened","user_agent":"Mozilla/5.0","user":{"id":1,"email":"a@example.org"}}"#;
    let message = |blueprint: &Blueprint| sent(opened, blueprint).0.unwrap().concat();
    for field in AfterRules::ALL {
        let without = message(&blueprint.without(field));
        assert_eq!(without.contains("machine_open"), field != AfterRules::MachineOpen, "{field:?}");
        assert_eq!(without.contains("a@example.org"), field == AfterRules::Address, "{field:?}");
        assert_eq!(without.contains("userAgent"), field == AfterRules::Omit, "{field:?}");
        assert!(without.contains(r#""event":"Read""#), "{field:?}");
    }
    assert_eq!(AfterRules::ALL.map(AfterRules::name), ["address", "omit", "machine_open"]);
}

#[test]
fn a_message_that_rules_make_too_large_is_a_dead_letter() {
    let rules = json!({"segment": {"default": {"properties": {"set": {"long": "x".repeat(33_000)}}}}});
    let (to_segment, _) = sent(r#"{"type":"sent"}"#, &document(&rules));
    assert_eq!(to_segment, Err(DeliveryOutcome::rejected("too_large")));
}
