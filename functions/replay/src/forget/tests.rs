//! Forgetting in an archive in memory.

use std::time::Duration;

use object_store::path::Path;
use object_store::{Attribute, ObjectStoreExt as _, PutOptions};
use serde_json::{Value, json};

use super::progress::ForgetCounts;
use super::rewrite::{MAX_BUFFERED, attributes};
use super::*;
use crate::archive::{Line, MAX_LINE, NextLine, Store, gzip};
use crate::time_limit::{TaskOutcome, TimeLimit};

fn row(id: &str, user_id: Option<&str>, email: Option<&str>) -> String {
    json!({
        "id": id, "source": "vero", "received_at": "2026-11-20T05:04:03.123Z", "type": "opened", "user_id": user_id,
        "email": email, "payload": "{\"n\":1.00}",
    })
    .to_string()
}

fn request(event: Value) -> Result<ForgetRequest, String> {
    let Value::Object(event) = event else { panic!("an object") };
    ForgetRequest::parse(event).map_err(|error| error.to_string())
}

fn key(name: &str) -> String {
    format!("data/day=2026-11-20/source=vero/{name}")
}

/// An object's bytes as they are stored, and their text.
async fn object(store: &Store, name: &str) -> (Vec<u8>, String) {
    let bytes = store.client().get(&Path::from(key(name))).await.unwrap().bytes().await.unwrap();
    let mut lines = store.lines(store.object(&key(name)).await.unwrap());
    let mut text = String::new();
    while let NextLine::Line(Line::Whole(line)) = lines.next().await.unwrap() {
        text.push_str(&String::from_utf8(line).unwrap());
        text.push('\n');
    }
    (bytes.to_vec(), text)
}

async fn forget(request: &ForgetRequest, store: &Store) -> ForgetCounts {
    let mut progress = ForgetProgress::default();
    let limit = TimeLimit::within(Duration::from_secs(60));
    assert_eq!(run(request, &mut progress, store, &limit).await.unwrap(), TaskOutcome::Done);
    progress.counts
}

#[tokio::test]
async fn rows_of_the_user_go_and_all_else_stays_to_the_letter() {
    let store = Store::in_memory();
    let by_id = row("a", Some("12"), None);
    let by_email = row("b", None, Some("Steve@Example.com"));
    let other = row("c", Some("123"), Some("eve@example.com"));
    let odd = r#"{"no row" : 1.00}"#;
    let mixed = format!("{by_id}\n{other}\n{odd}\n{by_email}\n");
    store.put(&key("1"), mixed.clone().into()).await;
    store.put(&key("2.gz"), gzip(mixed.as_bytes())).await;
    let untouched = gzip(format!("{other}\n").as_bytes());
    store.put(&key("3.gz"), untouched.clone()).await;
    store.put(&key("4"), format!("{by_id}\n").into()).await;
    store.put("requeued/x", Vec::new()).await;

    let both = json!({"forget": {"user_id": "12", "email": "STEVE@example.com"}, "dry_run": true});
    let dry = forget(&request(both.clone()).unwrap(), &store).await;
    assert_eq!((dry.objects, dry.matched, dry.rewritten, dry.rows, dry.unreadable), (4, 3, 0, 5, 2));
    assert_eq!(object(&store, "1").await.1, mixed);
    let is_marked = async |id: &str| store.exists(&Path::from(format!("requeued/{id}"))).await.unwrap();
    assert!(!is_marked("a").await, "a dry run writes nothing");

    let mut real = request(both).unwrap();
    real.dry_run = false;
    assert_eq!(forget(&real, &store).await, ForgetCounts { rewritten: 3, ..dry });
    // The log may have them still, and a run of requeue would not find their rows.
    assert!(is_marked("a").await && is_marked("b").await && !is_marked("c").await);
    let left = format!("{other}\n{odd}\n");
    assert_eq!(object(&store, "1").await, (left.clone().into_bytes(), left.clone()));
    let (bytes, text) = object(&store, "2.gz").await;
    assert_eq!((bytes.starts_with(&[0x1f, 0x8b]), text), (true, left));
    assert_eq!(object(&store, "3.gz").await.0, untouched);
    assert_eq!(object(&store, "4").await.1, "");
    let again = forget(&real, &store).await;
    assert_eq!((again.objects, again.matched, again.rows), (4, 0, 0));
}

