//! The built `worker` with an archive and a delivery log, which may be down like any other destination.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use harness::{ARCHIVE_STREAM, Behaviour, DELIVERIES_STREAM, EventSource, Fault, When};
use serde_json::{Value, json};

use crate::setup::{Setup, envelope, sent, setup_with};

/// A worker with everything on; `more` adds variables, and an empty one takes away.
async fn setup(more: &[(&str, &str)]) -> Setup {
    let both = [("ARCHIVE_STREAM", ARCHIVE_STREAM), ("DELIVERIES_STREAM", DELIVERIES_STREAM)];
    setup_with(&[&both, more].concat()).await
}

/// The rows of a stream, each of which is a line of its own.
fn rows(setup: &Setup, stream: &str) -> Vec<Value> {
    let lines = setup.sqs.records(stream).concat();
    assert!(lines.is_empty() || lines.ends_with('\n'));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// An envelope with a payload to the letter.
fn raw_envelope(id: &str, source: &str, payload: &str) -> String {
    format!(
        r#"{{"version":1,"id":"{id}","source":"{source}","received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
    )
}

/// What a delivery log says of an event: destinations with outcomes.
fn log_of(setup: &Setup, id: &str) -> BTreeMap<String, Value> {
    let rows = rows(setup, DELIVERIES_STREAM).into_iter().filter(|row| row["id"] == id);
    rows.map(|row| (row["destination"].as_str().unwrap().to_owned(), row["outcome"].clone())).collect()
}

fn is_of(stream: &'static str) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    move |request| request["DeliveryStreamName"] == stream
}

/// Every sample of `events/`, as it lies there.
fn samples() -> Vec<(&'static str, String)> {
    let mut samples = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = match name.split_once('-') {
            Some(("vero", _)) => "vero",
            Some(("segment", _)) => "segment",
            _ => continue,
        };
        samples.push((source, fs::read_to_string(&path).unwrap().trim_end().to_owned()));
    }
    samples.sort();
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_events_each_is_archived_to_the_letter() {
    let setup = setup(&[]).await;
    let samples = samples();
    let mut sent = BTreeMap::new();
    for number in 0..10_000 {
        let (source, sample) = &samples[number % samples.len()];
        let id = format!("e{number:05}");
        // No two alike.
        let payload = sample.replacen('{', &format!("{{ \"n\": {number}.50,"), 1);
        setup.queue.send(raw_envelope(&id, source, &payload)).unwrap();
        sent.insert(id, payload);
    }
    let source = EventSource { batch_size: 1_000, ..EventSource::default() };
    assert!(source.drain(&setup.worker, &setup.queue).await.empty);

    let archived: BTreeMap<String, String> = rows(&setup, ARCHIVE_STREAM)
        .into_iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["payload"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(archived.len(), setup.sqs.records(ARCHIVE_STREAM).len(), "none twice");
    assert!(archived == sent, "exactly these, to the letter");
    // Everything is settled at each destination that it has.
    let settled: BTreeSet<(String, String)> = rows(&setup, DELIVERIES_STREAM)
        .into_iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["destination"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = |id: &String, destination: &str| settled.contains(&(id.clone(), destination.to_owned()));
    let first_party = sent.iter().filter(|(id, _)| !wanted(id, "segment")).count();
    let all_first_party = (0..10_000).filter(|number| samples[number % samples.len()].0 == "segment").count();
    assert_eq!(first_party, all_first_party);
    assert!(
        sent.keys().all(|id| wanted(id, "archive") && (wanted(id, "vero_track") || wanted(id, "vero_tags")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_archive_is_down_the_others_go_on_and_then_it_catches_up() {
    let setup = setup(&[]).await;
    setup
        .sqs
        .fail(Fault::Status(503), When::always().operation("PutRecordBatch").body(is_of(ARCHIVE_STREAM)));
    let events: Vec<Value> = (0..40).map(|number| sent(&format!("e{number:02}"))).collect();
    setup.deliver(&events).await;
    assert_eq!((setup.segment.segment_messages().len(), setup.vero.vero_calls().len()), (40, 40));
    assert!(setup.sqs.records(ARCHIVE_STREAM).is_empty());
    let owed = setup.queue.messages();
    assert_eq!(owed.len(), 40);
    assert!(owed.iter().all(|copy| copy.json()["destinations"] == json!(["archive"])));
    assert_eq!(
        log_of(&setup, "e07"),
        BTreeMap::from(
            [("segment", "accepted"), ("vero_track", "accepted")]
                .map(|(name, outcome)| (name.to_owned(), json!(outcome)))
        )
    );

    setup.sqs.recover();
    assert!(EventSource::through_time().drain(&setup.worker, &setup.queue).await.empty);
    let archived = rows(&setup, ARCHIVE_STREAM);
    assert_eq!(ids(&archived).into_iter().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(archived.len(), 40);
    assert_eq!((setup.segment.segment_messages().len(), setup.vero.vero_calls().len()), (40, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_does_not_hold_up_the_archive() {
    let setup = setup(&[]).await;
    setup.segment.behave(Behaviour::status(503), When::always());
    setup.vero.behave(Behaviour::answer(422, "no"), When::always());
    setup.deliver(&[sent("e1")]).await;
    assert_eq!(ids(&rows(&setup, ARCHIVE_STREAM)), ["e1"]);
    let log = log_of(&setup, "e1");
    assert_eq!(
        log,
        BTreeMap::from([("archive".to_owned(), json!("accepted")), ("vero_track".to_owned(), json!("dead"))])
    );
    let dead = rows(&setup, DELIVERIES_STREAM).into_iter().find(|row| row["outcome"] == "dead").unwrap();
    assert_eq!((&dead["status"], &dead["attempt"], &dead["type"]), (&json!(422), &json!(1), &json!("sent")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_records_that_were_not_taken_are_put_again() {
    let setup = setup(&[]).await;
    let some = Fault::EntryFailure { entries: vec![0, 3], sender_fault: false };
    setup.sqs.fail(some.clone(), When::first(1).operation("PutRecordBatch").body(is_of(ARCHIVE_STREAM)));
    let events: Vec<Value> = (0..5).map(|number| sent(&format!("e{number}"))).collect();
    setup.deliver(&events).await;
    assert_eq!(ids(&rows(&setup, ARCHIVE_STREAM)), ["e1", "e2", "e4", "e0", "e3"]);
    assert!(setup.queue.messages().is_empty());

    // When they are refused again, they are owed, and they alone.
    setup.sqs.fail(some, When::always().operation("PutRecordBatch").body(is_of(ARCHIVE_STREAM)));
    setup.deliver(&["f0", "f1", "f2", "f3"].map(sent)).await;
    let owed = setup.queue.bodies();
    assert_eq!(ids(&owed), ["f0"], "the second call's first");
    assert_eq!(ids(&rows(&setup, ARCHIVE_STREAM))[5..], ["f1", "f2", "f3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_answers_is_understood() {
    for (fault, calls, reason) in [
        (Fault::Throttle, 2, "throttled"),
        (Fault::Status(500), 2, "server_error"),
        // Over the connection that the worker's start has kept, at once over a new one, and the second try.
        (Fault::Reset, 3, "connection_broken"),
        // A success that does not say of each record what became of it.
        (Fault::Answer(200, ""), 2, "answer_unread"),
        (Fault::Answer(200, "{}"), 2, "answer_unread"),
        (Fault::Answer(204, ""), 2, "answer_unread"),
        (Fault::Answer(200, r#"{"FailedPutCount":0,"RequestResponses":[{}]}"#), 2, "answer_unread"),
    ] {
        let setup = setup(&[("DELIVERIES_STREAM", "")]).await;
        setup.sqs.fail(fault, When::always().operation("PutRecordBatch"));
        setup.deliver(&[sent("e1")]).await;
        assert_eq!(setup.sqs.called("PutRecordBatch"), calls, "{reason}");
        let lines = setup.worker.log_entries();
        let owed = lines.iter().find(|line| line["message"] == "still owed").unwrap();
        assert_eq!((&owed["destination"], &owed["reason"]), (&json!("archive"), &json!(reason)));
    }
    // A stream that is not there is the operator's error: one call, and through the queue.
    let setup = setup(&[("ARCHIVE_STREAM", "nowhere"), ("DELIVERIES_STREAM", "")]).await;
    setup.deliver(&[sent("e1")]).await;
    assert_eq!((setup.sqs.called("PutRecordBatch"), setup.queue.messages().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_may_double_a_row_and_is_counted() {
    let setup = setup(&[]).await;
    setup.sqs.fail(Fault::LostAnswer, When::first(1).operation("PutRecordBatch").body(is_of(ARCHIVE_STREAM)));
    setup.deliver(&[sent("e1")]).await;
    let archived = rows(&setup, ARCHIVE_STREAM);
    assert_eq!((archived.len(), &archived[0]), (2, &archived[1]), "alike, so that a query can tell");
    let metrics = setup.worker.metrics().unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "ArchiveMaybeDoubled"), "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_keep_to_firehose_s_limits() {
    let setup = setup(&[("SEGMENT_WRITE_KEY", ""), ("VERO_AUTH_TOKEN_PARAMETER", "")]).await;
    // Escaped, a row is twice as large as what came.
    let large = |number: usize| {
        let text = "\\\"".repeat(60_000);
        raw_envelope(&format!("e{number}"), "vero", &format!(r#"{{"type":"sent","text":"{text}"}}"#))
    };
    setup.deliver(&(0..20).map(large).collect::<Vec<_>>()).await;
    assert_eq!(ids(&rows(&setup, ARCHIVE_STREAM)).len(), 20);
    assert_eq!(setup.sqs.called("PutRecordBatch"), 6, "five of them, and one of the delivery log");
    let too_large = raw_envelope("big", "vero", &format!(r#"{{"text":"{}"}}"#, "\\\"".repeat(300_000)));
    setup.deliver(&[too_large]).await;
    let [letter] = &setup.dead.messages()[..] else { panic!("one dead letter") };
    assert_eq!(
        (&letter.json()["destinations"], &letter.json()["reason"]),
        (&json!(["archive"]), &json!("too_large"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_alone_is_enough_for_both_sources() {
    let setup = setup(&[("SEGMENT_WRITE_KEY", ""), ("VERO_AUTH_TOKEN_PARAMETER", "")]).await;
    let identify = json!({"type": "identify", "userId": "u1", "traits": {"email": "a@b.cd"}});
    setup.deliver(&[sent("e1"), envelope("s1", "segment", identify)]).await;
    let rows = rows(&setup, ARCHIVE_STREAM);
    assert_eq!(ids(&rows), ["e1", "s1"]);
    assert_eq!(
        (&rows[1]["type"], &rows[1]["user_id"], &rows[1]["email"]),
        (&json!("identify"), &json!("u1"), &json!("a@b.cd"))
    );
    assert_eq!((setup.segment.count(), setup.vero.count(), setup.dead.messages().len()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_log_that_is_down_brings_nothing_back() {
    let setup = setup(&[]).await;
    setup
        .sqs
        .fail(Fault::Status(503), When::always().operation("PutRecordBatch").body(is_of(DELIVERIES_STREAM)));
    setup.deliver(&["e1", "e2"].map(sent)).await;
    assert!(setup.queue.messages().is_empty() && setup.dead.messages().is_empty());
    assert_eq!(ids(&rows(&setup, ARCHIVE_STREAM)), ["e1", "e2"]);
    let tries = setup.sqs.calls().iter().filter(|call| is_of(DELIVERIES_STREAM)(&call.request)).count();
    assert_eq!(tries, 2, "two quick tries");
    let metrics = setup.worker.metrics().unwrap();
    let unrecorded = metrics.iter().find(|metric| metric.name == "Unrecorded").unwrap();
    assert_eq!(unrecorded.values, [6.0], "two events, three destinations");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_is_in_the_delivery_log_with_the_reason() {
    let setup = setup(&[("VERO_TRACK_TYPES", "none")]).await;
    let event = sent("e1");
    setup.deliver(&[event.clone(), event]).await;
    let rows = rows(&setup, DELIVERIES_STREAM);
    let skipped: Vec<&Value> = rows.iter().filter(|row| row["outcome"] == "skipped").collect();
    assert!(!skipped.is_empty() && skipped.iter().all(|row| row["destination"] == "vero_track"), "{rows:?}");
    assert!(skipped.iter().all(|row| row["reason"] != "duplicate"), "a copy has the event's outcome");
    assert_eq!(ids(&self::rows(&setup, ARCHIVE_STREAM)), ["e1"]);
}
