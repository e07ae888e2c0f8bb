//! Webhook endpoints: what they get, and that each is a destination by itself.

use harness::{Behaviour, CANARY, ENDPOINT_SECRET, EventSource, ReceivedRequest, Receiver, Testbed, When};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::setup::{Setup, envelope, owed, sent, setup_in};

const OTHER_SECRET: &str = "whsec_b3RoZXItc2VjcmV0LW9mLTI0LWJ5dGVz";

/// A worker with nothing but an endpoint `crm`; `more` are its further settings.
async fn with_endpoint(more: Value) -> Setup {
    let testbed = Testbed::start().await.unwrap();
    let crm = Testbed::endpoint_settings(&testbed.endpoint, &more);
    alone(testbed, "crm", &json!({ "crm": crm }), &[]).await
}

/// A worker with nothing but endpoints of these names and settings.
async fn alone(testbed: Testbed, names: &str, settings: &Value, more: &[(&str, &str)]) -> Setup {
    let settings = settings.to_string();
    let own = [
        ("SEGMENT_WRITE_KEY", ""),
        ("VERO_AUTH_TOKEN_PARAMETER", ""),
        ("WEBHOOK_ENDPOINTS", names),
        ("WEBHOOK_ENDPOINT_SETTINGS", &settings),
    ];
    setup_in(testbed, &[&own, more].concat()).await
}