#[tokio::test]
async fn a_large_object_goes_in_parts_and_keeps_its_type() {
    let store = Store::in_memory();
    let text: String = (0..60_000)
        .map(|number| {
            row(&format!("e{number}"), Some(if number % 1_000 == 0 { "12" } else { "13" }), None) + "\n"
        })
        .collect();
    assert!(text.len() > MAX_BUFFERED);
    let mut options = PutOptions::default();
    options.attributes.insert(Attribute::ContentType, "application/x-ndjson".into());
    let path = Path::from(key("1"));
    store.client().put_opts(&path, text.clone().into(), options).await.unwrap();
    let counts = forget(&request(json!({"forget": {"user_id": "12"}})).unwrap(), &store).await;
    assert_eq!((counts.rewritten, counts.rows), (1, 60));
    let expected: String =
        text.lines().filter(|line| !line.contains("\"12\"")).map(|line| format!("{line}\n")).collect();
    assert!(object(&store, "1").await.1 == expected, "all others are there, in their order");
    let kept = attributes(&store, &path).await.unwrap();
    assert_eq!(kept.get(&Attribute::ContentType).map(AsRef::as_ref), Some("application/x-ndjson"));
}

#[tokio::test]
async fn an_object_that_cannot_be_read_to_its_end_stays_and_is_counted() {
    let store = Store::in_memory();
    let mine = row("a", Some("12"), None);
    let long = "x".repeat(MAX_LINE + 1);
    store.put(&key("1"), format!("{mine}\n{long}\n").into()).await;
    let compressed = gzip(mine.as_bytes());
    store.put(&key("2"), compressed[..compressed.len() - 4].to_vec()).await;
    let counts = forget(&request(json!({"forget": {"user_id": "12"}})).unwrap(), &store).await;
    assert_eq!((counts.objects, counts.left, counts.rewritten), (2, 2, 0));
}

#[tokio::test]
async fn after_its_time_limit_it_goes_on_with_the_next_object() {
    let store = Store::in_memory();
    for name in ["1", "2", "3"] {
        store.put(&key(name), row(name, Some("12"), None).into()).await;
    }
    let request = request(json!({"forget": {"user_id": "12"}})).unwrap();
    let mut progress = ForgetProgress::default();
    let mut pieces = 1;
    while run(&request, &mut progress, &store, &TimeLimit::within(Duration::ZERO)).await.unwrap()
        == TaskOutcome::TimeIsUp
    {
        progress = serde_json::from_value(serde_json::to_value(&progress).unwrap()).unwrap();
        pieces += 1;
    }
    assert_eq!((pieces, progress.counts.objects, progress.counts.rows), (4, 3, 3));
}

#[test]
fn a_request_must_name_a_user() {
    for (event, start) in [
        (json!({"forget": {}}), "`forget` must have a user_id, an email, or both"),
        (json!({"forget": "123"}), "`forget` must be an object"),
        (json!({"forget": {"user_id": 123}}), "`user_id` must be a text"),
        (json!({"forget": {"user_id": ""}}), "`user_id` must be a text"),
        (json!({"forget": {"id": "123"}}), "`forget` has a field that is none of user_id, email"),
        (
            json!({"forget": {"user_id": "1"}, "from": "2026-11-20"}),
            "`event` has a field that is none of forget, dry_run",
        ),
    ] {
        let error = request(event).unwrap_err();
        assert!(error.starts_with(start), "{error}");
    }
}
