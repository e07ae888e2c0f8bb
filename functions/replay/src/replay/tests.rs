//! Replays of an archive in memory, with time that passes only while something waits.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::progress::ReplayCounts;
use super::*;
use crate::archive::{MAX_LINE, Store, gzip};
use crate::sender::fake::InMemoryQueue;
use crate::time_limit::{TaskOutcome, TimeLimit};

fn row(id: &str, day: &str, source: &str) -> String {
    let kind = if source == "vero" { "opened" } else { "track" };
    let payload = format!(r#"{{"type":"{kind}","n":1.00,"text":"é\u2028"}}"#);
    json!({
        "id": id, "_sequence": 1, "received_at": format!("{day}T05:04:03.123Z"), "source": source, "type": kind,
        "user_id": "12", "email": null, "place": 0, "through_segment": false, "payload": payload,
    })
    .to_string()
}

fn request(more: Value) -> ReplayRequest {
    let mut event =
        json!({"from": "2026-11-20", "to": "2026-11-22", "destinations": ["segment", "vero_track"]});
    for (field, value) in more.as_object().unwrap() {
        event[field] = value.clone();
    }
    ReplayRequest::parse(event.as_object().unwrap().clone(), "archive", &[]).unwrap()
}

/// Objects of so many rows, on two days and of two sources, every other one compressed; and the ids in them.
async fn archive(objects: &[usize]) -> (Store, Vec<String>) {
    let (store, mut ids) = (Store::in_memory(), Vec::new());
    for (index, rows) in objects.iter().enumerate() {
        let day = if index % 4 < 2 { "2026-11-20" } else { "2026-11-21" };
        let source = if index % 3 == 0 { "segment" } else { "vero" };
        let mut text = String::new();
        for row_index in 0..*rows {
            let id = format!("e{index}-{row_index}");
            text.push_str(&row(&id, day, source));
            text.push('\n');
            ids.push(id);
        }
        let bytes = if index % 2 == 0 { gzip(text.as_bytes()) } else { text.into_bytes() };
        store.put(&format!("data/day={day}/source={source}/object-{index}"), bytes).await;
    }
    // What a range must not reach.
    let others = row("other", "2026-11-22", "vero");
    store.put("data/day=2026-11-22/source=vero/object", others.into_bytes()).await;
    ids.sort();
    (store, ids)
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

fn envelopes(memory: &InMemoryQueue) -> Vec<Value> {
    memory.taken.borrow().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
}

fn sorted_ids(memory: &InMemoryQueue) -> Vec<String> {
    let mut ids: Vec<String> =
        envelopes(memory).iter().map(|envelope| envelope["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

const FOR_EVER: Duration = Duration::from_secs(100_000);

async fn run_once(request: &ReplayRequest, store: &Store, memory: &InMemoryQueue) -> ReplayCounts {
    let mut progress = ReplayProgress::new();
    let limit = TimeLimit::within(FOR_EVER);
    assert_eq!(run(request, &mut progress, store, memory, &limit).await.unwrap(), TaskOutcome::Done);
    progress.counts
}

#[test]
fn a_dry_run_counts_the_same_and_sends_nothing() {
    paused(async {
        let (store, ids) = archive(&[3, 4, 0, 5, 1]).await;
        let memory = InMemoryQueue::default();
        let dry = run_once(&request(json!({"dry_run": true})), &store, &memory).await;
        assert!(memory.taken.borrow().is_empty());
        assert_eq!((dry.scanned, dry.matched, dry.sent, dry.unreadable), (13, 13, 0, 0));
        let real = run_once(&request(json!({})), &store, &memory).await;
        assert_eq!(sorted_ids(&memory), ids);
        assert_eq!(real, ReplayCounts { sent: 13, ..dry });
        assert_eq!(real.by_type, BTreeMap::from([("opened".to_owned(), 5), ("track".to_owned(), 8)]));
    });
}

#[test]
fn only_the_destinations_of_an_envelope_change() {
    paused(async {
        let (store, _) = archive(&[0, 1]).await;
        let memory = InMemoryQueue::default();
        run_once(&request(json!({"destinations": ["segment"]})), &store, &memory).await;
        let expected = concat!(
            r#"{"version":1,"id":"e1-0","source":"vero","received_at":"2026-11-20T05:04:03.123Z","#,
            r#""destinations":["segment"],"payload":{"type":"opened","n":1.00,"text":"é\u2028"}}"#
        );
        assert_eq!(memory.taken.borrow()[0].1, expected);
    });
}

#[test]
fn new_ids_change_nothing_else_and_are_the_same_when_sent_twice() {
    paused(async {
        let (store, _) = archive(&[2, 2]).await;
        let request = request(json!({"new_ids": true}));
        let (memory, mut progress) = (InMemoryQueue::default(), ReplayProgress::new());
        let limit = TimeLimit::within(FOR_EVER);
        run(&request, &mut progress, &store, &memory, &limit).await.unwrap();
        // As if the invocation had been killed before it returned its progress.
        progress.cursor = None;
        run(&request, &mut progress, &store, &memory, &limit).await.unwrap();
        let all = envelopes(&memory);
        assert_eq!((all.len(), &all[..4]), (8, &all[4..]));
        let ids: HashSet<&str> = all.iter().map(|envelope| envelope["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 4);
        assert!(ids.iter().all(|id| id.len() == 36 && &id[14..15] == "7"), "{ids:?}");
        let received = all.iter().map(|envelope| envelope["received_at"].as_str().unwrap());
        assert!(received.into_iter().all(|at| at == "2026-11-20T05:04:03.123Z"));
    });
}

#[test]
fn two_events_of_one_id_are_two() {
    paused(async {
        let store = Store::in_memory();
        // As two mappings of one Webhooks destination send them.
        let one = row("a", "2026-11-20", "segment");
        let lines = [one.clone(), one.replace("track", "identify"), one].join("\n");
        store.put("data/day=2026-11-20/source=segment/1", lines.into_bytes()).await;
        let memory = InMemoryQueue::default();
        let request = request(json!({"destinations": ["vero_track"]}));
        assert_eq!(run_once(&request, &store, &memory).await.sent, 2);
        let kinds: Vec<Value> =
            envelopes(&memory).iter().map(|event| event["payload"]["type"].clone()).collect();
        assert_eq!(kinds, ["track", "identify"]);
    });
}

#[test]
fn a_row_that_is_there_twice_is_sent_once() {
    paused(async {
        let store = Store::in_memory();
        let lines = [row("a", "2026-11-20", "vero"), row("b", "2026-11-20", "vero")].join("\n");
        for object in ["1", "2"] {
            let key = format!("data/day=2026-11-20/source=vero/{object}");
            store.put(&key, format!("{lines}\n{lines}").into_bytes()).await;
        }
        let memory = InMemoryQueue::default();
        let counts = run_once(&request(json!({})), &store, &memory).await;
        assert_eq!(
            (counts.scanned, counts.matched, sorted_ids(&memory)),
            (8, 2, vec!["a".into(), "b".into()])
        );
    });
}

#[test]
fn unreadable_rows_are_counted_and_lose_no_others() {
    paused(async {
        let store = Store::in_memory();
        let prefix = "data/day=2026-11-20/source=vero/";
        let [a, b, c] = ["a", "b", "c"].map(|id| row(id, "2026-11-20", "vero"));
        let long = "x".repeat(MAX_LINE + 1);
        let odd = [a.as_bytes(), b"{}", b"\xff\xfe", long.as_bytes(), b.as_bytes()].join(&b'\n');
        store.put(&format!("{prefix}1"), odd).await;
        let compressed = gzip(format!("{}\n", row("z", "2026-11-20", "vero")).repeat(50).as_bytes());
        store.put(&format!("{prefix}2"), compressed[..compressed.len() - 5].to_vec()).await;
        store.put(&format!("{prefix}3"), c.into_bytes()).await;
        let memory = InMemoryQueue::default();
        let counts = run_once(&request(json!({})), &store, &memory).await;
        assert_eq!(counts.unreadable, 4, "three lines and an object");
        let ids = sorted_ids(&memory);
        assert!(["a", "b", "c"].iter().all(|id| ids.iter().any(|sent| sent == id)), "{ids:?}");
    });
}

#[test]
fn an_overwritten_object_is_read_from_its_beginning() {
    paused(async {
        let (store, _) = archive(&[0, 4]).await;
        let request = request(json!({"max_per_second": 1}));
        let (memory, mut progress) = (InMemoryQueue::default(), ReplayProgress::new());
        let limit = TimeLimit::within(Duration::from_secs(2));
        assert_eq!(
            run(&request, &mut progress, &store, &memory, &limit).await.unwrap(),
            TaskOutcome::TimeIsUp
        );
        let sent = sorted_ids(&memory);
        assert!((2..4).contains(&sent.len()), "{sent:?}");
        let rest = ["e1-0", "e1-3"].map(|id| row(id, "2026-11-20", "vero")).join("\n");
        store.put("data/day=2026-11-20/source=vero/object-1", rest.into_bytes()).await;
        let limit = TimeLimit::within(FOR_EVER);
        assert_eq!(run(&request, &mut progress, &store, &memory, &limit).await.unwrap(), TaskOutcome::Done);
        assert!(sorted_ids(&memory).contains(&"e1-3".to_owned()), "though fewer lines stand before it now");
    });
}

#[test]
fn a_result_of_athena_says_which_event_goes_where() {
    paused(async {
        let (store, _) = archive(&[2, 3]).await;
        let csv = "\"id\",\"received_at\",\"source\",\"type\",\"destination\",\"last_reason\"\n\
                   \"e1-0\",\"2026\",\"vero\",\"odd \"\"\n\ntype\",\"segment\",\n\
                   \"e1-1\",\"2026\",\"vero\",\"opened\",\"vero_track\",\"timeout\"\n\
                   \"e1-1\",\"2026\",\"vero\",\"opened\",\"segment\",\"timeout\"\n\
                   \"e1-2\",\"2026\",\"vero\",\"opened\",\"archive\",\"timeout\"\n\
                   \"e0-0\",\"2026\",\"segment\",\"track\",\"segment\",\n";
        store.put("athena/result.csv", csv.into()).await;
        let memory = InMemoryQueue::default();
        let request = request(json!({"result": "s3://archive/athena/result.csv"}));
        run_once(&request, &store, &memory).await;
        let sent = envelopes(&memory);
        let sent: BTreeMap<&str, &Value> = sent
            .iter()
            .map(|envelope| (envelope["id"].as_str().unwrap(), &envelope["destinations"]))
            .collect();
        let expected =
            BTreeMap::from([("e1-0", json!(["segment"])), ("e1-1", json!(["segment", "vero_track"]))]);
        assert_eq!(sent, expected.iter().map(|(id, names)| (*id, names)).collect());
        for csv in ["", "\"a\",\"b\"\n", "\"id\",\"destination\"\n\"e1"] {
            store.put("athena/result.csv", csv.into()).await;
            let limit = TimeLimit::within(FOR_EVER);
            let error = run(&request, &mut ReplayProgress::new(), &store, &memory, &limit).await.unwrap_err();
            assert!(matches!(error, ReplayError::AthenaResult(_)), "{error}");
        }
    });
}

/// Goes on until it is done, each time with the progress as it would come out of the queue.
async fn run_in_pieces(
    request: &ReplayRequest,
    store: &Store,
    memory: &InMemoryQueue,
    piece: Duration,
) -> ReplayCounts {
    let mut progress = ReplayProgress::new();
    for _ in 0..10_000 {
        let limit = TimeLimit::within(piece);
        let ended = run(request, &mut progress, store, memory, &limit).await;
        progress = serde_json::from_value(serde_json::to_value(&progress).unwrap()).unwrap();
        if matches!(ended, Ok(TaskOutcome::Done)) {
            return progress.counts;
        }
    }
    panic!("it never ends")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Handed over after any line, nothing is lost and nothing goes twice.
    #[test]
    fn handed_over_anywhere_each_event_is_sent_once(
        objects in proptest::collection::vec(0_usize..9, 1..8),
        per_second in 1_u32..6,
        piece in 0_u64..12_000,
    ) {
        paused(async {
            let (store, ids) = archive(&objects).await;
            let memory = InMemoryQueue::default();
            let request = request(json!({"max_per_second": per_second}));
            let counts = run_in_pieces(&request, &store, &memory, Duration::from_millis(piece)).await;
            prop_assert_eq!(sorted_ids(&memory), ids.clone());
            let total = ids.len() as u64;
            prop_assert_eq!((counts.scanned, counts.matched, counts.sent), (total, total, total));
            let taken = memory.taken.borrow();
            let last = taken.last().map_or(Duration::ZERO, |(at, _)| *at - taken[0].0);
            let at_least = (total as f64 - f64::from(per_second)) / f64::from(per_second);
            prop_assert!(last.as_secs_f64() + 0.01 >= at_least, "too fast: {last:?} for {total}");
            Ok(())
        })?;
    }

    /// Stopped by SQS at any call, it goes on where it was: nothing is lost, and what goes twice is the same.
    #[test]
    fn stopped_anywhere_nothing_is_lost(
        objects in proptest::collection::vec(0_usize..9, 1..8),
        per_second in 1_u32..6,
        refusals in proptest::collection::vec(0_usize..6, 0..40),
    ) {
        paused(async {
            let (store, ids) = archive(&objects).await;
            let memory = InMemoryQueue::default();
            *memory.refusals.borrow_mut() = refusals;
            let request = request(json!({"max_per_second": per_second}));
            run_in_pieces(&request, &store, &memory, FOR_EVER).await;
            let mut sent = sorted_ids(&memory);
            sent.dedup();
            prop_assert_eq!(sent, ids);
            let mut bodies: Vec<String> = memory.taken.take().into_iter().map(|(_, body)| body).collect();
            bodies.sort();
            bodies.dedup();
            let of_events: HashSet<&str> =
                bodies.iter().map(|body| body.split("\"source\"").next().unwrap()).collect();
            prop_assert_eq!(of_events.len(), bodies.len(), "copies are equal to the letter");
            Ok(())
        })?;
    }
}
