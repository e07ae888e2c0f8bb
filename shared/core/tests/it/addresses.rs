//! What rules hide addresses in.

use proptest::prelude::*;
use relay_core::blueprint::Blueprint;
use relay_core::rules::AddressKey;
use serde_json::{Map, Value, json};

use crate::properties::{first_party, webhook};
use crate::rules::{document, first_party_at_endpoint, sent, sent_to_endpoint};

const MIXED: &str = "Ana.O'Neil+x@Example.ORG";

/// Segment and the endpoint `own` get no address.
fn hiding(policy: &str) -> Blueprint {
    document(&json!({"segment": {"address": policy}, "webhook": {"own": {"address": policy}}}))
}

/// None of the addresses of a payload is in a message; the id of a webhook's message looks like one.
fn has_none_of(message: &str, payload: &Map<String, Value>) -> Result<(), String> {
    let mut payload = payload.clone();
    payload.remove("message_id");
    if let Some(campaign) = payload.get_mut("campaign").and_then(Value::as_object_mut) {
        campaign.remove("message_id");
    }
    let mut all = Vec::new();
    addresses(&Value::Object(payload), &mut all);
    let lower = message.to_lowercase();
    for address in all {
        // Of a JSON text what its reader reads.
        let spelled = json!(address).to_string();
        let spelled = spelled.trim_matches('"');
        if lower.contains(spelled) || lower.contains(&spelled.replace('@', "%40")) {
            return Err(format!("{address} is in {message}"));
        }
    }
    Ok(())
}

/// Every text that is an address, in lower case.
fn addresses(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let text = text.trim();
            // What has these is a URL, of which a part may be an address.
            let is_url = text.contains(['/', '?', ':']);
            let is_address = |(local, domain): (&str, &str)| {
                !local.is_empty() && domain.contains('.') && !domain.contains('@')
            };
            if !is_url && !text.contains(char::is_whitespace) && text.split_once('@').is_some_and(is_address)
            {
                found.push(text.to_lowercase());
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| addresses(element, found)),
        Value::Object(fields) => fields.values().for_each(|value| addresses(value, found)),
        _ => (),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whole texts, parts of texts, URLs and the customer's own events: nobody finds an address of the event in them.
    #[test]
    fn no_message_has_an_address_of_the_event(
        webhook in webhook(),
        local in "[a-zé]{1,6}([.+'_&=%{|-][a-z]{1,3}|=)?",
        policy in prop::sample::select(vec!["hash", "omit"]),
    ) {
        let address = format!("{local}@mail.example.org");
        let mut webhook: Map<String, Value> = webhook;
        webhook.insert("bounce_message".into(), format!("550 <{}>: unknown", address.to_uppercase()).into());
        let encoded: String = address.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let link = format!("https://example.org/?to={}&from={encoded}", address.replace('@', "%40"));
        webhook.insert("link".into(), link.into());
        webhook.insert("only".into(), "https://example.org/?to=bo%2Bx%40example.org".into());
        webhook.insert("event".into(), json!({"name": "n", "data": {"cc": [address, MIXED], "text": format!("to {MIXED}.")}}));
        let payload = Value::Object(webhook.clone()).to_string();
        let blueprint = hiding(policy);
        let to_segment = sent(&payload, &blueprint).0.unwrap();
        for message in to_segment.iter().cloned().chain(sent_to_endpoint(&payload, &blueprint)) {
            let lower = message.to_lowercase();
            prop_assert_eq!(has_none_of(&message, &webhook), Ok(()));
            prop_assert!(!lower.contains(&encoded.to_lowercase()) && !lower.contains("bo%2b"), "{}", message);
            let hash = AddressKey::new("secret").hash(&address);
            let hidden = if policy == "hash" { &hash } else { "[address]" };
            let link = format!("\"link\":\"https://example.org/?to={hidden}&from={hidden}\"");
            prop_assert!(!message.contains("\"link\":") || message.contains(&link), "{}", message);
        }
        for message in to_segment {
            let message: Value = serde_json::from_str(&message).unwrap();
            let names_somebody = ["userId", "anonymousId"].iter().any(|key| message[key].is_string());
            prop_assert!(names_somebody && message["messageId"].is_string(), "{message}");
        }
    }

    #[test]
    fn no_endpoint_gets_an_address_of_a_first_party_event(
        event in first_party(),
        address in "[A-Za-zé]{1,6}([.+'_&=/{|-][a-z]{1,3})?@[a-z]{1,3}\\.org",
        place in prop::sample::select(vec!["userId", "anonymousId", "previousId", "email", "x"]),
        policy in prop::sample::select(vec!["hash", "omit"]),
    ) {
        let mut event = event;
        event.insert(place.to_owned(), address.clone().into());
        event.insert("context".into(), json!({"traits": {"email": address, "name": format!("<{address}>")}}));
        let payload = Value::Object(event.clone()).to_string();
        for message in first_party_at_endpoint(&payload, &hiding(policy)) {
            prop_assert_eq!(has_none_of(&message, &event), Ok(()));
        }
    }
}

