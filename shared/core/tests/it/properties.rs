//! What holds for any webhook at all, and not only for those that somebody thought of.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use relay_core::delivery::{OrderKey, in_order};
use relay_core::envelope::{Envelope, EventId, Payload, Source};
use relay_core::first_party::CallType;
use relay_core::first_party::FirstParty;
use relay_core::identity::User;
use relay_core::json::Json;
use relay_core::mapping::vero_track::{Endpoint, FirstPartySettings, Skip, Tags};
use relay_core::mapping::{segment, vero_track};
use relay_core::names::{EventNames, Naming, TrackTypes, WEBHOOK_TYPES};
use relay_core::timestamp::Timestamp;
use relay_core::webhook::Webhook;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub fn received_at() -> Timestamp {
    Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap()
}

fn parsed(text: &str) -> Option<Timestamp> {
    let json = json!(text).to_string();
    Timestamp::from_json(serde_json::from_str(&json).unwrap())
}

fn naming() -> Naming {
    Naming::new(EventNames::default(), TrackTypes::All, false)
}

/// Keys that mean something, among others that mean nothing.
fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(
        "type user id email campaign message_id name subject email_subject campaign_title channel trigger-event \
         sent_at opened_at user_created_at user_agent bounce_type bounce_code bounce_message sender_ip event data \
         changes _tags add remove action variation variation_name tags sent_to template series_title locale group"
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    prop_oneof![4 => known, 1 => "\\PC{0,6}"]
}

