//! A process behind the Runtime API, and the event source mapping that feeds it.

use std::time::Duration;

use harness::{
    Deadline, EventSource, Function, FunctionError, QueueSettings, Sqs, UrlAnswer, kept_after, sqs_event,
    url_event,
};
use serde_json::json;

const BINARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/function.sh");

#[tokio::test(flavor = "multi_thread")]
async fn invokes_kills_and_restarts_a_process() {
    let function = Function::start(BINARY, &[("NAME", "value")]).await.unwrap();
    assert!(function.init_duration().await.unwrap() < Duration::from_secs(5));
    assert!(function.resident_kib().unwrap() > 0);
    assert!(function.init_error().await.is_err());

    let answer = function.invoke(&json!({"some": "event"})).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let deadline = function.invoke_with(&json!("deadline"), Deadline::AtMs(600_000)).await.unwrap();
    assert_eq!(deadline, 600_000);
    assert!(function.logs().iter().any(|line| line.starts_with("starting")));
    assert!(function.logs().iter().any(|line| line.starts_with("event of 16 characters")));

    let failed = function.invoke(&json!("fail")).await.unwrap_err();
    assert!(matches!(failed, FunctionError::Reported(body) if body["errorMessage"] == "on command"));
    let garbage = function.invoke(&json!("garbage")).await.unwrap_err();
    assert!(matches!(garbage, FunctionError::NotJson(_)));

    let before = function.pid();
    let died = function.invoke(&json!("die")).await.unwrap_err();
    assert!(matches!(died, FunctionError::Died(status) if status.code() == Some(7)));
    let late = function.invoke_with(&json!("sleep"), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(late, FunctionError::DeadlinePassed));
    assert_ne!(function.pid(), before);
    assert!(function.invoke(&json!({})).await.is_ok());
    function.restart().await.unwrap();
    assert!(function.invoke(&json!({})).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_why_a_process_did_not_start() {
    let function = Function::start(BINARY, &[("REFUSE_TO_START", "1")]).await.unwrap();
    let error = function.init_error().await.unwrap();
    assert_eq!((error.body["errorMessage"].as_str(), error.code), (Some("QUEUE_URL is not set"), Some(1)));
    assert!(matches!(function.invoke(&json!({})).await, Err(FunctionError::Init(_))));
    assert!(Function::start("/no/such/binary", &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_fails_its_invocation() {
    let function = Function::start(BINARY, &[]).await.unwrap();
    let event = json!("sleep");
    let (result, ()) = tokio::join!(function.invoke(&event), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        function.kill().await;
    });
    assert!(matches!(result, Err(FunctionError::Died(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_source_drains_a_queue_to_the_dead_letter_queue() {
    let sqs = Sqs::start().await.unwrap();
    let dead = sqs.queue("dead", QueueSettings::default());
    let settings =
        QueueSettings { max_receive_count: 3, dead_letter: Some("dead".to_owned()), ..Default::default() };
    let queue = sqs.queue("main", settings);
    queue.send("please keep me").unwrap();
    queue.send("and let me go").unwrap();
    let function = Function::start(BINARY, &[]).await.unwrap();

    let drained = EventSource::default().drain(&function, &queue).await;
    assert_eq!((drained.invocations.len(), drained.empty), (1, false));
    assert_eq!(drained.invocations[0].kept, [queue.messages()[0].id.clone()]);

    let drained = EventSource::through_time().drain(&function, &queue).await;
    assert_eq!((drained.invocations.len(), drained.empty), (2, true));
    assert_eq!(drained.invocations[1].event["Records"][0]["attributes"]["ApproximateReceiveCount"], "3");
    assert_eq!(dead.messages()[0].body, "please keep me");
}

#[test]
fn responses_are_read_as_lambda_reads_them() {
    let ids = ["a", "b"];
    let kept = |response: &str| kept_after(Some(response.as_bytes()), &ids);
    for success in ["", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
        assert_eq!(kept(success), [""; 0], "{success}");
    }
    assert_eq!(kept(r#"{"BatchItemFailures":[{"itemIdentifier":"a"}]}"#), [""; 0]);
    assert_eq!(kept(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), ["b"]);
    for failure in ["{", r#""""#, "null", r#""unknown""#] {
        let response = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":{failure}}}]}}"#);
        assert_eq!(kept(&response), ids, "{response}");
    }
    assert_eq!(kept(r#"{"batchItemFailures":[{"ItemIdentifier":"a"}]}"#), ids);
    assert_eq!(kept_after(None, &ids), ids);
}

#[test]
fn events_are_shaped_like_lambdas() {
    let event = sqs_event(&[("id", "hello")]);
    assert_eq!(event["Records"][0]["md5OfBody"], "5d41402abc4b2a76b9719d911017c592");

    let headers = [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "2"), ("Cookie", "b=1; c=2")];
    let event = url_event("POST", "/vero/t", "a=1&a=%202&b", &headers, b"\xff", false);
    assert_eq!(event["headers"]["x-a"], "1,2");
    assert_eq!(event["queryStringParameters"], json!({"a": "1, 2", "b": ""}));
    assert_eq!(event["cookies"], json!(["b=1", "c=2"]));
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
    let plain = url_event("GET", "/health", "", &[], b"", true);
    assert!(plain.get("body").is_none() && plain.get("queryStringParameters").is_none());

    let answer = UrlAnswer::of(
        &json!({"statusCode": 202, "headers": {"X-B": "c"}, "body": "e30=", "isBase64Encoded": true}),
    );
    assert_eq!((answer.status, answer.header("x-b"), answer.json()), (202, Some("c"), json!({})));
}