#[test]
fn deep_nesting_and_odd_ids_hide_addresses_too() {
    let deep = 20_000;
    let nested = format!(r#"{}"Ana@Example.org"{}"#, "[".repeat(deep), "]".repeat(deep));
    let payloads = [
        format!(r#"{{"type":"sent","user":{{"id":1}},"x":{nested}}}"#),
        r#"{"type":"sent","user":{"id":"ana%40example.org"}}"#.to_owned(),
        r#"{"type":"sent","user":{"email":"ana@example.org"},"message_id":"2019.ana@example.org"}"#.to_owned(),
        r#"{"type":"user_updated","user":{"id":1},"changes":{"ana@example.org":1,"email":"Ana@Example.org"}}"#.to_owned(),
    ];
    for policy in ["hash", "omit"] {
        for payload in &payloads {
            let (to_segment, _) = sent(payload, &document(&json!({"segment": {"address": policy}})));
            let messages = to_segment.unwrap().concat().to_lowercase();
            let shown = &messages[..messages.len().min(400)];
            assert!(!messages.contains("ana@") && !messages.contains("ana%40"), "{policy}: {shown}");
        }
    }
    // The id of a message alone is no address.
    let (to_segment, _) = sent(
        r#"{"type":"sent","message_id":"2019.1@veromail.com"}"#,
        &document(&json!({"segment": {"address": "hash"}})),
    );
    assert!(to_segment.unwrap()[0].contains(r#""email_id":"2019.1@veromail.com""#));
}

#[test]
fn no_sample_shows_an_address_where_rules_hide_them() {
    for policy in ["hash", "omit"] {
        let blueprint = hiding(policy);
        insta::glob!("../../../../events", "{vero,segment}-*.json", |path| {
            let payload = std::fs::read_to_string(path).unwrap();
            let fields: Map<String, Value> = serde_json::from_str(&payload).unwrap();
            let messages = match path.file_name().unwrap().to_str().unwrap().starts_with("vero-") {
                true => {
                    [sent(&payload, &blueprint).0.unwrap(), sent_to_endpoint(&payload, &blueprint)].concat()
                }
                false => first_party_at_endpoint(&payload, &blueprint),
            };
            for message in messages {
                assert_eq!(has_none_of(&message, &fields), Ok(()), "{policy}: {}", path.display());
            }
        });
    }
}

#[test]
fn a_user_known_by_an_address_keeps_the_id_of_the_device() {
    let sent = |ids: Value| -> Value {
        let mut event = json!({"type": "track", "event": "E"});
        event.as_object_mut().unwrap().extend(ids.as_object().unwrap().clone());
        serde_json::from_str(&first_party_at_endpoint(&event.to_string(), &hiding("omit"))[1]).unwrap()
    };
    let ana = "ana@example.org";
    assert_eq!(sent(json!({"userId": ana, "anonymousId": "d1"}))["anonymousId"], "d1");
    assert_eq!(sent(json!({"userId": ana, "anonymousId": null}))["anonymousId"], "e1");
    let both = sent(json!({"userId": "u", "anonymousId": ana}));
    assert_eq!((&both["userId"], both.get("anonymousId")), (&json!("u"), None));
    assert_eq!(sent(json!({"anonymousId": ana}))["anonymousId"], "e1");
}

#[test]
fn a_first_party_address_of_any_form_has_the_hash_of_the_whole() {
    let key = AddressKey::new("secret");
    for address in [
        "é%aa@example.org",
        "tom&jerry@example.org",
        "r/d@example.org",
        "a?b@example.org",
        "Ana=@Example.org",
    ] {
        let event = json!({"type": "identify", "userId": "u", "traits": {"email": address, "note": format!("({address})")}});
        let message: Value =
            serde_json::from_str(&first_party_at_endpoint(&event.to_string(), &hiding("hash"))[1]).unwrap();
        let hash = key.hash(address);
        assert_eq!(message["traits"], json!({"email": hash, "note": format!("({hash})")}), "{address}");
    }
}

#[test]
fn addresses_side_by_side_are_both_hidden() {
    let key = AddressKey::new("secret");
    let traits = json!({"cc": "&x@mail.org", "note": "ana@example.org&x@mail.org"});
    let event = json!({"type": "identify", "userId": "u", "traits": traits}).to_string();
    let message: Value = serde_json::from_str(&first_party_at_endpoint(&event, &hiding("hash"))[1]).unwrap();
    let [ana, x] = ["ana@example.org", "&x@mail.org"].map(|address| key.hash(address));
    assert_eq!(message["traits"]["note"], format!("{ana}{x}"));
}

#[test]
fn what_stands_for_an_address_is_its_hash_or_nothing() {
    let key = AddressKey::new("secret");
    let (ana, bo) = (key.hash("ana@example.org"), key.hash("x%y@example.org"));
    let content = json!({
        "mail": "Ana@Example.org", "link": "zoe%40example.org", "text": "to ana@example.org or x%y@example.org.",
        "n@m.org": 1,
    });
    let payload = |user: Value| json!({"type": "new", "user": user, "content": content}).to_string();
    let message = |user: Value, policy: &str| -> Value {
        let rules = document(&json!({"segment": {"address": policy}}));
        serde_json::from_str(&sent(&payload(user), &rules).0.unwrap()[0]).unwrap()
    };
    let odd = json!({"id": "u", "email": "x%y@example.org"});
    let hashed = message(odd.clone(), "hash");
    assert_eq!(
        hashed["properties"]["vero"]["content"],
        json!({
            "mail": ana, "link": key.hash("zoe@example.org"), "text": format!("to {ana} or {bo}."),
            key.hash("n@m.org"): 1,
        })
    );
    assert_eq!((&hashed["userId"], &hashed["context"]["traits"]), (&json!("u"), &json!({"email": bo})));
    let omitted = message(odd, "omit");
    assert_eq!(
        omitted["properties"]["vero"]["content"],
        json!({"mail": null, "link": null, "text": "to [address] or [address].", "[address]": 1})
    );
    assert_eq!((&omitted["userId"], omitted["context"].get("traits")), (&json!("u"), None));
    let alone = json!({"email": "ana@example.org"});
    assert_eq!(message(alone.clone(), "hash")["anonymousId"], json!(ana));
    assert_eq!(message(alone, "omit")["anonymousId"], "e1");
}

#[test]
fn of_a_payload_without_its_address_an_object_is_left() {
    let picks = |policy| {
        let rules = json!({"address": policy, "default": {"properties": {"pick": ["traits"]}}});
        document(&json!({"webhook": {"own": rules}}))
    };
    let webhook = r#"{"type":"sent","traits":{"email":"ana@example.org"},"x":1}"#;
    let sent =
        |policy| -> Value { serde_json::from_str(&sent_to_endpoint(webhook, &picks(policy))[0]).unwrap() };
    let hash = AddressKey::new("secret").hash("ana@example.org");
    assert_eq!(sent("hash")["payload"], json!({"traits": {"email": hash}}));
    assert_eq!(sent("omit")["payload"], json!({"traits": {"email": null}}));
    let bare = document(
        &json!({"webhook": {"own": {"address": "omit", "omit": ["/payload/type", "/payload/event", "/payload/userId"]}}}),
    );
    let track =
        r#"{"type":"track","event":"E","userId":"u","context":{"traits":{"email":"ana@example.org"}}}"#;
    let received: Value = serde_json::from_str(&first_party_at_endpoint(track, &bare)[0]).unwrap();
    assert_eq!(received["payload"], json!({}));
}

#[test]
fn a_webhook_at_an_endpoint_has_nothing_that_is_segment_s() {
    let page = r#"{"type":"page","userId":"ana@example.org"}"#;
    let sent = &sent_to_endpoint(page, &hiding("omit"))[0];
    assert!(sent.contains(r#""payload":{"type":"page","userId":null}"#), "{sent}");
    let payload =
        r#"{"type" : "sent","userId":"ana@example.org","properties":{"sent_to":"ana@example.org"}}"#;
    let sent = &sent_to_endpoint(payload, &hiding("omit"))[0];
    assert!(
        sent.contains(r#""payload":{"type" : "sent","userId":null,"properties":{"sent_to":null}}"#),
        "{sent}"
    );
}