fn value() -> impl Strategy<Value = Value> {
    let types = WEBHOOK_TYPES.map(|row| json!(row.name));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..4_000_000_000).prop_map(Value::from),
        // Eighths: serde_json reads back longer fractions a bit off, which is this test's reading alone.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        ".{0,12}".prop_map(Value::from),
        "[a-z]{1,5}@[a-z]{1,5}\\.[a-z]{2}".prop_map(Value::from),
        prop::sample::select(types.to_vec()),
        prop::sample::select(vec![
            json!("email"),
            json!("sms"),
            json!("push"),
            json!(" "),
            json!("1435016238")
        ]),
        time_text().prop_map(|(text, _)| text.into()),
        (253_usize..257).prop_map(|length| "é".repeat(length).into()),
    ];
    leaf.prop_recursive(3, 40, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key(), inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A date with a time of day, some number of which is out of range now and then, and what it means.
fn time_text() -> impl Strategy<Value = (String, Option<Timestamp>)> {
    let day = (1999_i32..2028, 0_u8..14, 0_u8..33);
    let clock = (0_u64..26, 0_u64..62, 0_u64..62, 0_u64..1_000);
    let zone = (any::<bool>(), 0_u64..25, 0_u64..61, 0_usize..9);
    let style =
        (any::<bool>(), prop::sample::select(vec!["T", "t", " "]), prop::sample::select(vec![".", ","]));
    (day, clock, zone, style).prop_map(|(day, (hour, minute, second, millisecond), zone, style)| {
        let (is_basic, between, point) = style;
        let (dash, colon) = if is_basic { ("", "") } else { ("-", ":") };
        let (is_west, hours, minutes, form) = zone;
        let sign = if is_west { '-' } else { '+' };
        let (zone, hours, minutes) = match form {
            0..6 => (["", "Z", "z", ":Z", "UTC", " UTC"][form].to_owned(), 0, 0),
            6 => (format!("{sign}{hours:02}"), hours, 0),
            7 => (format!("{sign}{hours:02}{minutes:02}"), hours, minutes),
            _ => (format!("{sign}{hours:02}:{minutes:02}"), hours, minutes),
        };
        let (year, month, day) = day;
        let text = format!(
            "{year}{dash}{month:02}{dash}{day:02}{between}\
            {hour:02}{colon}{minute:02}{colon}{second:02}{point}{millisecond:03}{zone}"
        );

        let midnight = Timestamp::parse(&format!("{year}-{month:02}-{day:02}T00:00:00Z"));
        let is_time = hour < 24 && minute < 60 && second <= 60 && hours < 24 && minutes < 60;
        let since_midnight =
            Duration::from_millis(((hour * 60 + minute) * 60 + second) * 1_000 + millisecond);
        let ahead = Duration::from_secs((hours * 60 + minutes) * 60);
        let time = midnight.filter(|_| is_time).map(|midnight| midnight.later_by(since_midnight));
        (text, time.map(|time| if is_west { time.later_by(ahead) } else { time.earlier_by(ahead) }))
    })
}

/// Any JSON object, more often than not with a type that means something.
pub fn webhook() -> impl Strategy<Value = Map<String, Value>> {
    let types = prop::option::of(prop::sample::select(WEBHOOK_TYPES.map(|row| row.name).to_vec()));
    (prop::collection::vec((key(), value()), 0..10), types).prop_map(|(fields, kind)| {
        let mut webhook: Map<String, Value> = fields.into_iter().collect();
        if let Some(kind) = kind {
            webhook.insert("type".into(), kind.into());
        }
        webhook
    })
}

/// Any JSON object, more often than not an event of Segment's spec.
pub fn first_party() -> impl Strategy<Value = Map<String, Value>> {
    let known = prop::sample::select(
        "userId anonymousId previousId groupId event name category properties traits context integrations messageId \
         timestamp sentAt receivedAt email url segment_message_id library integration consent categoryPreferences \
         Vero vero All tags action values add remove page id product_url device os token type"
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    let fields = prop::collection::vec((known, event_value()), 0..12);
    let types =
        ["identify", "track", "page", "screen", "group", "alias", "delete", "nonsense", "Identify", "TRACK"];
    (fields, prop::sample::select(types.to_vec())).prop_map(|(fields, kind)| {
        let mut event: Map<String, Value> = fields.into_iter().collect();
        event.insert("type".into(), kind.into());
        event
    })
}

fn event_value() -> impl Strategy<Value = Value> {
    let words = [
        "Signed Up",
        "Product Viewed",
        "unsubscribe",
        "Resubscribe",
        "vero-relay",
        "add",
        "u1",
        "a@b.c",
        "iOS",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        (253_usize..257).prop_map(|length| "é".repeat(length).into()),
        Just(json!("2026-11-21T05:00:00.123456789+02:00")),
    ];
    let key = prop::sample::select(
        "email traits name url tags Vero vero All add remove action values id library consent page device os token type"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

/// Every scalar in a value, as text.
fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, out)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            out.push(key.clone());
            leaves(value, out);
        }),
        Value::String(text) => out.push(text.trim().to_owned()),
        other => out.push(other.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_field_of_any_webhook_reaches_segment(webhook in webhook()) {
        let json = serde_json::to_string(&webhook).unwrap();
        let id = EventId::parse("e1").unwrap();
        let read = Webhook::read(serde_json::from_str(&json).unwrap(), received_at());
        let messages = segment::messages(&id, &read, &naming()).unwrap();
        let messages: Vec<Value> = messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect();
        let mut arrived = Vec::new();
        messages.iter().for_each(|message| leaves(message, &mut arrived));

        for (key, value) in &webhook {
            // The type is in the name, the time in the timestamp.
            let is_type = key == "type" && WEBHOOK_TYPES.iter().any(|row| value == row.name);
            let names_the_time = key.strip_suffix("_at").is_some_and(|kind| read.kind.as_deref() == Some(kind));
            let is_time = names_the_time && read.time != received_at();
            if is_type || is_time {
                continue;
            }
            let mut sent = Vec::new();
            leaves(value, &mut sent);
            // Listed fields change their names; their values are there all the same.
            let names: Vec<&String> = value.as_object().iter().flat_map(|fields| fields.keys()).collect();
            for leaf in sent.iter().filter(|leaf| !names.contains(leaf)) {
                let is_key_of_tags = matches!(leaf.as_str(), "add" | "remove" | "_tags");
                prop_assert!(is_key_of_tags || arrived.contains(leaf), "{leaf:?} of {key:?} is lost: {messages:#?}");
            }
        }
    }

    #[test]
    fn a_text_is_one_time_as_a_whole((text, expected) in time_text()) {
        prop_assert_eq!(parsed(&text), expected, "{}", text);
    }

    /// What is no time, whatever part of it could be one, is not used up.
    #[test]
    fn a_time_is_used_up_as_a_whole_or_goes_along(
        (text, _) in time_text(),
        at in any::<prop::sample::Index>(),
        odd in "[-0-9TZz:.,+ W/x\u{2212}]{0,2}",
    ) {
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
        let place = *at.get(&places);
        let text = [&text[..place], &odd, &text[place..]].concat();
        let webhook = json!({"type": "opened", "opened_at": text}).to_string();
        let read = Webhook::read(serde_json::from_str(&webhook).unwrap(), received_at());
        let believed = parsed(&text).filter(|time| time.is_believable(received_at()));
        prop_assert_eq!(read.time, believed.unwrap_or(received_at()));
        let rest = read.rest.map(|rest| serde_json::from_str::<Value>(&rest).unwrap());
        prop_assert_eq!(rest, believed.is_none().then(|| json!({"opened_at": text})));
    }

    /// Whatever is put behind a time, unless it is more of it, makes it none.
    #[test]
    fn nothing_follows_a_time((text, _) in time_text(), odd in "[-T:.,+x/]") {
        prop_assert_eq!(parsed(&(text + &odd)), None);
    }

    #[test]
    fn every_message_is_one_that_segment_takes(webhook in webhook()) {
        let json = serde_json::to_string(&webhook).unwrap();
        let read = Webhook::read(serde_json::from_str(&json).unwrap(), received_at());
        let messages = segment::messages(&EventId::parse("e1").unwrap(), &read, &naming()).unwrap();
        prop_assert!((1..=2).contains(&messages.len()));
        let mut ids = Vec::new();
        for message in messages {
            let message: Value = serde_json::from_str(&message).unwrap();
            let identity = message.get("userId").or_else(|| message.get("anonymousId"));
            prop_assert!(identity.and_then(Value::as_str).is_some_and(|id| !id.is_empty()));
            prop_assert!(message["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
            prop_assert_eq!(&message["integrations"], &json!({"Vero": false}));
            match message["type"].as_str() {
                Some("track") => prop_assert!(message["event"].is_string() && message["properties"].is_object()),
                Some("identify") => prop_assert!(message["traits"].is_object()),
                other => prop_assert!(false, "{other:?}"),
            }
            ids.push(message["messageId"].as_str().unwrap().to_owned());
        }
        let first = ids.remove(0);
        prop_assert_eq!(first, "vr-e1");
        prop_assert!(ids.iter().all(|id| id == "vr-e1-tags"));
    }

    #[test]
    fn every_call_is_one_that_vero_takes_and_never_changes(webhook in webhook()) {
        let json = serde_json::to_string(&webhook).unwrap();
        let map = || {
            let read = Webhook::read(serde_json::from_str(&json).unwrap(), received_at());
            vero_track::from_webhook(&EventId::parse("e1").unwrap(), &read, &naming())
        };
        let call = match map() {
            Ok(call) => call,
            Err(not_sent) => {
                let nobody = Webhook::read(serde_json::from_str(&json).unwrap(), received_at()).user == User::default();
                prop_assert_eq!(not_sent == Skip::NoIdentity.into(), nobody);
                return Ok(());
            }
        };
        prop_assert_eq!(&call, &map().unwrap());
        let body: Value = serde_json::from_str(&call.body("t")).unwrap();
        for (_, part) in body["identity"].as_object().unwrap() {
            prop_assert!(part.as_str().is_some_and(|part| !part.is_empty() && part.chars().count() < 255));
        }
        prop_assert!(!body["identity"].as_object().unwrap().is_empty());
        prop_assert!(body["event_name"].as_str().is_some_and(|name| !name.is_empty() && name.chars().count() < 255));
        prop_assert_eq!(&body["data"]["webhook_id"], "e1");
    }

    #[test]
    fn any_first_party_event_becomes_calls_that_vero_takes_and_that_never_change(event in first_party(), forward_deletes in any::<bool>()) {
        let json = serde_json::to_string(&event).unwrap();
        let Ok(read) = FirstParty::read(serde_json::from_str(&json).unwrap(), received_at(), false) else { return Ok(()) };
        let rules = FirstPartySettings { forward_deletes, ..FirstPartySettings::default() };
        let map = || vero_track::from_event(&EventId::parse("e1").unwrap(), &read, &rules, Duration::ZERO);
        let requests = match map() {
            Ok(requests) => requests,
            Err(not_sent) => {
                let is_known = read.user.id.is_some() || read.user.email.is_some() && read.kind != CallType::Alias;
                prop_assert!(not_sent != Skip::NoIdentity.into() || !is_known, "{not_sent:?}");
                return Ok(());
            }
        };
        prop_assert_eq!(&requests, &map().unwrap());
        prop_assert!(!requests.users.is_empty());
        let tags = match &requests.tags {
            Tags::Edit(call) => Some(call),
            Tags::None | Tags::Malformed => None,
        };
        for call in [Some(&requests.request), tags].into_iter().flatten() {
            let body: Value = serde_json::from_str(&call.body("t")).unwrap();
            let user = if call.endpoint == Endpoint::EventsTrack { &body["identity"] } else { &body };
            let named: Vec<&str> = ["id", "email"].iter().filter_map(|key| user[key].as_str()).collect();
            let names = named.iter().copied().chain(body["new_id"].as_str());
            prop_assert!(!named.is_empty() && { names }.all(|name| (1..255).contains(&name.chars().count())), "{body}");
            match call.endpoint {
                Endpoint::EventsTrack => {
                    prop_assert!(body["event_name"].as_str().is_some_and(|name| (1..255).contains(&name.chars().count())));
                    prop_assert!(body["data"]["segment_message_id"].is_string());
                }
                Endpoint::UsersTrack => {
                    prop_assert!(body["data"].is_object());
                    let channels = body.get("channels").map(|channels| channels.as_array().unwrap().as_slice());
                    let is_whole = |channel: &Value| {
                        channel["type"] == "push"
                            && channel["address"].as_str().is_some_and(|token| !token.is_empty())
                            && matches!(channel["platform"].as_str(), Some("ios" | "android"))
                    };
                    prop_assert!(channels.is_none_or(|channels| channels.len() == 1 && is_whole(&channels[0])), "{body}");
                }
                Endpoint::Reidentify => prop_assert!(body["new_id"].is_string() && body.get("email").is_none()),
                Endpoint::EditTags => prop_assert!(body["add"].is_array() || body["remove"].is_array()),
                Endpoint::Unsubscribe | Endpoint::Resubscribe | Endpoint::Delete => prop_assert_eq!(named.len(), 1),
            }
            if matches!(call.endpoint, Endpoint::EventsTrack | Endpoint::UsersTrack) {
                prop_assert_eq!(&body["extras"]["source"], "vero-relay");
            }
        }
    }

    #[test]
    fn every_event_has_one_turn_after_those_of_its_users(turns in prop::collection::vec((prop::collection::vec("[a-e]", 0..3), 0_u32..5, 0_u32..3), 0..30)) {
        let turns: Vec<OrderKey> = turns
            .into_iter()
            .map(|(users, second, place)| {
                let received_at = Timestamp::parse(&format!("2026-11-21T05:04:0{second}Z")).unwrap();
                OrderKey { users, received_at, place }
            })
            .collect();
        let lines = in_order(&turns);
        let mut all: Vec<usize> = lines.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..turns.len()));
        let line_of = |index: usize| lines.iter().position(|line| line.contains(&index)).unwrap();
        for line in &lines {
            prop_assert!(line.is_sorted_by_key(|index| (turns[*index].received_at, turns[*index].place, *index)));
        }
        for (index, turn) in turns.iter().enumerate() {
            for (other, _) in turns.iter().enumerate().filter(|(_, other)| turn.users.iter().any(|user| other.users.contains(user))) {
                prop_assert_eq!(line_of(index), line_of(other));
            }
        }
    }

    #[test]
    fn any_envelope_survives_the_round_trip(webhook in webhook(), (attempt, place, through_segment) in any::<(u32, u32, bool)>(), owed in prop::option::of(prop::collection::btree_set("[a-z_]{1,9}", 0..3))) {
        let json = serde_json::to_string(&webhook).unwrap();
        let payload: Json<'_> = serde_json::from_str(&json).unwrap();
        let envelope = Envelope {
            id: EventId::parse("e1").unwrap(),
            source: Source::Vero,
            received_at: received_at(),
            place,
            through_segment,
            destinations: owed.map(Vec::from_iter),
            attempt,
            payload: Payload::Object(payload),
        };
        let body = envelope.to_json();
        let is_legal = |c: char| c >= ' ' && c != '\u{FFFE}' && c != '\u{FFFF}';
        prop_assert!(body.chars().all(is_legal));
        let back = Envelope::parse(&body).unwrap();
        prop_assert_eq!((&back.id, back.received_at, &back.destinations, back.attempt, back.place, back.through_segment),
            (&envelope.id, envelope.received_at, &envelope.destinations, attempt, place, through_segment));
        let Payload::Object(back) = back.payload else { panic!("an object") };
        prop_assert_eq!(serde_json::from_str::<Value>(back.get()).unwrap(), Value::Object(webhook));
    }

    /// Text that is JSON for serde_json's lenient skipper: whatever ingest accepts can be mapped.
    #[test]
    fn whatever_is_accepted_can_be_mapped(inner in "[\\[\\]{}\",:\\\\u0-9a-fde.+ tn-]{0,40}", kind in prop::sample::select(WEBHOOK_TYPES.map(|row| row.name).to_vec())) {
        for json in [format!("{{{inner}}}"), format!("{{\"type\":\"{kind}\",\"user\":{inner},\"campaign\":{inner},\"changes\":{inner}}}")] {
            let Ok(payload) = serde_json::from_str::<Json<'_>>(&json) else { continue };
            let read = Webhook::read(payload, received_at());
            let id = EventId::parse("e1").unwrap();
            for message in segment::messages(&id, &read, &naming()).unwrap() {
                prop_assert!(serde_json::from_str::<Json<'_>>(&message).is_ok(), "{message}");
            }
            if let Ok(call) = vero_track::from_webhook(&id, &read, &naming()) {
                prop_assert!(serde_json::from_str::<Json<'_>>(&call.body("t")).is_ok());
            }
        }
    }
}

#[test]
fn odd_escapes_and_deep_nesting_are_mapped() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for odd in [r#""\ud800""#, r#""\udc00\ud800 \u0000""#, r#""\/\b\f""#, "1e999999", "-0", deep.as_str()] {
        for kind in WEBHOOK_TYPES.map(|row| row.name) {
            let json = format!(
                r#"{{"type":"{kind}","{kind}_at":{odd},"\ud800":{odd},"user":{{"id":{odd},"email":{odd},"\u0061":{odd}}},
                "campaign":{{"id":{odd},"name":{odd},"channel":{odd},"trigger-event":{odd}}},"event":{odd},
                "changes":{{"_tags":{{"add":{odd},"x":{odd}}},"a":{odd}}},"message_id":{odd}}}"#
            );
            let read = Webhook::read(serde_json::from_str(&json).unwrap(), received_at());
            let id = EventId::parse("e1").unwrap();
            match segment::messages(&id, &read, &naming()) {
                Ok(messages) => messages.iter().for_each(|message| {
                    serde_json::from_str::<Json<'_>>(message).unwrap();
                }),
                Err(segment::TooLarge) => assert!(odd.len() > 1_000),
            }
            let _ = vero_track::from_webhook(&id, &read, &naming());
        }
    }
}
