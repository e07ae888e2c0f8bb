//! The rows of a user are deleted.

use serde_json::json;

use crate::setup::{request, setup};

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_user_are_deleted_and_no_others() {
    let setup = setup().await;
    setup.archive();
    let event = json!({"forget": {"user_id": "3"}});
    let answer = setup.replay.invoke(&event).await.unwrap();
    let expected = json!({
        "dry_run": false, "objects": 14, "matched": 14, "rewritten": 14, "rows": 14, "unreadable": 0, "left": 0,
        "continues": false,
    });
    assert_eq!(answer, expected);
    let again = setup.replay.invoke(&event).await.unwrap();
    assert_eq!((&again["objects"], &again["rows"], &again["rewritten"]), (&json!(14), &json!(0), &json!(0)));
    let left = setup.replay.invoke(&request()).await.unwrap();
    assert_eq!((&left["scanned"], &left["unreadable"]), (&json!(56), &json!(0)));
    let compressed = setup.s3.get("data/day=2026-11-20/source=vero/stream-0").unwrap();
    assert_eq!(compressed[..2], [0x1f, 0x8b]);
    // Each deleted row is marked, so that no run of requeue sends it again from the log.
    let keys = setup.s3.keys();
    let under = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((under("data/"), under("requeued/"), keys.len()), (14, 14, 28));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_written_stays_and_is_named() {
    let setup = setup().await;
    setup.archive();
    let before = setup.s3.get("data/day=2026-11-20/source=vero/stream-0");
    setup.s3.refuse_puts();
    let error = setup.fails(&json!({"forget": {"user_id": "3"}})).await;
    let what = "cannot write data/day=2026-11-20/source=vero/stream-0: the function's role does not allow it";
    assert!(error.contains(what), "{error}");
    assert_eq!(setup.s3.get("data/day=2026-11-20/source=vero/stream-0"), before);
}
