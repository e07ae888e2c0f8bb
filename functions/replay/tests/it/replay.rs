//! Events of the archive go on the queue again.

use std::time::Duration;

use harness::{Deadline, Fault, When};
use serde_json::{Value, json};

use crate::setup::{ids, request, setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_range_to_one_destination_with_a_dry_run_first() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["to"] = json!("2026-11-21");
    event["dry_run"] = json!(true);
    let dry = setup.replay.invoke(&event).await.unwrap();
    assert!(setup.queue.messages().is_empty());
    let expected = json!({
        "dry_run": true, "scanned": 35, "matched": 35, "sent": 0, "by_type": {"opened": 35}, "unreadable": 0,
        "continues": false,
    });
    assert_eq!(dry, expected);

    event["dry_run"] = json!(false);
    let wet = setup.replay.invoke(&event).await.unwrap();
    assert_eq!((&wet["sent"], &wet["by_type"]), (&json!(35), &dry["by_type"]));
    let sent = setup.sent();
    let first_day = all.into_iter().filter(|id| id.starts_with("2026-11-20")).collect();
    assert_eq!((sent.len(), ids(&sent)), (35, first_day));
    assert!(sent.iter().all(|envelope| envelope["destinations"] == json!(["segment"])));
    let message = &setup.queue.messages()[0];
    assert!(message.body.ends_with(r#""payload":{"type":"opened", "n":1.00,"user":{"id":12}}}"#));
    assert_eq!(message.attributes["type"], "opened");
    assert!(setup.replay_queue.messages().is_empty());

    let metrics = setup.replay.metrics().unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "Replayed" && metric.values == [35.0]), "{metrics:?}");
    let lines = setup.replay.log_entries();
    let last = lines.iter().rfind(|line| line["message"] == "done").unwrap();
    assert_eq!((&last["job"], &last["by_type"]["opened"]), (&json!("replay"), &json!(35)));
    assert!(lines.iter().all(|line| !line.to_string().contains('@')), "no address in the log: {lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_time_limit_a_replay_goes_on_by_its_queue() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(7);
    // Of five seconds one half is kept for handing over.
    let short = Deadline::In(Duration::from_secs(5));
    let mut answer = setup.replay.invoke_with(&event, short).await.unwrap();
    let mut taken = 0;
    while answer["continues"] == true {
        assert_eq!(setup.replay_queue.messages().len(), taken + 1);
        answer = setup.go_on(taken, short).await;
        taken += 1;
    }
    assert!(taken >= 2, "70 events, 7 a second, up to 28 at a time");
    assert_eq!(
        (&answer["scanned"], &answer["matched"], &answer["sent"]),
        (&json!(70), &json!(70), &json!(70))
    );
    let sent = setup.sent();
    assert_eq!((sent.len(), ids(&sent)), (70, all));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_a_replay_goes_on_from_its_message() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(10);
    let answer = setup.replay.invoke_with(&event, Duration::from_secs(6)).await.unwrap();
    assert_eq!(answer["continues"], true);
    let before = setup.sent().len();
    let event = json!({"Records": [{"messageId": "m", "body": setup.replay_queue.messages()[0].body}]});
    let killed = async {
        harness::eventually(Duration::from_secs(20), || setup.sent().len() > before).await.unwrap();
        setup.replay.kill().await;
    };
    let (died, ()) = tokio::join!(setup.replay.invoke(&event), killed);
    died.unwrap_err();
    let answer = setup.go_on(0, Deadline::default()).await;
    assert_eq!((&answer["sent"], &answer["continues"]), (&json!(70), &json!(false)));
    let sent = setup.sent();
    assert!(sent.len() > 70, "what was sent after the cursor goes twice");
    assert_eq!(ids(&sent), all, "with the same ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_ids_and_results_of_athena() {
    let setup = setup().await;
    let all = setup.archive();
    let picked: Vec<&String> = all.iter().step_by(9).collect();
    let mut csv = "\"id\",\"received_at\",\"source\",\"type\",\"destination\",\"last_reason\"\n".to_owned();
    for id in &picked {
        csv.push_str(&format!("\"{id}\",\"2026\",\"vero\",\"opened\",\"segment\",\n"));
        csv.push_str(&format!("\"{id}\",\"2026\",\"vero\",\"opened\",\"vero_track\",\n"));
    }
    setup.s3.put("athena/1.csv", csv);
    let mut event = request();
    event["result"] = json!("s3://archive/athena/1.csv");
    event["new_ids"] = json!(true);
    let answer = setup.replay.invoke(&event).await.unwrap();
    assert_eq!(answer["sent"], json!(picked.len()));
    let sent = setup.sent();
    assert_eq!(ids(&sent).len(), picked.len());
    assert!(ids(&sent).is_disjoint(&all));
    for envelope in sent {
        assert_eq!(
            (&envelope["id"].as_str().unwrap()[14..15], &envelope["destinations"]),
            ("7", &json!(["segment"]))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_is_refused_with_an_example() {
    let setup = setup().await;
    let error = setup.fails(&json!({"from": "2026-11-20", "destinations": ["segment"]})).await;
    assert!(error.contains("`to` is missing: a range without an end"), "{error}");
    let error =
        setup.fails(&json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["archive"]})).await;
    assert!(error.contains("`destinations` must be of segment"), "{error}");
    assert_eq!((setup.s3.calls().len(), setup.sqs.calls().len()), (0, 0), "before anything happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_sqs_takes_no_event_the_error_says_where_to_go_on() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(30);
    setup.sqs.fail(
        Fault::Status(503),
        When::always()
            .operation("SendMessageBatch")
            .body(|body| body["Entries"].to_string().contains("2026-11-21")),
    );
    let error = setup.fails(&event).await;
    // Refused, or on a busy machine not answered in time.
    assert!(error.contains("is not known to be on the queue: SQS"), "{error}");
    let progress = error.split_once("\"progress\":").unwrap().1;
    let progress: Value = serde_json::Deserializer::from_str(progress).into_iter().next().unwrap().unwrap();
    assert!(progress["cursor"]["object"].as_str().unwrap().starts_with("data/day=2026-11-20/"));
    setup.sqs.recover();
    let answer = setup.replay.invoke(&json!({"request": event, "progress": progress})).await.unwrap();
    assert_eq!((&answer["sent"], &answer["continues"]), (&json!(70), &json!(false)));
    assert_eq!(ids(&setup.sent()), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_continuation_goes_on_by_itself_from_where_it_was() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(30);
    let later = |body: &Value| body["Entries"].to_string().contains("2026-11-21");
    setup.sqs.fail(Fault::Status(503), When::always().operation("SendMessageBatch").body(later));
    let message = json!({"Records": [{"messageId": "m1", "body": json!({"request": event}).to_string()}]});
    let answer = setup.replay.invoke(&message).await.unwrap();
    assert_eq!(answer["continues"], true, "{answer}");
    let [again] = &setup.replay_queue.messages()[..] else { panic!("one continuation") };
    assert_eq!((again.delay.as_secs(), &again.json()["failures"]), (30, &json!(1)));
    setup.sqs.recover();
    let message = json!({"Records": [{"messageId": "m2", "body": again.body}]});
    let answer = setup.replay.invoke(&message).await.unwrap();
    assert_eq!(answer["continues"], false, "{answer}");
    assert_eq!(ids(&setup.sent()), all, "each once");
}
