//! What the log never has.

use harness::{Behaviour, CANARY, FunctionError, Receiver, Testbed, When};
use serde_json::{Value, json};

use crate::setup::{gzip, request, row};

/// Text of others comes in as names and values of fields, as progress, keys, error codes of SQS and CloudWatch Logs, types
/// in the archive, and headers of an invocation.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_others_is_logged() {
    const FOREIGN: &str = "CANARY-ana@example.org";
    let (aws, testbed) = (Receiver::start().await.unwrap(), Testbed::start().await.unwrap());
    let refusal = json!({"__type": format!("com.amazonaws#{FOREIGN}"), "message": FOREIGN}).to_string();
    let refusal = Behaviour::answer(400, refusal)
        .with_header("x-amzn-query-error", &format!("{FOREIGN};Sender"))
        .with_header("x-amzn-errortype", FOREIGN);
    aws.behave(refusal, When::always());
    let elsewhere = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("QUEUE_URL", &format!("{}/1/main", aws.url())),
        ("REPLAY_QUEUE_URL", &format!("{}/1/replay", aws.url())),
        ("RUST_LOG", "trace"),
    ];
    let replay = testbed.replay(env!("CARGO_BIN_EXE_replay"), &elsewhere).await.unwrap();
    let odd = row("e1", "2026-11-20", "1").replace("opened", "CANARY-TYPE");
    testbed.s3.put("data/day=2026-11-20/source=vero/stream-1", odd.into_bytes());
    testbed.s3.put(&format!("data/day=2026-11-21/source=vero/{FOREIGN}"), gzip("x")[..10].to_vec());

    let with = |field: &str, value: Value| {
        let mut event = request();
        event[field] = value;
        event
    };
    let run = "01935f3a-0000-7000-8000-000000000001";
    let cursor = json!({"object": FOREIGN, "etag": null, "lines": 1});
    let by_type = json!({"scanned": 1, "matched": 1, "sent": 1, "by_type": {FOREIGN: 1}, "unreadable": 0});
    let progress = |progress: Value| json!({"request": request(), "progress": progress});
    let result = format!("s3://archive/athena/{FOREIGN}.csv");
    let events = [
        with(FOREIGN, json!(1)),
        with("from", json!(FOREIGN)),
        with("destinations", json!([FOREIGN])),
        with("sources", json!([FOREIGN])),
        with("result", json!(result)),
        with("result", json!(FOREIGN)),
        json!({"request": request(), FOREIGN: 1}),
        json!({"forget": {FOREIGN: 1}}),
        json!({"forget": {"email": FOREIGN}, FOREIGN: 1}),
        json!({"forget": {"email": FOREIGN}, "dry_run": FOREIGN}),
        json!({"source": FOREIGN}),
        json!({"source": "log"}),
        json!({"source": "log", FOREIGN: 1}),
        json!(FOREIGN),
        progress(json!({"run": FOREIGN, "cursor": null})),
        progress(json!({"run": run, "cursor": cursor})),
        progress(json!({"run": run, "cursor": null, "counts": by_type})),
        progress(json!({"run": run, "cursor": null, FOREIGN: 1})),
        json!({"Records": [{"messageId": FOREIGN, "body": FOREIGN}]}),
        // What is archived, and SQS.
        request(),
    ];
    for event in &events {
        assert!(replay.invoke(event).await.is_err(), "{event}");
    }
    let dry_run = replay.invoke(&with("dry_run", json!(true))).await.unwrap();
    assert_eq!(dry_run["matched"], 1);
    replay.invoke(&json!({"forget": {"email": FOREIGN}, "dry_run": true})).await.unwrap();
    replay.client_context(&format!("\"{FOREIGN}\""));
    assert!(matches!(replay.invoke(&request()).await, Err(FunctionError::Died(_))));
    let lines = replay.logs();
    assert!(lines.len() > events.len(), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(CANARY) && !line.contains("ana@")), "{lines:#?}");
}
