//! Metrics, traces, and a log that gives nothing away.

use std::collections::BTreeMap;

use harness::{
    Behaviour, CANARY, Fault, FunctionError, Receiver, SEGMENT_WRITE_KEY, VERO_AUTH_TOKEN, When, sqs_event,
};
use relay_core::timestamp::Timestamp;
use serde_json::{Value, json};

use super::{BLUEPRINT, credentials, setup, setup_with};
use crate::setup::{Setup, envelope, event, owed, sent};

impl Setup {
    /// The metrics of the last batch.
    fn metrics(&self) -> BTreeMap<String, (String, Vec<f64>)> {
        let metrics = harness::metrics(self.batches().last().unwrap()).unwrap();
        metrics.into_iter().map(|metric| (metric.name, (metric.unit, metric.values))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_has_all_of_a_batch() {
    let setup = setup_with(&[("METRICS_NAMESPACE", "relay-staging"), ("RUST_LOG", "error")]).await;
    // One event is refused for good, and one is taken although its answer is lost.
    let is_bad = |body: &Value| body.to_string().contains("\"bad\"");
    setup.vero.behave(Behaviour::status(422), When::always().body(is_bad));
    let is_doubled = |body: &Value| body.to_string().contains("\"doubled\"");
    setup.vero.behave(Behaviour::LostAnswer, When::first(1).body(is_doubled));
    setup.segment.behave(Behaviour::status(403), When::always());
    let with_tags = json!({"type": "identify", "userId": "u", "messageId": "m",
        "integrations": {"Vero": {"tags": {"add": ["a"]}}}});
    let nobody = envelope("nobody", "vero", json!({"type": "sent"})).to_string();
    let batch = [
        sent("good").to_string(),
        sent("bad").to_string(),
        sent("doubled").to_string(),
        nobody,
        envelope("tags", "segment", with_tags).to_string(),
        "poison".to_owned(),
        envelope("invalid", "segment", json!({"type": "nonsense"})).to_string(),
    ];
    setup.deliver(&batch).await;
    let metrics = setup.metrics();
    let counts = metrics.iter().filter(|(_, (unit, _))| unit == "Count");
    assert_eq!(
        counts.map(|(name, (_, values))| (name.clone(), values[0] as u64)).collect::<BTreeMap<_, _>>(),
        BTreeMap::from(
            [
                ("Messages", 7),
                ("Received", 4),
                ("Poison", 2),
                ("SegmentOwed", 4),
                ("SegmentCalls", 1),
                ("SegmentUnauthorized", 1),
                ("VeroTrackAccepted", 3),
                ("VeroTrackSkipped", 1),
                ("VeroTrackDead", 1),
                ("VeroTrackMaybeDoubled", 1),
                ("VeroTrackCalls", 5),
                ("VeroTagsAccepted", 1),
                ("VeroTagsCalls", 1),
            ]
            .map(|(name, count)| (name.to_owned(), count))
        )
    );
    assert_eq!(metrics["OldestOwed"].0, "Seconds");
    for (name, count) in [("VeroTrackLatency", 3), ("VeroTagsLatency", 1)] {
        let (unit, values) = &metrics[name];
        assert_eq!((unit.as_str(), values.len()), ("Milliseconds", count));
        assert!(values.iter().all(|value| (0.0..10_000.0).contains(value)), "{values:?}");
    }
    assert!(!metrics.contains_key("SegmentLatency"));

    let [line] = &setup.batches()[..] else { panic!("one line") };
    assert!(harness::metrics(line).unwrap().iter().all(|metric| metric.namespace == "relay-staging"));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    assert_eq!(line["level"], "INFO");
    assert!(line["duration_ms"].is_u64() && line["oldest_owed_s"].is_u64() && line["timestamp"].is_string());
    assert_eq!(
        line["reasons"],
        json!({
            "segment.owed.unauthorized": 4,
            "vero_track.dead.refused": 1,
            "vero_track.skipped.no_identity": 1,
        })
    );
    setup.no_secret_in_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_happen_is_not_logged() {
    let setup = setup().await;
    setup.deliver(&[owed("e1", &["segment"])]).await;
    let names: Vec<String> = setup.metrics().into_keys().collect();
    assert_eq!(names, ["Messages", "SegmentAccepted", "SegmentCalls", "SegmentLatency"]);
    let [line] = &setup.batches()[..] else { panic!("one line") };
    assert!(line.get("reasons").is_none() && line.get("oldest_owed_s").is_none());
    assert!(line.get("counts").is_none(), "the metrics say it all");
    assert_eq!(setup.worker.logs().len(), 1, "a batch that went well costs one line");

    assert_eq!(setup.worker.invoke(&json!({"Records": []})).await.unwrap(), json!({"batchItemFailures": []}));
    assert!(setup.batches()[1].get("_aws").is_none(), "no metric, no document");
}

/// A small project's batches are of one, and the log is what they cost most.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_batch_of_one_is_short() {
    let setup = setup().await;
    setup.deliver(&[sent("0193a5b0-0000-7000-8000-000000000001")]).await;
    let [line] = &setup.worker.logs()[..] else { panic!("one line") };
    // Of a stack whose name is as long as it may be, and after an hour.
    let more = 36 - "vero-relay".len() + 2 * "3600000".len();
    assert!(line.len() + more <= 800, "{} bytes: {line}", line.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_latencies_are_sampled_and_what_comes_back_is_counted() {
    let setup = setup().await;
    let events: Vec<Value> = (0..250).map(|index| sent(&format!("e{index:03}"))).collect();
    setup.deliver(&events).await;
    let metrics = setup.metrics();
    assert_eq!((metrics["SegmentAccepted"].1[0], metrics["VeroTrackCalls"].1[0]), (250.0, 250.0));
    assert_eq!((metrics["SegmentLatency"].1.len(), metrics["VeroTrackLatency"].1.len()), (100, 100));

    setup.sqs.fail(Fault::Status(500), When::always());
    setup.vero.behave(Behaviour::status(503), When::always());
    assert_eq!(setup.invoke(&[sent("e1").to_string(), "poison".to_owned()]).await.len(), 2);
    let counts = setup.counts();
    assert_eq!((counts["Returned"], counts["VeroTrackOwed"], counts["Poison"]), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_an_invocation_has_its_request_id() {
    let setup = setup_with(&[("RUST_LOG", "trace")]).await;
    setup.segment.behave(Behaviour::status(422), When::always());
    setup.vero.behave(Behaviour::status(401), When::always());
    let skipped = envelope("nobody", "vero", json!({"type": "sent"})).to_string();
    for _ in 0..2 {
        setup.deliver(&[&sent("e1").to_string(), &skipped, "poison"]).await;
    }
    // The runtime's own line on an error of ours has it too.
    setup.worker.invoke(&json!({"hello": "world"})).await.unwrap_err();
    let lines = setup.worker.log_entries();
    assert_eq!(lines.len(), setup.worker.logs().len(), "every line is JSON: {:?}", setup.worker.logs());
    let ids: Vec<&str> = lines.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids.len(), lines.len(), "{lines:?}");
    let mut distinct = ids.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{distinct:?}");
    for line in &lines {
        assert!(line["timestamp"].as_str().is_some_and(|time| Timestamp::parse(time).is_some()), "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_dead_letters_stay_in_their_message_s_trace() {
    const HEADER: &str = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1";
    let setup = setup().await;
    setup.segment.behave(Behaviour::status(422), When::always());
    setup.vero.behave(Behaviour::status(503), When::always());
    let later = sent("later").to_string().replace("\"version\":1", "\"version\":2");
    let mut event = event(&[sent("e1").to_string(), "poison".to_owned(), later, sent("e2").to_string()]);
    for record in [0, 1, 2] {
        event["Records"][record]["attributes"]["AWSTraceHeader"] = HEADER.into();
    }
    event["Records"][3]["attributes"]["AWSTraceHeader"] = "Root=nonsense".into();
    assert_eq!(setup.worker.invoke(&event).await.unwrap(), json!({"batchItemFailures": []}));
    for queue in [&setup.queue, &setup.dead] {
        let messages = queue.messages();
        assert_eq!(messages.len(), 3);
        for message in messages {
            let expected = (!message.body.contains("\"e2\"")).then_some(HEADER);
            assert_eq!(message.trace_header.as_deref(), expected, "{}", message.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_gives_nothing_away() {
    let echo = format!("{SEGMENT_WRITE_KEY} {} {VERO_AUTH_TOKEN} steve@example.com", credentials());
    let behaviours = [None, Some(Behaviour::answer(422, echo.clone())), Some(Behaviour::answer(401, echo))];
    let cases = behaviours.into_iter().flat_map(|behaviour| [(behaviour.clone(), false), (behaviour, true)]);
    let tasks: Vec<_> =
        cases.map(|(behaviour, fails)| tokio::spawn(gives_nothing_away(behaviour, fails))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn gives_nothing_away(behaviour: Option<Behaviour>, sqs_fails: bool) {
    let bodies = samples();
    let setup = setup_with(&[("RUST_LOG", "trace"), ("BLUEPRINT_PARAMETER", BLUEPRINT)]).await;
    if let Some(behaviour) = behaviour {
        setup.segment.behave(behaviour.clone(), When::always());
        setup.vero.behave(behaviour, When::always());
    }
    setup.invoke(&[""; 0]).await;
    if sqs_fails {
        setup.sqs.fail(Fault::Status(500), When::always());
    }
    // The second time the keys may be read again.
    for _ in 0..2 {
        setup.invoke(&bodies).await;
    }
    setup.no_secret_in_the_log();
    let (log, texts) = (setup.worker.logs(), texts(&bodies));
    assert!(log.len() > bodies.len() / 2, "{} lines", log.len());
    for line in log {
        assert!(!line.contains('@') && texts.iter().all(|text| !line.contains(text)), "{line}");
    }
}

/// Every sample of the repository as a message, and a body that is none.
fn samples() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
    let mut bodies = vec!["steve@example.com is no envelope".to_owned()];
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = match name.split('-').next() {
            Some(source @ ("vero" | "segment")) => source,
            _ => continue,
        };
        let payload = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        bodies.push(envelope(&format!("id-{}", bodies.len()), source, payload).to_string());
    }
    assert!(bodies.len() > 30, "{} samples", bodies.len());
    bodies
}

/// What events say, as far as it is long enough to be theirs alone.
fn texts(bodies: &[String]) -> Vec<String> {
    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::String(text) if text.chars().count() >= 12 => texts.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
            _ => (),
        }
    }
    let mut texts = Vec::new();
    for body in bodies.iter().filter_map(|body| serde_json::from_str::<Value>(body).ok()) {
        collect(&body["payload"], &mut texts);
    }
    texts
}

/// Words of others wherever they can come in: error codes of SQS, Firehose and SSM, a blueprint, ids and names in a
/// message, and a caller's headers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_is_logged_word_for_word() {
    const FOREIGN: &str = "CANARY-ana@example.org";
    let aws = Receiver::start().await.unwrap();
    let refusal = json!({"__type": format!("com.amazonaws#{FOREIGN}"), "message": FOREIGN}).to_string();
    let refusal = Behaviour::answer(400, refusal)
        .with_header("x-amzn-query-error", &format!("{FOREIGN};Sender"))
        .with_header("x-amzn-errortype", FOREIGN);
    aws.behave(refusal, When::always());
    let elsewhere = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("QUEUE_URL", &format!("{}/1/main", aws.url())),
        ("DEAD_LETTER_QUEUE_URL", &format!("{}/1/dead", aws.url())),
        ("SEGMENT_WRITE_KEY", SEGMENT_WRITE_KEY),
        ("SEGMENT_WRITE_KEY_PARAMETER", ""),
        ("VERO_AUTH_TOKEN_PARAMETER", ""),
        ("ARCHIVE_STREAM", "archive"),
        ("DELIVERIES_STREAM", "deliveries"),
        ("RUST_LOG", "trace"),
    ];
    let setup = setup_with(&elsewhere).await;
    let named = owed("e1", &[FOREIGN, "segment"]);
    let bodies = [
        sent("e0").to_string(),
        named.to_string(),
        FOREIGN.to_owned(),
        sent("CANARY ana@example.org").to_string(),
    ];
    let records: Vec<(&str, &str)> = bodies.iter().map(|body| (FOREIGN, body.as_str())).collect();
    let mut event = sqs_event(&records);
    event["Records"][0]["body"] = Value::Null;
    setup.worker.invoke(&event).await.unwrap();
    setup.invoke(&[sent("e0")]).await;
    assert!(setup.worker.invoke(&json!({FOREIGN: FOREIGN})).await.is_err());
    setup.worker.client_context(&format!("\"{FOREIGN}\""));
    assert!(matches!(setup.worker.invoke(&event).await, Err(FunctionError::Died(_))));
    let mut lines = setup.worker.logs();
    assert!(lines.len() >= 8, "{lines:?}");

    // What SSM holds or answers.
    let blueprint = format!(r#"{{"events":{{"{FOREIGN}":{{"rename":5}}}}}}"#);
    let mistaken = setup_with(&[("BLUEPRINT", &blueprint)]).await;
    let refused = setup_with(&[("AWS_ENDPOINT_URL_SSM", aws.url())]).await;
    for setup in [mistaken, refused] {
        let error = setup.worker.init_error().await.unwrap();
        lines.extend(setup.worker.logs());
        lines.push(error.body.to_string());
    }
    assert!(lines.iter().all(|line| !line.contains(CANARY) && !line.contains('@')), "{lines:#?}");
}