fn headers(request: &ReceivedRequest) -> HeaderMap {
    let headers = request.headers.iter();
    headers
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn header(request: &ReceivedRequest, name: &str) -> String {
    headers(request)[name].to_str().unwrap().to_owned()
}

/// Whether the specification's own library takes a request for signed.
fn is_signed_with(secret: &str, request: &ReceivedRequest, body: &[u8]) -> bool {
    Webhook::new(secret).unwrap().verify(body, &headers(request)).is_ok()
}

/// The ids of the events that an endpoint took, in the form in which they were received.
fn taken(receiver: &Receiver) -> Vec<String> {
    let taken = receiver.requests().into_iter().filter(|request| request.accepted);
    let mut ids: Vec<String> = taken
        .flat_map(|request| match request.json {
            Value::Array(events) => events,
            event => vec![event],
        })
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_either_source_comes_to_the_letter_and_signed() {
    let setup = with_endpoint(json!({"headers": {"authorization": "Bearer CANARY-ENDPOINT"}})).await;
    let webhook = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type" : "sent", "n":1.50}}"#;
    let track = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m", "sentAt": "2026-11-21T05:04:00.000Z"});
    setup.deliver(&[webhook.to_owned(), envelope("e2", "segment", track.clone()).to_string()]).await;
    let mut requests = setup.endpoint.requests();
    requests.sort_by_key(|request| header(request, "webhook-id"));
    assert_eq!(requests.len(), 2);
    let [first, second] = &requests[..] else { panic!("two requests") };
    assert_eq!(
        first.body,
        br#"{"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type" : "sent", "n":1.50}}"#[..]
    );
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/hook"));
    assert_eq!(header(first, "webhook-id"), "e1");
    assert_eq!(second.json["payload"], track);
    assert!(header(second, "webhook-id").starts_with("e2-"));
    for request in &requests {
        assert!(is_signed_with(ENDPOINT_SECRET, request, &request.body));
        assert!(!is_signed_with(OTHER_SECRET, request, &request.body));
        let mut changed = request.body.to_vec();
        *changed.last_mut().unwrap() = b']';
        assert!(!is_signed_with(ENDPOINT_SECRET, request, &changed), "one byte is another");
        assert_eq!(header(request, "authorization"), "Bearer CANARY-ENDPOINT");
        assert_eq!(header(request, "content-type"), "application/json");
    }
    let counts = setup.counts();
    assert_eq!((counts["WebhookAccepted"], counts["WebhookCalls"]), (2, 2));
    assert!(!setup.worker.logs().concat().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mappings_of_one_message_have_ids_of_their_own_and_a_sender_s_retry_has_not() {
    let setup = with_endpoint(json!({})).await;
    let track = |event: &str, sent_at: &str| {
        envelope("e1", "segment", json!({"type": "track", "event": event, "userId": "u", "sentAt": sent_at}))
    };
    let (early, late) = ("2026-11-21T05:04:00.000Z", "2026-11-21T05:05:00.000Z");
    setup.deliver(&[track("A", early), track("B", early), track("A", late)]).await;
    let mut ids: Vec<String> =
        setup.endpoint.requests().iter().map(|request| header(request, "webhook-id")).collect();
    ids.sort();
    assert_eq!(ids.len(), 3);
    ids.dedup();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_to_both_limits_and_a_bad_event_goes_alone() {
    let setup = with_endpoint(json!({"max_events": 4, "max_bytes": 1_000})).await;
    let bad = |body: &Value| body.to_string().contains("\"e3\"");
    setup.endpoint.behave(Behaviour::answer(422, "no"), When::always().body(bad));
    let mut events: Vec<Value> = (0..6).map(|number| sent(&format!("e{number}"))).collect();
    let long = "x".repeat(2_000);
    events.push(envelope("e6", "vero", json!({"type": "sent", "long": long})));
    setup.deliver(&events).await;
    assert_eq!(taken(&setup.endpoint), ["e0", "e1", "e2", "e4", "e5", "e6"]);
    let requests = setup.endpoint.requests();
    for request in &requests {
        let events = request.json.as_array().unwrap();
        assert!(events.len() <= 4 && (request.body.len() <= 1_000 || events.len() == 1));
        assert!(is_signed_with(ENDPOINT_SECRET, request, &request.body));
    }
    let of = |count: usize| requests.iter().find(|request| request.json.as_array().unwrap().len() == count);
    assert!(header(of(4).unwrap(), "webhook-id").starts_with("batch-"));
    let letters = setup.dead.bodies();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0]["id"], &letters[0]["destinations"], &letters[0]["reason"]),
        (&json!("e3"), &json!(["webhook:crm"]), &json!("refused"))
    );
    let counts = setup.counts();
    assert_eq!((counts["WebhookAccepted"], counts["WebhookDead"]), (6, 1));
}

/// The endpoint may have stored the batch at the first try, and refuses it as a whole at the second.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_refused_batch_that_it_may_have_count_as_doubled() {
    let setup = with_endpoint(json!({"max_events": 2})).await;
    let both = |body: &Value| body.as_array().is_some_and(|events| events.len() == 2);
    setup.endpoint.behave(Behaviour::answer(409, "known"), When::always().body(both));
    setup.endpoint.behave(Behaviour::status(503), When::first(1));
    setup.deliver(&[sent("e1"), sent("e2")]).await;
    assert_eq!(setup.endpoint.count(), 4);
    let counts = setup.counts();
    assert_eq!((counts["WebhookAccepted"], counts["WebhookMaybeDoubled"]), (2, 2));
    // Of a half that is still owed, too.
    let setup = with_endpoint(json!({"max_events": 2})).await;
    let second = |body: &Value| body.to_string().contains("\"e2\"");
    let later = Behaviour::status(429).with_header("retry-after", "60");
    setup.endpoint.behave(later, When::always().body(second));
    setup.endpoint.behave(Behaviour::answer(409, "known"), When::always().body(both));
    setup.endpoint.behave(Behaviour::status(503), When::first(1));
    setup.deliver(&[sent("e1"), sent("e2")]).await;
    assert_eq!(setup.endpoint.count(), 4);
    let counts = setup.counts();
    assert_eq!((counts["WebhookAccepted"], counts["WebhookOwed"], counts["WebhookMaybeDoubled"]), (1, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_holds_up_no_other_and_gets_the_same_later() {
    let (testbed, other) = (Testbed::start().await.unwrap(), Receiver::start().await.unwrap());
    let settings = json!({
        "crm": Testbed::endpoint_settings(&testbed.endpoint, &json!({})),
        "billing": Testbed::endpoint_settings(&other, &json!({"sources": ["vero"]})),
    });
    let setup = alone(testbed, "crm,billing", &settings, &[]).await;
    setup.endpoint.behave(Behaviour::status(503), When::always());
    let events: Vec<Value> = (0..8).map(|number| sent(&format!("e{number}"))).collect();
    setup.deliver(&events).await;
    assert_eq!(taken(&other).len(), 8);
    let copies = setup.queue.messages();
    assert_eq!(copies.len(), 8);
    assert!(copies.iter().all(|copy| copy.json()["destinations"] == json!(["webhook:crm"])));
    let refused = setup.endpoint.requests();

    setup.endpoint.recover();
    setup.worker.restart().await.unwrap();
    assert!(EventSource::through_time().drain(&setup.worker, &setup.queue).await.empty);
    assert_eq!(taken(&setup.endpoint), (0..8).map(|number| format!("e{number}")).collect::<Vec<_>>());
    assert_eq!(taken(&other).len(), 8, "each once");
    assert!(refused.len() >= 3);
    let later = setup.endpoint.requests().split_off(refused.len());
    for before in &refused {
        let id = header(before, "webhook-id");
        let again = later.iter().find(|request| header(request, "webhook-id") == id).unwrap();
        assert_eq!(again.body, before.body, "to the byte the same");
    }
    // `billing` takes webhooks alone.
    setup.deliver(&[envelope("e9", "segment", json!({"type": "track", "event": "E", "userId": "u"}))]).await;
    assert_eq!((taken(&setup.endpoint).len(), taken(&other).len()), (9, 8));
    assert_eq!(setup.counts()["WebhookSkipped"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_paused_waits_and_one_that_is_off_is_a_dead_letter() {
    let testbed = Testbed::start().await.unwrap();
    let crm = Testbed::endpoint_settings(&testbed.endpoint, &json!({}));
    let setup =
        alone(testbed, "crm", &json!({ "crm": crm }), &[("PAUSED_DESTINATIONS", "webhook:crm")]).await;
    setup.deliver(&[sent("e1"), owed("e2", &["webhook:gone", "webhook:crm"])]).await;
    assert_eq!(setup.endpoint.count(), 0);
    assert_eq!(setup.counts()["webhook.paused"], 2);
    let letters = setup.dead.bodies();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0]["destinations"], &letters[0]["reason"]),
        (&json!(["webhook:gone"]), &json!("destination_off"))
    );
    assert_eq!(setup.queue.messages().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_sign_while_one_is_rotated_and_a_mistake_leaves_the_last_good_document() {
    let parameter = "/relay/endpoints";
    let testbed = Testbed::start().await.unwrap();
    let settings = |secrets: &[&str]| {
        let more = json!({ "secrets": secrets });
        json!({"crm": Testbed::endpoint_settings(&testbed.endpoint, &more)}).to_string()
    };
    let [both, other, wrong] =
        [settings(&[ENDPOINT_SECRET, OTHER_SECRET]), settings(&[OTHER_SECRET]), settings(&[])];
    testbed.sqs.parameter(parameter, &both);
    let by_parameter =
        [("WEBHOOK_ENDPOINT_SETTINGS", ""), ("WEBHOOK_ENDPOINT_SETTINGS_PARAMETER", parameter)];
    let setup = alone(testbed, "crm", &json!({}), &by_parameter).await;
    setup.deliver(&[sent("e1")]).await;
    let request = setup.endpoint.requests().pop().unwrap();
    for secret in [ENDPOINT_SECRET, OTHER_SECRET] {
        assert!(is_signed_with(secret, &request, &request.body));
    }
    // 401 has the worker look whether there is a new document.
    setup.sqs.parameter(parameter, &other);
    setup.endpoint.behave(Behaviour::status(401), When::first(1));
    setup.deliver(&[sent("e1")]).await;
    setup.endpoint.recover();
    setup.deliver(&[sent("e1")]).await;
    let last = setup.endpoint.requests().pop().unwrap();
    assert!(is_signed_with(OTHER_SECRET, &last, &last.body));
    assert!(!is_signed_with(ENDPOINT_SECRET, &last, &last.body));
    // One with a mistake is not used. So soon after the last doubt it is read by a new worker only, which does not start.
    setup.sqs.parameter(parameter, &wrong);
    setup.deliver(&[sent("e2")]).await;
    assert!(taken(&setup.endpoint).contains(&"e2".to_owned()));
    setup.worker.restart().await.unwrap();
    let error = setup.worker.init_error().await.unwrap();
    assert!(error.body["errorMessage"].as_str().unwrap().contains("at `crm.secrets`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_worker_keeps_the_last_good_settings() {
    let parameter = "/relay/endpoints";
    let testbed = Testbed::start().await.unwrap();
    let crm = Testbed::endpoint_settings(&testbed.endpoint, &json!({}));
    testbed.sqs.parameter(parameter, &json!({ "crm": crm }).to_string());
    let by_parameter =
        [("WEBHOOK_ENDPOINT_SETTINGS", ""), ("WEBHOOK_ENDPOINT_SETTINGS_PARAMETER", parameter)];
    let setup = alone(testbed, "crm", &json!({}), &by_parameter).await;
    setup.worker.init_duration().await.unwrap();
    setup.sqs.parameter(parameter, r#"{"crm":{"url":"hush"}}"#);
    setup.endpoint.behave(Behaviour::status(401), When::first(1));
    setup.deliver(&[sent("e1")]).await;
    setup.deliver(&[sent("e2")]).await;
    assert!(taken(&setup.endpoint).contains(&"e2".to_owned()));
    let log = setup.worker.logs().concat();
    assert!(log.contains("settings of endpoints cannot be used") && !log.contains("hush"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_endpoint_takes_is_a_dead_letter() {
    let setup = with_endpoint(json!({"sources": ["vero"]})).await;
    setup.deliver(&[envelope("e1", "segment", json!({"type": "track", "event": "E", "userId": "u"}))]).await;
    let letters = setup.dead.bodies();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["id"], &letters[0]["reason"]), (&json!("e1"), &json!("destination_off")));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_an_endpoint_change_nothing_of_what_others_answer() {
    let testbed = Testbed::start().await.unwrap();
    // Short texts are in every response, and Vero's status is in the body of a 200; a long one may be, too.
    let more = json!({"headers": {"x-version": "1", "x-other": "40", "x-long": r#""status":40"#, "authorization": "Bearer a-long-token"}});
    let crm = json!({"crm": Testbed::endpoint_settings(&testbed.endpoint, &more)}).to_string();
    let setup = setup_in(testbed, &[("WEBHOOK_ENDPOINTS", "crm"), ("WEBHOOK_ENDPOINT_SETTINGS", &crm)]).await;
    setup.vero.behave(Behaviour::answer(200, r#"{"status":401,"message":"no"}"#), When::always());
    let echo = "no token a-long-token at /hook";
    setup.endpoint.behave(Behaviour::answer(400, echo), When::always());
    setup.deliver(&[sent("e1")]).await;
    let copies = setup.queue.messages();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].json()["destinations"], json!(["vero_track"]), "it is still owed");
    assert_eq!(setup.dead.bodies()[0]["excerpt"], "no token [secret] at /hook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let setup = with_endpoint(json!({})).await;
    let elsewhere = Receiver::start().await.unwrap();
    setup.endpoint.behave(Behaviour::Redirect(elsewhere.url().to_owned()), When::always());
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(elsewhere.count(), 0);
    assert_eq!(setup.queue.messages().len(), 1);
    assert!(setup.worker.logs().concat().contains("redirected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_s_form_and_rules_for_one_endpoint() {
    let testbed = Testbed::start().await.unwrap();
    let raw = Receiver::start().await.unwrap();
    let settings = json!({
        "segment": Testbed::endpoint_settings(&testbed.endpoint, &json!({"payload": "segment", "max_events": 10})),
        "raw": Testbed::endpoint_settings(&raw, &json!({})),
    });
    let rules = json!({"version": 2, "webhooks": {"webhook": {
        "segment": {"address": "omit", "rules": [{"when": {"type": "opened"}, "send": false}]},
        "raw": {"address": "hash", "omit": ["/payload/campaign"], "default": {"properties": {"set": {"team": "growth"}}}},
    }}});
    let variables = [("BLUEPRINT", &*rules.to_string()), ("ADDRESS_HASH_SECRET", "hush")];
    let setup = alone(testbed, "segment,raw", &settings, &variables).await;
    let opened =
        json!({"type": "opened", "user": {"id": 1, "email": "ana@example.org"}, "campaign": {"id": 5}});
    let track =
        json!({"type": "track", "event": "E", "userId": "u", "properties": {"to": "ana@example.org"}});
    setup.deliver(&[sent("e1"), envelope("e2", "vero", opened), envelope("e3", "segment", track)]).await;

    let batch = setup.endpoint.requests().pop().unwrap();
    assert_eq!(setup.endpoint.count(), 1);
    let kinds: Vec<&str> =
        batch.json["batch"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Email Sent", "E"], "no open");
    let all: Vec<ReceivedRequest> = raw.requests().into_iter().chain([batch]).collect();
    assert!(!all.iter().any(|request| String::from_utf8_lossy(&request.body).contains("@example")));
    let headers = all.iter().flat_map(|request| &request.headers);
    assert!(!headers.map(|(_, value)| value).any(|value| value.contains("@example")));
    let opened = all.iter().find(|request| request.json["payload"]["type"] == "opened").unwrap();
    let payload = &opened.json["payload"];
    assert_eq!((&payload["team"], payload.get("campaign")), (&json!("growth"), None));
    assert_eq!(payload["user"]["email"].as_str().unwrap().len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_end_the_start_with_their_place() {
    let testbed = Testbed::start().await.unwrap();
    let crm = Testbed::endpoint_settings(&testbed.endpoint, &json!({}));
    let mut private = crm.clone();
    private["url"] = json!("https://169.254.169.254/hush");
    for (variables, said) in [
        (vec![("WEBHOOK_ENDPOINTS", "crm")], "WEBHOOK_ENDPOINT_SETTINGS is missing"),
        (
            vec![
                ("WEBHOOK_ENDPOINTS", "crm,other"),
                ("WEBHOOK_ENDPOINT_SETTINGS", &*json!({"crm": crm}).to_string()),
            ],
            "does not describe other",
        ),
        (
            vec![
                ("WEBHOOK_ENDPOINTS", "crm"),
                ("WEBHOOK_ENDPOINT_SETTINGS", &*json!({"crm": {"url": "hush"}}).to_string()),
            ],
            "has a mistake at `crm`",
        ),
        (
            vec![
                ("WEBHOOK_ENDPOINTS", "crm"),
                ("WEBHOOK_PRIVATE_ADDRESSES", ""),
                ("WEBHOOK_ENDPOINT_SETTINGS", &*json!({"crm": private}).to_string()),
            ],
            "at `crm.url`: is a private address",
        ),
        (vec![("WEBHOOK_ENDPOINTS", "CRM")], "WEBHOOK_ENDPOINTS has a name that no endpoint can have"),
    ] {
        let off = [("SEGMENT_WRITE_KEY", ""), ("VERO_AUTH_TOKEN", "")];
        let variables = [&off[..], &variables].concat();
        let worker = testbed.worker(env!("CARGO_BIN_EXE_worker"), &variables).await.unwrap();
        worker.init_error().await.unwrap();
        let log = worker.logs().concat();
        assert!(log.contains(said) && !log.contains("hush"), "{said}: {log}");
    }
}
