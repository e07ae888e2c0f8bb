//! What both destinations get of webhooks, and what their answers lead to.

use std::time::{Duration, Instant};

use harness::{
    Behaviour, CANARY, Deadline, Fault, FunctionError, SEGMENT_WRITE_KEY, VERO_AUTH_TOKEN, When, basic,
};
use serde_json::{Value, json};

use crate::setup::{Setup, event, owed, returned, sent, setup, setup_with};

impl Setup {
    fn segment_ids(&self) -> Vec<String> {
        let id = |message: &Value| message["messageId"].as_str().unwrap().to_owned();
        self.segment.segment_messages().iter().map(id).collect()
    }

    fn vero_ids(&self) -> Vec<String> {
        let id = |(_, call): &(String, Value)| call["data"]["webhook_id"].as_str().unwrap().to_owned();
        let mut ids: Vec<String> = self.vero.vero_calls().iter().map(id).collect();
        ids.sort();
        ids
    }
}

/// The webhook, owed to these destinations after so many attempts.
fn tried(id: &str, destinations: &[&str], attempt: u32) -> Value {
    let mut tried = owed(id, destinations);
    tried["attempt"] = json!(attempt);
    tried
}

#[tokio::test(flavor = "multi_thread")]
async fn both_destinations_get_every_event_once() {
    let setup = setup().await;
    setup.deliver(&[sent("e1"), sent("e2"), sent("e3")]).await;
    assert_eq!(setup.segment_ids(), ["vr-e1", "vr-e2", "vr-e3"]);
    assert_eq!(setup.vero_ids(), ["e1", "e2", "e3"]);
    let [batch] = &setup.segment.requests()[..] else { panic!("one request") };
    assert_eq!((batch.method.as_str(), batch.path.as_str()), ("POST", "/v1/batch"));
    assert_eq!(batch.header("content-encoding"), Some("gzip"));
    assert_eq!(batch.header("authorization"), Some(basic(SEGMENT_WRITE_KEY).as_str()));
    assert!(batch.json["sentAt"].is_string());
    let call = &setup.vero.requests()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/api/v2/events/track"));
    assert_eq!(call.json["auth_token"], VERO_AUTH_TOKEN);
    assert!(setup.queue.messages().is_empty() && setup.dead.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_webhooks_make_few_calls_over_few_connections() {
    let setup = setup().await;
    let events: Vec<Value> = (0..600).map(|index| sent(&format!("e{index:03}"))).collect();
    setup.deliver(&events).await;
    assert!(setup.segment.requests().len() <= 3);
    assert_eq!(setup.segment_ids().len(), 600);
    assert_eq!(setup.vero_ids().len(), 600);
    assert!(setup.vero.connections() <= 16, "{} connections", setup.vero.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_goes_back_as_a_new_message() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::status(503), When::always());
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(setup.segment_ids(), ["vr-e1"]);
    let [copy] = &setup.queue.messages()[..] else { panic!("one copy") };
    let body = copy.json();
    assert_eq!((&body["destinations"], &body["attempt"]), (&json!(["vero_track"]), &json!(1)));
    assert_eq!((&body["id"], &body["payload"]["type"]), (&json!("e1"), &json!("sent")));
    assert!((15..=30).contains(&copy.delay.as_secs()), "{:?}", copy.delay);
    assert_eq!(copy.attributes.get("type").map(String::as_str), Some("sent"));

    let batch = setup.worker.log_entries().into_iter().find(|line| line["message"] == "batch").unwrap();
    assert!(batch["oldest_owed_s"].is_u64(), "the template makes a metric of it: {batch}");

    setup.vero.recover();
    setup.deliver(&[&copy.body]).await;
    assert_eq!(setup.segment_ids(), ["vr-e1"], "Segment has it already");
    assert_eq!(setup.vero_ids(), ["e1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_try_ends_in_the_dead_letter_queue_and_redrive_starts_over() {
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(503), When::first(2));
    setup.deliver(&[tried("e1", &["segment"], 119)]).await;
    let [letter] = &setup.dead.messages()[..] else { panic!("one dead letter") };
    let body = letter.json();
    assert_eq!(
        (&body["attempt"], &body["reason"], &body["status"]),
        (&json!(120), &json!("server_error"), &json!(503))
    );
    let lines = setup.worker.log_entries();
    assert!(
        lines.iter().any(|line| line["level"] == "ERROR" && line["id"] == "e1" && line["attempt"] == 120)
    );

    setup.deliver(&[&letter.body]).await;
    assert_eq!(setup.segment_ids(), ["vr-e1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_may_ask_for_a_delay() {
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(429).with_header("retry-after", "200"), When::always());
    setup.deliver(&[tried("e1", &["segment"], 1)]).await;
    let [copy] = &setup.queue.messages()[..] else { panic!("one copy") };
    assert_eq!((copy.delay.as_secs(), &copy.json()["attempt"]), (200, &json!(2)));
    assert_eq!(setup.segment.count(), 1, "no quick try against its will");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_copy_cannot_be_sent_the_message_comes_back() {
    for fault in [Fault::Status(500), Fault::Answer(200, "{}"), Fault::Answer(204, ""), Fault::WrongDigest] {
        let setup = setup().await;
        setup.sqs.fail(fault, When::always().operation("SendMessage").operation("SendMessageBatch"));
        setup.vero.behave(Behaviour::status(503), When::always());
        let mut returned = setup.invoke(&[sent("e1").to_string(), "poison".to_owned()]).await;
        returned.sort();
        assert_eq!(returned, ["m0", "m1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_takes_no_other_along() {
    let setup = setup().await;
    let is_bad = |body: &Value| body.to_string().contains("vr-bad");
    let credentials = basic(SEGMENT_WRITE_KEY).replace("Basic ", "");
    let echo = format!("{CANARY}-EXCERPT {SEGMENT_WRITE_KEY} {credentials}");
    setup.segment.behave(Behaviour::answer(400, echo), When::always().body(is_bad));
    let mut events: Vec<Value> = (0..30).map(|index| sent(&format!("e{index:02}"))).collect();
    events.insert(17, sent("bad"));
    setup.deliver(&events).await;
    assert_eq!(setup.segment_ids().len(), 30);
    assert_eq!(setup.vero_ids().len(), 31);
    let [letter] = &setup.dead.bodies()[..] else { panic!("one dead letter") };
    assert_eq!(
        (&letter["id"], &letter["destinations"], &letter["reason"], &letter["status"], &letter["excerpt"]),
        (
            &json!("bad"),
            &json!(["segment"]),
            &json!("refused"),
            &json!(400),
            &json!(format!("{CANARY}-EXCERPT [secret] [secret]"))
        )
    );
    assert!(!setup.worker.logs().concat().contains(CANARY), "neither keys nor answers are for the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_event_is_good_it_is_not_the_events() {
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(400), When::always());
    let events: Vec<Value> = (0..10).map(|index| sent(&format!("e{index}"))).collect();
    setup.deliver(&events).await;
    assert!(setup.dead.messages().is_empty());
    assert!(setup.queue.bodies().iter().all(|body| body["destinations"] == json!(["segment"])));
    assert_eq!(setup.queue.messages().len(), 10);
    let many: Vec<Value> = (0..200).map(|index| sent(&format!("f{index}"))).collect();
    setup.segment.clear();
    setup.deliver(&many).await;
    assert!(setup.segment.count() <= 65, "{} calls", setup.segment.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_lead_where_the_rules_say() {
    for (status, dead) in [
        (302, 0),
        (400, 1),
        (401, 0),
        (403, 0),
        (404, 0),
        (405, 0),
        (408, 0),
        (410, 0),
        (422, 1),
        (500, 0),
        (501, 0),
    ] {
        let setup = setup().await;
        setup.segment.behave(Behaviour::status(status), When::always());
        setup.vero.behave(Behaviour::status(status), When::always());
        assert!(setup.invoke(&[sent("e1")]).await.is_empty(), "{status}");
        assert_eq!(setup.dead.messages().len(), 2 * dead, "{status}");
        assert_eq!(setup.queue.messages().len(), 1 - dead, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_vero_refuses_is_left_out_and_a_status_in_its_body_counts() {
    let setup = setup().await;
    // Refused with an address, taken without.
    let has_email = |body: &Value| body["identity"].get("email").is_some();
    setup.vero.behave(Behaviour::status(400), When::always().body(has_email));
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(setup.vero.vero_calls()[0].1["identity"], json!({"id": "123"}));
    // A no in the body of a 200 is a no.
    setup.vero.recover();
    setup.vero.clear();
    setup.vero.behave(Behaviour::answer(200, r#"{"status":401,"message":"Invalid"}"#), When::always());
    setup.deliver(&[owed("e2", &["vero_track"])]).await;
    let [copy] = &setup.queue.bodies()[..] else { panic!("one copy") };
    assert_eq!((&copy["id"], &copy["destinations"]), (&json!("e2"), &json!(["vero_track"])));
    assert!(setup.dead.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_delays_nothing_at_the_other() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::Hang, When::always());
    let events: Vec<Value> = (0..100).map(|index| sent(&format!("e{index:02}"))).collect();
    let start = Instant::now();
    setup.deliver(&events).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(setup.segment_ids().len(), 100);
    assert_eq!(setup.queue.messages().len(), 100);
    // The breaker is open: the next batch costs milliseconds.
    let start = Instant::now();
    setup.deliver(&[sent("f1")]).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let copies = setup.queue.bodies();
    assert_eq!(copies.len(), 101);
    assert!(copies.iter().all(|copy| copy["attempt"] == 1));
    // The log says of which events no request was made, and why.
    let lines = setup.worker.log_entries();
    let held_back = |id| lines.iter().find(|line| line["id"] == id).map(|line| line["held_back"].clone());
    assert_eq!(held_back("f1"), Some(json!("breaker")));
    assert!(lines.iter().any(|line| line["message"] == "still owed" && line["held_back"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_breaker_holds_back_waits_for_what_is_left_of_the_pause() {
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(503).with_header("retry-after", "200"), When::always());
    for number in 0..3 {
        setup.deliver(&[owed(&format!("e{number}"), &["segment"])]).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    setup.deliver(&[owed("late", &["segment"])]).await;
    let copy = setup.queue.messages().pop().unwrap();
    assert!((190..=198).contains(&copy.delay.as_secs()), "{:?}", copy.delay);
    assert_eq!(setup.segment.count(), 3, "the breaker is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_refusal_holds_nobody_for_more_than_ten_seconds() {
    let setup = setup().await;
    let slow_no = Behaviour::status(401).after(Duration::from_secs(2));
    setup.vero.behave(slow_no.clone(), When::always());
    setup.segment.behave(Behaviour::status(400).after(Duration::from_secs(2)), When::always());
    let events: Vec<Value> = (0..200).map(|index| sent(&format!("e{index:03}"))).collect();
    let start = Instant::now();
    setup.deliver(&events).await;
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
    let copies = setup.queue.bodies();
    assert_eq!(copies.len(), 200);
    assert!(
        copies
            .iter()
            .all(|copy| copy["destinations"] == json!(["segment", "vero_track"]) && copy["attempt"] == 1)
    );
    assert!(setup.dead.messages().is_empty());
    // All of them were in a request to Segment, although its time was over before the last half of them was in another.
    let lines = setup.worker.log_entries();
    let mut held_back =
        lines.iter().filter(|line| line["destination"] == "segment").map(|line| &line["held_back"]);
    assert!(held_back.all(Value::is_null));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_dead_letter_a_message_comes_back_and_has_no_copy() {
    let setup = setup().await;
    setup.sqs.fail(Fault::Status(500), When::always().queue("dead"));
    setup.segment.behave(Behaviour::status(422), When::always());
    setup.vero.behave(Behaviour::status(503), When::always());
    assert_eq!(setup.invoke(&[sent("e1")]).await, ["m0"]);
    assert!(setup.queue.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_counted_and_its_copy_recognisable() {
    let setup = setup().await;
    setup.segment.behave(Behaviour::LostAnswer, When::first(1));
    setup.vero.behave(Behaviour::LostAnswer, When::first(1));
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(setup.segment_ids(), ["vr-e1", "vr-e1"]);
    let calls = setup.vero.vero_calls();
    assert_eq!((calls.len(), &calls[0]), (2, &calls[1]));
    let logs = setup.worker.logs().concat();
    assert!(logs.contains("SegmentMaybeDoubled") && logs.contains("VeroTrackMaybeDoubled"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_or_do_not_end_are_survived() {
    // What Vero may have taken back in the rest of its answer it is asked again.
    for (behaviour, at_vero) in [
        (Behaviour::Reset, 1),
        (Behaviour::ResetMidAnswer, 2),
        (Behaviour::Drip, 2),
        (Behaviour::EndlessBody, 2),
        (Behaviour::WrongContentType, 1),
    ] {
        let name = format!("{behaviour:?}");
        let setup = setup().await;
        setup.segment.behave(behaviour.clone(), When::first(1));
        setup.vero.behave(behaviour, When::first(1));
        let start = Instant::now();
        assert!(setup.invoke(&[sent("e1")]).await.is_empty(), "{name}");
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
        assert_eq!((setup.segment_ids().len(), setup.vero_ids().len()), (1, at_vero), "{name}");
        assert!(setup.queue.messages().is_empty() && setup.dead.messages().is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_time_for_comes_back_at_once_without_an_attempt() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::Slow(Duration::from_secs(2)), When::always());
    let events: Vec<Value> =
        (0..60).map(|index| tried(&format!("e{index:02}"), &["vero_track"], 5)).collect();
    let start = Instant::now();
    let answer = setup.worker.invoke_with(&event(&events), Duration::from_secs(12)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(12));
    let returned = returned(&answer).len();
    assert!(returned > 0 && setup.vero_ids().len() + returned == 60, "{returned} came back");
    assert!(setup.queue.messages().is_empty(), "no copies: none was tried in vain");
    assert!(setup.sqs.called("ChangeMessageVisibilityBatch") > 0);
    let late = || setup.worker.logs().concat().contains("some messages will come back late");
    assert!(!late());
    let refused = Fault::Answer(403, "{}");
    setup.sqs.fail(refused, When::always().operation("ChangeMessageVisibilityBatch"));
    setup.worker.invoke_with(&event(&events), Duration::from_secs(12)).await.unwrap();
    assert!(late());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_of_1970_is_none() {
    let setup = setup().await;
    let answer = setup.worker.invoke_with(&event(&[sent("e1")]), Deadline::AtMs(600_000)).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(setup.segment_ids(), ["vr-e1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn later_versions_unknown_destinations_and_poison() {
    let setup = setup().await;
    let later = sent("e1").to_string().replace("\"version\":1", "\"version\":2");
    let bytes = json!({"version": 1, "id": "e2", "source": "vero", "received_at": "2026-11-21T05:04:03.123Z",
        "payload_base64": "bm90IGpzb24=", "reason": "not_json"})
    .to_string();
    let off = owed("e3", &["archive", "segment"]).to_string();
    setup.deliver(&["poison", &later, &bytes, &off, "{}"]).await;
    let mut dead: Vec<String> = setup.dead.messages().into_iter().map(|message| message.body).collect();
    dead.sort();
    assert_eq!(dead.len(), 4);
    assert!(dead.contains(&"poison".to_owned()) && dead.contains(&"{}".to_owned()) && dead.contains(&bytes));
    let letter = setup.dead.bodies().into_iter().find(|letter| letter["id"] == "e3").unwrap();
    assert_eq!(
        (&letter["destinations"], &letter["reason"]),
        (&json!(["archive"]), &json!("destination_off"))
    );
    assert_eq!(setup.segment_ids(), ["vr-e3"]);
    let [waiting] = &setup.queue.messages()[..] else { panic!("the later release's envelope waits") };
    assert_eq!((waiting.body.as_str(), waiting.delay.as_secs()), (later.as_str(), 900));

    assert_eq!(setup.worker.invoke(&json!({"Records": []})).await.unwrap(), json!({"batchItemFailures": []}));
    let error = setup.worker.invoke(&json!({"hello": "world"})).await.unwrap_err();
    assert!(
        matches!(&error, FunctionError::Reported(report) if report.to_string().contains("SQS")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_twice_in_a_batch_is_one_event() {
    let setup = setup().await;
    let event = sent("e1");
    setup.deliver(&[event.clone(), event]).await;
    assert_eq!((setup.segment_ids().len(), setup.vero_ids().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_destination_is_owed_and_not_called() {
    let setup = setup_with(&[("PAUSED_DESTINATIONS", "segment")]).await;
    setup.deliver(&[sent("e1")]).await;
    assert_eq!((setup.segment.count(), setup.vero_ids().len()), (0, 1));
    let [copy] = &setup.queue.bodies()[..] else { panic!("one copy") };
    assert_eq!((&copy["destinations"], copy.get("attempt")), (&json!(["segment"]), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_destination_is_enough() {
    let setup = setup_with(&[("VERO_AUTH_TOKEN_PARAMETER", "")]).await;
    setup.deliver(&[sent("e1")]).await;
    assert_eq!((setup.segment_ids().len(), setup.vero.count()), (1, 0));
    assert_eq!(setup.sqs.called("GetParameters"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_the_configuration_are_reported() {
    for (name, value, expected) in [
        ("QUEUE_URL", "", "QUEUE_URL is missing"),
        ("SEGMENT_ENDPOINT", "http://example.com", "SEGMENT_ENDPOINT is not https"),
        ("SEGMENT_WRITE_KEY_PARAMETER", "/x", "are both set"),
        ("VERO_AUTH_TOKEN_PARAMETER", "/nowhere", "VERO_AUTH_TOKEN_PARAMETER names /nowhere"),
        ("EVENT_NAMES", "[]", "EVENT_NAMES cannot be used"),
    ] {
        let setup = setup_with(&[(name, value)]).await;
        let error = setup.worker.init_error().await.unwrap();
        let message = error.body["errorMessage"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(error.code, Some(1));
    }
}
