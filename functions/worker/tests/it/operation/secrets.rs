//! Keys that may be rotated, and rules that may change, without a deployment.

use std::time::{Duration, Instant};

use harness::{Behaviour, Fault, Queue, SEGMENT_WRITE_KEY, VERO_AUTH_TOKEN, When, basic};
use serde_json::{Value, json};

use super::{BLUEPRINT, SEGMENT, setup, setup_with};
use crate::setup::{Setup, VERO_PARAMETER, envelope, owed, sent};

const NEW_KEY: &str = "CANARY-NEW-KEY";

impl Setup {
    fn readings(&self) -> usize {
        self.sqs.called("GetParameters")
    }

    /// From now on.
    fn vero_accepts_only(&self, token: &'static str) {
        self.vero.recover();
        let is_wrong = move |body: &Value| body["auth_token"] != token;
        self.vero.behave(Behaviour::status(401), When::always().body(is_wrong));
    }
}

fn track(id: &str, event: &str) -> Value {
    let payload = json!({"type": "track", "event": event, "userId": "u1", "messageId": id});
    envelope(id, "segment", payload)
}

fn only_copy(queue: &Queue) -> Value {
    let mut bodies = queue.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    bodies.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_used_without_a_deploy() {
    let setup = setup().await;
    setup.vero_accepts_only(NEW_KEY);
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(setup.readings(), 1, "one call for all parameters");
    let copy = only_copy(&setup.queue);
    setup.sqs.parameter(VERO_PARAMETER, NEW_KEY);
    setup.sqs.parameter(SEGMENT, NEW_KEY);
    setup.deliver(&[copy, owed("e2", &["segment"])]).await;
    assert_eq!(setup.readings(), 2);
    let [(_, call)] = &setup.vero.vero_calls()[..] else { panic!("one call was taken") };
    assert_eq!((&call["data"]["webhook_id"], &call["auth_token"]), (&json!("e1"), &json!(NEW_KEY)));
    let by_key: Vec<Option<String>> =
        setup.segment.requests().iter().map(|call| call.header("authorization").map(str::to_owned)).collect();
    assert_eq!(by_key, [Some(basic(SEGMENT_WRITE_KEY)), Some(basic(NEW_KEY))]);
    assert!(setup.worker.log_entries().iter().any(|line| {
        line["level"] == "INFO"
            && line["message"].as_str().is_some_and(|text| text.contains("key has changed"))
    }));
    setup.no_secret_in_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_read_again_once_a_minute_at_most() {
    for refusal in [
        Behaviour::status(401),
        Behaviour::status(403),
        Behaviour::answer(200, r#"{"status":401,"message":"Invalid authentication"}"#),
    ] {
        let setup = setup().await;
        setup.vero.behave(refusal, When::always());
        for number in 0..4 {
            setup.deliver(&[sent(&format!("e{number}"))]).await;
        }
        assert_eq!(setup.readings(), 2);
        assert_eq!(setup.counts()["VeroTrackUnauthorized"], 1);
    }
    // While all is well, nobody asks, nor for another error.
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(404), When::always());
    for number in 0..4 {
        setup.invoke(&[sent(&format!("e{number}"))]).await;
    }
    assert_eq!(setup.readings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_ssm_is_down_the_old_keys_go_on() {
    let silent = Fault::Answer(200, "{}");
    for fault in [Fault::Hang, Fault::Reset, Fault::Status(500), Fault::Throttle, silent] {
        let setup = setup().await;
        setup.vero.behave(Behaviour::status(401), When::first(1));
        setup.deliver(&[sent("e1")]).await;
        setup.sqs.fail(fault.clone(), When::always().operation("GetParameters"));
        let start = Instant::now();
        setup.deliver(&[only_copy(&setup.queue)]).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{fault:?}: {:?}", start.elapsed());
        assert_eq!(setup.vero.vero_calls()[0].1["auth_token"], VERO_AUTH_TOKEN, "{fault:?}");
        let asked = setup.readings();
        setup.deliver(&[sent("e2")]).await;
        assert_eq!(setup.readings(), asked, "{fault:?}: it is left alone for a while");
        let lines = setup.worker.log_entries();
        let warnings =
            lines.iter().filter(|line| line["level"] == "WARN" && line["error"].is_string()).count();
        assert_eq!(warnings, 1, "{fault:?}");
        setup.no_secret_in_the_log();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssm_is_asked_twice_before_it_counts_as_down() {
    let partly = Fault::Answer(200, r#"{"Parameters":[{"Name":"/relay/segment","Value":"x"}]}"#);
    for fault in [
        Fault::Reset,
        Fault::Status(503),
        Fault::Throttle,
        Fault::Answer(200, ""),
        Fault::Answer(204, ""),
        partly,
    ] {
        let setup = setup().await;
        setup.vero.behave(Behaviour::status(401), When::first(1));
        setup.sqs.parameter(VERO_PARAMETER, NEW_KEY);
        setup.deliver(&[sent("e1")]).await;
        setup.sqs.fail(fault.clone(), When::first(1).operation("GetParameters"));
        setup.deliver(&[only_copy(&setup.queue)]).await;
        assert_eq!(setup.vero.vero_calls()[0].1["auth_token"], NEW_KEY, "{fault:?}");
        assert_eq!(setup.readings(), 3, "{fault:?}: at the start, in vain, and again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_parameter_is_no_new_key() {
    let setup = setup().await;
    setup.vero.behave(Behaviour::status(401), When::first(1));
    setup.deliver(&[sent("e1")]).await;
    setup.sqs.parameter(SEGMENT, " ");
    setup.sqs.parameter(VERO_PARAMETER, NEW_KEY);
    setup.deliver(&[only_copy(&setup.queue)]).await;
    assert_eq!(setup.vero.vero_calls()[0].1["auth_token"], VERO_AUTH_TOKEN, "all or nothing");
    assert!(setup.worker.logs().concat().contains("SEGMENT_WRITE_KEY_PARAMETER names /relay/segment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blueprint_is_read_again_and_a_mistaken_one_is_not_used() {
    let setup = setup_with(&[("BLUEPRINT_PARAMETER", BLUEPRINT)]).await;
    setup.vero_accepts_only(NEW_KEY);
    setup.deliver(&[track("e1", "Old Name")]).await;
    setup.sqs.parameter(VERO_PARAMETER, NEW_KEY);
    setup.sqs.parameter(BLUEPRINT, r#"{"events":{"Old Name":{"rename":5}}}"#);
    setup.deliver(&[only_copy(&setup.queue)]).await;
    let names = || -> Vec<Value> {
        setup.vero.vero_calls().into_iter().map(|(_, call)| call["event_name"].clone()).collect()
    };
    assert_eq!(names(), ["First"], "the new key with the old blueprint");
    let log = setup.worker.logs().concat();
    assert!(log.contains("events.Old Name.rename"), "{log}");

    let setup = setup_with(&[("BLUEPRINT_PARAMETER", BLUEPRINT)]).await;
    setup.vero.behave(Behaviour::status(401), When::first(1));
    setup.deliver(&[track("e1", "Old Name")]).await;
    setup.sqs.parameter(BLUEPRINT, r#"{"events":{"Old Name":{"rename":"Second"}}}"#);
    setup.deliver(&[only_copy(&setup.queue)]).await;
    assert_eq!(setup.vero.vero_calls()[0].1["event_name"], "Second");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hash_addresses_by_a_secret_without_which_nothing_starts() {
    const RULES: &str = r#"{"version":2,"webhooks":{
        "segment":{"address":"hash","rules":[{"when":{"type":"opened"},"send":false}]},
        "vero_track":{"rules":[{"when":{"type":"sent"},"rename":"Mail Out"}]}}}"#;
    let setup = setup_with(&[("BLUEPRINT", RULES), ("ADDRESS_HASH_SECRET", "a-secret")]).await;
    let of = |kind| json!({"type": kind, "user": {"email": "Ana@Example.org"}, "campaign": {"sent_to": "ana@example.org"}});
    setup.deliver(&[envelope("e1", "vero", of("sent")), envelope("e2", "vero", of("opened"))]).await;
    let messages = setup.segment.segment_messages();
    let [message] = &messages[..] else { panic!("the open stays out: {messages:?}") };
    // printf %s ana@example.org | openssl dgst -sha256 -hmac a-secret
    const HASH: &str = "b6d117f12fa53a72e4ed5fcf5a019258c257448a679e25ebce31d89096deb319";
    let message = message.to_string();
    assert!(message.matches(HASH).count() == 3 && !message.to_lowercase().contains("ana@"), "{message}");
    let calls = setup.vero.vero_calls();
    let mut names: Vec<&str> = calls.iter().filter_map(|(_, call)| call["event_name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Email Opened", "Mail Out"]);
    assert!(calls.iter().all(|(_, call)| call["identity"]["email"] == "Ana@Example.org"), "{calls:?}");
    assert_eq!(setup.batches().last().unwrap()["SegmentSkipped"], 1);

    let setup = setup_with(&[("BLUEPRINT", RULES)]).await;
    let error = setup.worker.init_error().await.unwrap();
    let message = error.body["errorMessage"].as_str().unwrap();
    assert!(
        message.contains("ADDRESS_HASH_SECRET") && message.contains("webhooks.segment.address"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_need_a_missing_secret_are_not_used() {
    let setup = setup_with(&[("BLUEPRINT_PARAMETER", BLUEPRINT)]).await;
    setup.vero_accepts_only(NEW_KEY);
    setup.deliver(&[track("e1", "Old Name")]).await;
    setup.sqs.parameter(VERO_PARAMETER, NEW_KEY);
    setup.sqs.parameter(BLUEPRINT, r#"{"version":2,"webhooks":{"segment":{"address":"hash"}}}"#);
    setup.deliver(&[only_copy(&setup.queue)]).await;
    assert_eq!(setup.vero.vero_calls()[0].1["event_name"], "First", "the last good rules");
    assert!(setup.worker.logs().concat().contains("ADDRESS_HASH_SECRET is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_keys_need_no_ssm() {
    let plain = [
        ("SEGMENT_WRITE_KEY_PARAMETER", ""),
        ("SEGMENT_WRITE_KEY", SEGMENT_WRITE_KEY),
        ("VERO_AUTH_TOKEN_PARAMETER", ""),
        ("VERO_AUTH_TOKEN", VERO_AUTH_TOKEN),
    ];
    let setup = setup_with(&plain).await;
    setup.vero.behave(Behaviour::status(401), When::always());
    for number in 0..3 {
        setup.deliver(&[sent(&format!("e{number}"))]).await;
    }
    assert_eq!(setup.readings(), 0);
}
