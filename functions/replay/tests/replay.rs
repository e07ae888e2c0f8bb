//! The built `replay`, driven as Lambda drives it, beside stand-ins for S3, SQS and CloudWatch Logs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{
    Behaviour, Deadline, Fault, Function, FunctionError, Queue, QueueSettings, Receiver, S3, Sqs, When,
};
use serde_json::{Value, json};

struct Setup {
    sqs: Sqs,
    s3: S3,
    queue: Queue,
    own_queue: Queue,
    replay: Function,
}

async fn setup() -> Setup {
    let (sqs, s3) = (Sqs::start().await.unwrap(), S3::start().await.unwrap());
    let queue = sqs.queue("main", QueueSettings::default());
    let own_queue = sqs.queue("replay", QueueSettings::default());
    let environment = [
        ("AWS_ENDPOINT_URL", sqs.url()),
        ("AWS_ENDPOINT_URL_S3", &s3.url()),
        ("QUEUE_URL", &queue.url()),
        ("REPLAY_QUEUE_URL", &own_queue.url()),
        ("ARCHIVE_BUCKET", "archive"),
        ("INGEST_LOG_GROUP", "/aws/lambda/ingest"),
        ("METRICS_NAMESPACE", "replay-test"),
    ];
    let replay = Function::start(env!("CARGO_BIN_EXE_replay"), &environment).await.unwrap();
    Setup { sqs, s3, queue, own_queue, replay }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn row(id: &str, day: &str, user_id: &str) -> String {
    let payload = r#"{"type":"opened", "n":1.00,"user":{"id":12}}"#;
    let row = json!({
        "id": id, "_sequence": 1, "received_at": format!("{day}T05:04:03.123Z"), "source": "vero", "type": "opened",
        "user_id": user_id, "email": "steve@example.com", "place": 0, "through_segment": false, "payload": payload,
    });
    format!("{row}\n")
}

impl Setup {
    /// Seven objects of five rows on each of two days, every other one packed.
    fn archive(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for (day, object) in
            ["2026-11-20", "2026-11-21"].into_iter().flat_map(|day| (0..7).map(move |n| (day, n)))
        {
            let mut text = String::new();
            for number in 0..5 {
                let id = format!("{day}-{object}-{number}");
                text.push_str(&row(&id, day, &number.to_string()));
                ids.insert(id);
            }
            let key = format!("data/day={day}/source=vero/stream-{object}");
            self.s3.put(&key, if object % 2 == 0 { gzip(&text) } else { text.into_bytes() });
        }
        ids
    }

    fn sent(&self) -> Vec<Value> {
        self.queue.messages().iter().map(|message| message.json()).collect()
    }

    /// The error that it reports; empty when it reports none.
    async fn fails(&self, event: &Value) -> String {
        match self.replay.invoke(event).await {
            Err(FunctionError::Reported(report)) => report["errorMessage"].as_str().unwrap().to_owned(),
            _ => String::new(),
        }
    }

    /// Hands the one message of its own queue back to it, as the event source mapping does.
    async fn go_on(&self, taken: usize, deadline: Deadline) -> Value {
        let message = &self.own_queue.messages()[taken];
        let event = json!({"Records": [{"messageId": message.id, "body": message.body}]});
        self.replay.invoke_with(&event, deadline).await.unwrap()
    }
}

fn ids(envelopes: &[Value]) -> BTreeSet<String> {
    envelopes.iter().map(|envelope| envelope["id"].as_str().unwrap().to_owned()).collect()
}

fn request() -> Value {
    json!({"from": "2026-11-20", "to": "2026-11-22", "destinations": ["segment"], "max_per_second": 10_000})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_to_one_destination_dry_run_first() {
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
    assert!(setup.own_queue.messages().is_empty());

    let metrics = setup.replay.metrics().unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "Replayed" && metric.values == [35.0]), "{metrics:?}");
    let lines = setup.replay.log_entries();
    let last = lines.iter().rfind(|line| line["message"] == "done").unwrap();
    assert_eq!((&last["job"], &last["by_type"]["opened"]), (&json!("replay"), &json!(35)));
    assert!(lines.iter().all(|line| !line.to_string().contains('@')), "no address in the log: {lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_by_its_time_limit_it_goes_on_by_its_queue() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(7);
    // Of five seconds one half is kept for handing over.
    let short = Deadline::In(Duration::from_secs(5));
    let mut answer = setup.replay.invoke_with(&event, short).await.unwrap();
    let mut taken = 0;
    while answer["continues"] == true {
        assert_eq!(setup.own_queue.messages().len(), taken + 1);
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
async fn killed_it_goes_on_from_its_message() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(10);
    let answer = setup.replay.invoke_with(&event, Duration::from_secs(6)).await.unwrap();
    assert_eq!(answer["continues"], true);
    let before = setup.sent().len();
    let event = json!({"Records": [{"messageId": "m", "body": setup.own_queue.messages()[0].body}]});
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
async fn what_cannot_be_meant_is_refused_with_an_example() {
    let setup = setup().await;
    let error = setup.fails(&json!({"from": "2026-11-20", "destinations": ["segment"]})).await;
    assert!(error.contains("`to` is missing: a range without an end"), "{error}");
    let error =
        setup.fails(&json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["archive"]})).await;
    assert!(error.contains("`destinations` must be of segment"), "{error}");
    assert_eq!((setup.s3.calls().len(), setup.sqs.calls().len()), (0, 0), "before anything happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_sqs_does_not_take_it_it_says_where_to_go_on() {
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
    setup.sqs.heal();
    let answer = setup.replay.invoke(&json!({"request": event, "progress": progress})).await.unwrap();
    assert_eq!((&answer["sent"], &answer["continues"]), (&json!(70), &json!(false)));
    assert_eq!(ids(&setup.sent()), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_that_is_stopped_goes_on_by_itself_from_where_it_was() {
    let setup = setup().await;
    let all = setup.archive();
    let mut event = request();
    event["max_per_second"] = json!(30);
    let later = |body: &Value| body["Entries"].to_string().contains("2026-11-21");
    setup.sqs.fail(Fault::Status(503), When::always().operation("SendMessageBatch").body(later));
    let message = json!({"Records": [{"messageId": "m1", "body": json!({"request": event}).to_string()}]});
    let answer = setup.replay.invoke(&message).await.unwrap();
    assert_eq!(answer["continues"], true, "{answer}");
    let [again] = &setup.own_queue.messages()[..] else { panic!("one continuation") };
    assert_eq!((again.delay.as_secs(), &again.json()["failures"]), (30, &json!(1)));
    setup.sqs.heal();
    let message = json!({"Records": [{"messageId": "m2", "body": again.body}]});
    let answer = setup.replay.invoke(&message).await.unwrap();
    assert_eq!(answer["continues"], false, "{answer}");
    assert_eq!(ids(&setup.sent()), all, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_the_log_are_queued_once_and_not_when_archived() {
    let setup = setup().await;
    let day = "2026-11-20";
    let envelope = |id: &str| {
        format!(
            r#"{{"version":1,"id":"{id}","source":"vero","received_at":"{day}T05:04:03.123Z","payload":{{"type":"sent"}}}}"#
        )
    };
    let hours_ago = |hours: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_are_a_user_s_rows_and_no_others() {
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
    let packed = setup.s3.get("data/day=2026-11-20/source=vero/stream-0").unwrap();
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    assert_eq!(setup.s3.keys().len(), 14);
}

/// Words of others wherever they can come in: names of fields, a progress, a key, error codes of SQS and CloudWatch Logs,
/// types in the archive, and a caller's headers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_is_logged_word_for_word() {
    const FOREIGN: &str = "SPY-ana@example.org";
    let (aws, s3) = (Receiver::start().await.unwrap(), S3::start().await.unwrap());
    let refusal = json!({"__type": format!("com.amazonaws#{FOREIGN}"), "message": FOREIGN}).to_string();
    let refusal = Behaviour::answer(400, refusal)
        .with_header("x-amzn-query-error", &format!("{FOREIGN};Sender"))
        .with_header("x-amzn-errortype", FOREIGN);
    aws.behave(refusal, When::always());
    let environment = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("AWS_ENDPOINT_URL_S3", &s3.url()),
        ("QUEUE_URL", &format!("{}/1/main", aws.url())),
        ("REPLAY_QUEUE_URL", &format!("{}/1/replay", aws.url())),
        ("ARCHIVE_BUCKET", "archive"),
        ("INGEST_LOG_GROUP", "/aws/lambda/ingest"),
        ("RUST_LOG", "trace"),
    ];
    let replay = Function::start(env!("CARGO_BIN_EXE_replay"), &environment).await.unwrap();
    let odd = row("e1", "2026-11-20", "1").replace("opened", "SPY-TYPE");
    s3.put("data/day=2026-11-20/source=vero/stream-1", odd.into_bytes());
    s3.put(&format!("data/day=2026-11-21/source=vero/{FOREIGN}"), gzip("x")[..10].to_vec());

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
    assert!(lines.iter().all(|line| !line.contains("SPY") && !line.contains("ana@")), "{lines:#?}");
}
