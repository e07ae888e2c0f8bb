//! Webhooks, and what Vero is answered.

use std::time::{Duration, Instant};

use harness::{CANARY, Fault, FunctionError, UrlAnswer, WEBHOOK_TOKEN, When, digest, url_event};
use serde_json::{Value, json};

use crate::setup::{self, Setup};

/// With the route for webhooks alone.
async fn setup() -> Setup {
    setup_with(&[]).await
}

async fn setup_with(more: &[(&str, &str)]) -> Setup {
    let off = ["SEGMENT_TOKEN_SHA256", "WRITE_KEY_SHA256", "BROWSER_KEY_SHA256", "CORS_ORIGINS"];
    let off: Vec<(&str, &str)> = off.into_iter().map(|name| (name, "")).collect();
    setup::setup_with(&[&off, more].concat()).await
}

async fn ask(setup: &Setup, method: &str, path: &str, query: &str, body: &[u8], base64: bool) -> UrlAnswer {
    let headers = [("content-type", "application/json")];
    let event = url_event(method, path, query, &headers, body, base64);
    UrlAnswer::of(&setup.ingest.invoke(&event).await.unwrap())
}

/// `cargo lambda watch` and others' test tools read no answer without these.
#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_form_that_others_read() {
    let setup = setup().await;
    let vero = format!("/vero/{WEBHOOK_TOKEN}");
    for (method, path) in
        [("GET", "/health"), ("POST", &vero), ("GET", &vero), ("POST", "/vero/x"), ("GET", "/")]
    {
        let response = setup.ingest.invoke(&url_event(method, path, "", &[], b"{}", false)).await.unwrap();
        let fields: Vec<&String> = response.as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            ["body", "cookies", "headers", "isBase64Encoded", "multiValueHeaders", "statusCode"],
            "{response}"
        );
        assert_eq!((&response["cookies"], &response["isBase64Encoded"]), (&json!([]), &json!(false)));
        assert_eq!(response["multiValueHeaders"], json!({}));
        assert!(response["headers"].is_object() && response["body"].is_string(), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_slashes_count_as_one() {
    let setup = setup().await;
    for path in [
        format!("//vero//{WEBHOOK_TOKEN}//"),
        format!("/vero/{WEBHOOK_TOKEN}/"),
        format!("//vero/{WEBHOOK_TOKEN}"),
    ] {
        assert_eq!(ask(&setup, "POST", &path, "", b"{}", false).await.status, 202, "{path}");
    }
    assert_eq!(
        ask(&setup, "POST", "//vero//", &format!("token={WEBHOOK_TOKEN}"), b"{}", false).await.status,
        202
    );
    assert_eq!(ask(&setup, "GET", "//health", "", b"", false).await.status, 200);
    assert_eq!(setup.queue.messages().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_on_the_queue_before_the_answer_says_so() {
    let setup = setup().await;
    let webhook = r#"{"type" : "sent", "n":1.00, "id":12345678901234567890}"#;
    let answer = setup.vero(webhook.as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
    let [message] = &setup.queue.messages()[..] else { panic!("one message") };
    assert!(message.body.ends_with(&format!(r#""payload":{webhook}}}"#)), "{}", message.body);
    let envelope: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!((&envelope["version"], &envelope["source"]), (&json!(1), &json!("vero")));
    assert_eq!(envelope["id"], answer.json()["id"]);
    assert_eq!(message.attributes.get("type").map(String::as_str), Some("sent"));
    assert!(
        setup.ingest.logs().is_empty(),
        "a webhook that went well costs no log line: {:?}",
        setup.ingest.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_url_and_body() {
    let setup = setup().await;
    let vero = format!("/vero/{WEBHOOK_TOKEN}");
    for (path, query, base64) in [
        (vero.as_str(), "", false),
        (&format!("{vero}/"), "", true),
        ("/vero", &*format!("token={WEBHOOK_TOKEN}"), false),
        ("/vero/", &*format!("token={WEBHOOK_TOKEN}"), true),
    ] {
        assert_eq!(ask(&setup, "POST", path, query, b"{}", base64).await.status, 202, "{path}?{query}");
    }
    assert_eq!(setup.queue.messages().len(), 4);
    let answer = setup.vero(br#"[{"type":"sent"},{"type":"opened"}]"#).await;
    assert_eq!((answer.status, answer.json()["ids"].as_array().unwrap().len()), (202, 2));
    assert_eq!(setup.queue.messages().len(), 6);
    for (method, path, status, allow) in [
        ("GET", "/health", 200, None),
        ("POST", "/health", 405, Some("GET")),
        ("GET", vero.as_str(), 405, Some("POST")),
        ("GET", "/", 404, None),
        ("POST", "/segment/x", 404, None),
    ] {
        let answer = ask(&setup, method, path, "", b"", false).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_have_their_answers_too() {
    let setup = setup().await;
    let mut event = url_event("POST", &format!("/vero/{WEBHOOK_TOKEN}"), "", &[], b"{}", false);
    event["headers"] = json!({"host": "a b", "x-forwarded-proto": "https,http", "odd": "\u{1}"});
    event["rawQueryString"] = json!("a=\"<> \"#");
    assert_eq!(UrlAnswer::of(&setup.ingest.invoke(&event).await.unwrap()).status, 202);
    event["rawPath"] = json!(format!("/vero/{WEBHOOK_TOKEN}\u{e9} %zz/../{WEBHOOK_TOKEN}?#"));
    assert_eq!(UrlAnswer::of(&setup.ingest.invoke(&event).await.unwrap()).status, 404);
    assert_eq!((setup.queue.messages().len(), setup.dead.messages().len()), (1, 0));
    for event in [json!({}), json!([]), json!({"Records": []}), json!({"rawPath": "/vero/ü %zz"})] {
        assert_eq!(UrlAnswer::of(&setup.ingest.invoke(&event).await.unwrap()).status, 404, "{event}");
    }
}

/// Lambda encodes the body itself, so that none of its events has such a body; whoever invokes the function without the
/// Function URL loses that request alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_the_base64_it_should_be_costs_its_request_alone() {
    let setup = setup().await;
    let mut event =
        url_event("POST", &format!("/vero/{WEBHOOK_TOKEN}"), "", &[], b"CANARY not base64!", false);
    event["isBase64Encoded"] = json!(true);
    let response = setup.ingest.invoke(&event).await;
    assert!(matches!(response, Err(FunctionError::Reported(_))), "{response:?}");
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert!(!setup.ingest.logs().concat().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unauthorized_request_leaves_no_trace() {
    let setup = setup().await;
    for path in ["/vero/CANARY-TOKEN-0123456789012345678901234567890", "/vero", "/vero/"] {
        let answer = ask(&setup, "POST", path, "", br#"{"secret":"CANARY-BODY"}"#, false).await;
        assert_eq!(answer.status, 401);
        assert!(answer.json()["error"].is_string());
    }
    assert!(setup.queue.messages().is_empty() && setup.dead.messages().is_empty());
    assert!(!setup.ingest.logs().concat().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_webhook_is_kept_and_refused() {
    let setup = setup().await;
    for (index, body) in
        [&b"not json"[..], b"", b"5", b"[]", b"[{},1]", b"\xff\xfe\x00"].into_iter().enumerate()
    {
        let answer = setup.vero(body).await;
        assert_eq!(answer.status, 400, "{body:?}");
        let answer = answer.json();
        assert!(answer["error"].is_string());
        let kept = setup.dead.bodies();
        assert_eq!(kept.len(), index + 1);
        assert_eq!(kept[index]["id"], answer["id"]);
        assert!(kept[index]["reason"].is_string() && kept[index]["payload_base64"].is_string());
    }
    assert!(setup.queue.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_too_large_webhook_keeps_its_head() {
    let setup = setup().await;
    let answer = setup.vero(format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000)).as_bytes()).await;
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"].as_str().unwrap().contains("256 KiB"));
    let [kept] = &setup.dead.bodies()[..] else { panic!("one dead letter") };
    assert_eq!(kept["truncated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_sqs_does_the_answer_comes_within_four_seconds() {
    let faults = [
        Fault::Hang,
        Fault::Reset,
        Fault::Status(500),
        Fault::Throttle,
        Fault::Slow(Duration::from_secs(10)),
        Fault::LostAnswer,
        // Successes that do not say that SQS has the message.
        Fault::Answer(200, ""),
        Fault::Answer(200, "{}"),
        Fault::Answer(204, ""),
        Fault::Answer(200, "<html>Welcome</html>"),
        Fault::WrongDigest,
    ];
    let tasks = faults.map(|fault| tokio::spawn(answers_in_time_despite(fault)));
    for task in tasks {
        task.await.unwrap();
    }
}

async fn answers_in_time_despite(fault: Fault) {
    let setup = setup().await;
    setup.sqs.fail(fault.clone(), When::always());
    let webhook = format!(r#"{{"type":"sent","x":"{}"}}"#, "é\\\"".repeat(15_000));
    for body in [webhook.clone(), format!("[{webhook},{webhook}]"), "not json".to_owned()] {
        let start = Instant::now();
        let answer = setup.vero(body.as_bytes()).await;
        assert!(start.elapsed() < Duration::from_secs(4), "{fault:?}: {:?}", start.elapsed());
        assert_eq!(answer.status, 503, "{fault:?}");
        assert!(answer.header("retry-after").is_some() && answer.json()["error"].is_string());
    }
    let lines: Vec<Value> = setup.ingest.log_entries();
    let unqueued: Vec<&Value> = lines.iter().filter(|line| line["message"] == "unqueued_webhook").collect();
    let mut ids: Vec<&str> = unqueued.iter().map(|line| line["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4, "one webhook, an array of two, one that is none");
    for id in ids {
        let parts: Vec<&&Value> = unqueued.iter().filter(|line| line["id"] == id).collect();
        assert!(parts.iter().enumerate().all(|(index, line)| {
            line["part"] == json!(index + 1)
                && line["parts"] == json!(parts.len())
                && line["level"] == "ERROR"
                && line["timestamp"].is_string()
                && line["envelope"].as_str().unwrap().len() <= 32_000
        }));
        let envelope: String = parts.iter().map(|line| line["envelope"].as_str().unwrap()).collect();
        assert_eq!(serde_json::from_str::<Value>(&envelope).unwrap()["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_partly_queued_array_only_the_rest_is_logged() {
    let setup = setup().await;
    setup.sqs.fail(Fault::EntryFailure { entries: vec![1], sender_fault: true }, When::always());
    let answer = setup.vero(br#"[{"n":0},{"n":1},{"n":2}]"#).await;
    assert_eq!((answer.status, answer.json()["ids"].as_array().unwrap().len()), (503, 3));
    assert_eq!(setup.queue.messages().len(), 2);
    let logged: Vec<Value> =
        setup.ingest.log_entries().into_iter().filter(|line| line["message"] == "unqueued_webhook").collect();
    let [line] = &logged[..] else { panic!("one line: {logged:?}") };
    assert_eq!(line["id"], answer.json()["ids"][1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_s_answer_does_not_speak_of_is_not_queued() {
    for (answer, unqueued) in [
        (r#"{"Successful":[{"Id":"1","MessageId":"m"},{"Id":"7","MessageId":"n"}]}"#, vec![0, 2]),
        (r#"{"Successful":[{"Id":"0","MessageId":"m"},{"Id":"1"},{"Id":"2","MessageId":""}]}"#, vec![1, 2]),
        (r#"{"Successful":[{"Id":"2","MessageId":"m","MD5OfMessageBody":"00"}],"Failed":[]}"#, vec![0, 1, 2]),
    ] {
        let setup = setup().await;
        setup.sqs.fail(Fault::Answer(200, answer), When::always().operation("SendMessageBatch"));
        let refused = setup.vero(br#"[{"n":0},{"n":1},{"n":2}]"#).await;
        assert_eq!(refused.status, 503, "{answer}");
        let ids = refused.json()["ids"].clone();
        let lines = setup.ingest.log_entries();
        let lines = lines.iter().filter(|line| line["message"] == "unqueued_webhook");
        let logged: Vec<&Value> = lines.map(|line| &line["id"]).collect();
        assert_eq!(logged, unqueued.iter().map(|place: &usize| &ids[*place]).collect::<Vec<_>>(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_that_have_ended_cost_one_more_and_no_time() {
    let setup = setup().await;
    // More of them than SQS is tried times.
    setup.sqs.fail(Fault::Slow(Duration::from_millis(300)), When::always());
    let many: Vec<Value> = (0..160).map(|number| json!({"n": number})).collect();
    assert_eq!(setup.vero(Value::from(many).to_string().as_bytes()).await.status, 202);
    assert_eq!(setup.sqs.connections(), 16);
    setup.sqs.recover();
    setup.sqs.go_stale();
    setup.sqs.forget_calls();
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert_eq!((setup.sqs.called("SendMessage"), setup.sqs.connections()), (1, 17));
    assert_eq!(setup.queue.messages().len(), 161);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_ridden_out() {
    let silent = Fault::Answer(200, "{}");
    for fault in [Fault::Hang, Fault::Reset, Fault::Status(500), Fault::Throttle, silent] {
        let setup = setup().await;
        setup.sqs.fail(fault.clone(), When::first(2).operation("SendMessage"));
        assert_eq!(setup.vero(b"{}").await.status, 202, "{fault:?}");
        assert_eq!(setup.queue.messages().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_the_configuration_are_logged_and_strictness_loses_no_webhook() {
    for (name, value) in
        [("QUEUE_URL", ""), ("DEAD_LETTER_QUEUE_URL", "queue"), ("WEBHOOK_TOKEN_SHA256", "hush")]
    {
        let setup = setup_with(&[(name, value)]).await;
        let error = setup.ingest.init_error().await.unwrap();
        let message = error.body["errorMessage"].as_str().unwrap();
        assert!(message.contains(name) && message.contains("for example"), "{message}");
        assert!(!message.contains("hush"));
        assert_eq!(error.code, Some(1));
    }
    let setup = setup_with(&[("WEBHOOK_TOKEN_SHA256", &format!("nonsense,{}", digest(WEBHOOK_TOKEN)))]).await;
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert!(setup.ingest.logs().concat().contains("WEBHOOK_TOKEN_SHA256"));
}
