//! Requeue from a log and an archive in memory.

use std::cell::Cell;
use std::time::Duration;

use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use super::ingest_log::{IngestLog, LogError, LogPage};
use super::*;
use crate::archive::Store;
use crate::sender::fake::InMemoryQueue;
use crate::time_limit::{TaskOutcome, TimeLimit};

/// Pages of lines, and how often the first was asked for.
struct Pages(Vec<Vec<String>>, Cell<usize>);

impl IngestLog for Pages {
    async fn page(&self, _: Timestamp, _: Timestamp, token: Option<String>) -> Result<LogPage, LogError> {
        let number: usize = token.map_or(0, |token| token.parse().unwrap());
        self.1.set(self.1.get() + usize::from(number == 0));
        let next = (number + 1 < self.0.len()).then(|| (number + 1).to_string());
        Ok(LogPage { lines: self.0[number].clone(), next })
    }
}

fn envelope(id: &str) -> String {
    format!(
        r#"{{"version":1,"id":"{id}","source":"vero","received_at":"2026-11-20T23:59:59.999Z","payload":{{"type":"sent","n":1.0}}}}"#
    )
}

fn line(id: &str, part: usize, parts: usize, text: &str) -> String {
    json!({"level": "ERROR", "message": "unqueued_webhook", "id": id, "part": part, "parts": parts, "envelope": text})
        .to_string()
}

fn request(dry_run: bool) -> RequeueRequest {
    let time = |text| Timestamp::parse(text).unwrap();
    RequeueRequest { from: time("2026-11-20T00:00:00Z"), to: time("2026-11-21T00:00:00Z"), dry_run }
}

async fn requeue(
    request: &RequeueRequest,
    log: &Pages,
    store: &Store,
    memory: &InMemoryQueue,
) -> RequeueCounts {
    let mut counts = RequeueCounts::default();
    let limit = TimeLimit::within(Duration::from_secs(600));
    assert_eq!(run(request, &mut counts, log, store, memory, &limit).await.unwrap(), TaskOutcome::Done);
    counts
}

#[tokio::test(start_paused = true)]
async fn what_the_archive_lacks_is_sent_once() {
    let split = envelope("split");
    let (first, second) = split.split_at(40);
    let lines = vec![
        vec![line("new", 1, 1, &envelope("new")), line("split", 2, 2, second), "START RequestId".to_owned()],
        vec![line("archived", 1, 1, &envelope("archived")), line("late", 1, 1, &envelope("late"))],
        vec![
            line("split", 1, 2, first),
            line("new", 1, 1, &envelope("new")),
            line("half", 1, 2, "{"),
            line("odd", 1, 1, "{}"),
        ],
    ];
    let log = Pages(lines, Cell::default());
    let store = Store::in_memory();
    for (day, id) in [("2026-11-20", "archived"), ("2026-11-21", "late")] {
        let row =
            json!({"id": id, "source": "vero", "received_at": "2026-11-20T23:59:59.999Z", "payload": "{}"});
        store.put(&format!("data/day={day}/source=vero/1"), format!("{row}\n").into()).await;
    }
    let memory = InMemoryQueue::default();
    let dry = requeue(&request(true), &log, &store, &memory).await;
    let expected = RequeueCounts {
        scanned: 9,
        matched: 5,
        archived: 2,
        incomplete: 1,
        unreadable: 1,
        ..RequeueCounts::default()
    };
    assert_eq!((&dry, memory.taken.borrow().len()), (&expected, 0));

    let real = requeue(&request(false), &log, &store, &memory).await;
    assert_eq!(real, RequeueCounts { sent: 2, ..expected });
    let sent: Vec<String> = memory.taken.borrow().iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(sent, [envelope("new"), envelope("split")], "to the letter, for all destinations");

    // What was archived is not missing when its rows have been forgotten since.
    store.put("data/day=2026-11-20/source=vero/1", Vec::new()).await;
    let again = requeue(&request(false), &log, &store, &memory).await;
    assert_eq!((again.sent, again.settled_before, again.archived), (0, 4, 0));
    assert_eq!(memory.taken.borrow().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_sqs_does_not_take_is_not_marked() {
    let log = Pages(vec![vec![line("new", 1, 1, &envelope("new"))]], Cell::default());
    let (store, memory) = (Store::in_memory(), InMemoryQueue::default());
    *memory.refusals.borrow_mut() = vec![1, 1, 1];
    let limit = TimeLimit::within(Duration::from_secs(600));
    let error =
        run(&request(false), &mut RequeueCounts::default(), &log, &store, &memory, &limit).await.unwrap_err();
    assert!(matches!(error, RequeueError::Unsent(_)), "{error}");
    assert_eq!(requeue(&request(false), &log, &store, &memory).await.sent, 1);
}

#[tokio::test(start_paused = true)]
async fn after_its_time_limit_it_begins_anew_and_sends_nothing_twice() {
    let lines = (0..250).map(|n| line(&format!("e{n}"), 1, 1, &envelope(&format!("e{n}")))).collect();
    let log = Pages(vec![lines], Cell::default());
    let (store, memory) = (Store::in_memory(), InMemoryQueue::default());
    let mut runs = 1;
    loop {
        let limit = TimeLimit::within(Duration::ZERO);
        let mut counts = RequeueCounts::default();
        if run(&request(false), &mut counts, &log, &store, &memory, &limit).await.unwrap()
            == TaskOutcome::Done
        {
            break;
        }
        runs += 1;
    }
    assert_eq!((runs, log.1.get(), memory.taken.borrow().len()), (4, 4, 250));
}

#[test]
fn the_default_range_is_a_day_that_ends_an_hour_ago() {
    let now = Timestamp::parse("2026-11-21T12:00:00Z").unwrap();
    let parse = |event: Value| {
        RequeueRequest::parse(event.as_object().unwrap().clone(), now).map_err(|error| error.to_string())
    };
    let request = parse(json!({"source": "log"})).unwrap();
    assert_eq!(
        (request.from.iso(), request.to.iso()),
        ("2026-11-20T10:00:00.000Z".into(), "2026-11-21T11:00:00.000Z".into())
    );
    let backwards = json!({"source": "log", "from": "2026-11-21T11:30:00Z"});
    assert!(parse(backwards).unwrap_err().starts_with("`to` must be later than `from`"));
    let error = parse(json!({"source": "log", "users": ["1"]})).unwrap_err();
    assert!(error.starts_with("`event` has a field that is none of source, from, to, dry_run"), "{error}");
}
