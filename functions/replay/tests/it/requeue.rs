//! Webhooks that only the log has go on the queue.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::setup::{gzip, row, setup};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_in_the_log_are_queued_once_and_not_if_archived() {
    let setup = setup().await;
    let day = "2026-11-20";
    let envelope = |id: &str| {
        format!(
            r#"{{"version":1,"id":"{id}","source":"vero","received_at":"{day}T05:04:03.123Z","payload":{{"type":"sent"}}}}"#
        )
    };
    let hours_ago = |hours: u64| {
        let now = relay_platform::world::now().duration_since(UNIX_EPOCH).unwrap();
        (now - Duration::from_secs(hours * 3_600)).as_millis() as i64
    };
    let log = |hours, id: &str, part, parts, text: &str| {
        let line = json!({
            "timestamp": "t", "level": "ERROR", "id": id, "part": part, "parts": parts, "envelope": text,
            "message": "unqueued_webhook",
        });
        setup.sqs.log_line(hours_ago(hours), line.to_string());
    };
    let lost = envelope("lost");
    log(5, "lost", 1, 2, &lost[..30]);
    setup.sqs.log_line(hours_ago(5), json!({"message": "other", "id": "other"}).to_string());
    log(4, "archived", 1, 1, &envelope("archived"));
    log(4, "lost", 2, 2, &lost[30..]);
    log(3, "half", 2, 2, "}");
    log(0, "fresh", 1, 1, &envelope("fresh"));
    log(30, "stale", 1, 1, &envelope("stale"));
    setup.s3.put(&format!("data/day={day}/source=vero/1"), gzip(&row("archived", day, "1")));

    let answer = setup.replay.invoke(&json!({"source": "log"})).await.unwrap();
    let expected = json!({
        "dry_run": false, "scanned": 4, "matched": 2, "archived": 1, "settled_before": 0, "sent": 1,
        "incomplete": 1, "unreadable": 0, "continues": false,
    });
    assert_eq!(answer, expected);
    let [message] = &setup.queue.messages()[..] else { panic!("one message") };
    assert_eq!(message.body, lost, "for all destinations, for the first time");
    assert!(setup.s3.keys().contains(&"requeued/lost".to_owned()));

    let again = setup.replay.invoke(&json!({"source": "log"})).await.unwrap();
    assert_eq!((&again["sent"], &again["settled_before"]), (&json!(0), &json!(2)));
    assert_eq!(setup.queue.messages().len(), 1);
    let metrics = setup.replay.metrics().unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "Requeued" && metric.values == [1.0]), "{metrics:?}");
}
