//! What an operator has of the built `ingest`: one line of a request that did not go well, traces, a log that gives
//! nothing away, and answers that do not either.

use std::collections::BTreeMap;

use harness::{
    BROWSER_KEY, Behaviour, CANARY, Fault, FunctionError, Receiver, SEGMENT_TOKEN, UrlAnswer, WEBHOOK_TOKEN,
    WRITE_KEY, When, basic, digest, url_event,
};
use serde_json::{Value, json};

use crate::setup::{SHARED_SECRET, SITE, Setup, setup, setup_with};

const TRACE: &str = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1";

impl Setup {
    /// The lines since the last time, but for those that keep an unqueued webhook.
    fn new_lines(&self, seen: &mut usize) -> Vec<Value> {
        let lines = self.ingest.log_entries();
        assert_eq!(lines.len(), self.ingest.logs().len(), "every line is JSON");
        let new = lines[*seen..].to_vec();
        *seen = lines.len();
        new.into_iter().filter(|line| line["message"] != "unqueued_webhook").collect()
    }
}

/// An answer, its status, and the reason and counts of its line.
type Refused<'c> = (UrlAnswer, u16, &'c str, &'c [(&'c str, u64)]);

/// Method, path, headers and body of a request, and status and headers of its answer.
type Asked<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], &'c [u8], u16, &'c [&'c str]);

fn counts(line: &Value) -> BTreeMap<String, u64> {
    let metrics = harness::metrics(line).unwrap();
    assert!(
        metrics.iter().all(|metric| metric.unit == "Count" && metric.namespace == "vero-relay"),
        "{line}"
    );
    metrics.into_iter().map(|metric| (metric.name, metric.values[0] as u64)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_go_well_costs_one_line() {
    let setup = setup().await;
    let mut seen = 0;
    assert_eq!(setup.vero(br#"[{"type":"sent"},{}]"#).await.status, 202);
    assert_eq!(setup.sdk(WRITE_KEY, "/v1/batch", &json!({"batch": [{"type": "page"}]})).await.status, 200);
    assert!(setup.new_lines(&mut seen).is_empty(), "what went well costs none");

    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000));
    let many: Vec<Value> = (0..500).map(|number| json!(number)).collect();
    let forbidden = json!({"batch": [{"type": "page"}, {"type": "identify"}, {"type": "delete"}, 5]});
    let cases: [Refused<'_>; 8] = [
        (setup.vero(b"not JSON").await, 400, "not_json", &[("Refused", 1)]),
        (setup.vero(large.as_bytes()).await, 413, "too_large", &[("Refused", 1), ("Truncated", 1)]),
        (
            setup.vero(format!("[{{}},{large},{large}]").as_bytes()).await,
            413,
            "too_large",
            &[("Refused", 2), ("Truncated", 2)],
        ),
        (
            setup.sdk(WRITE_KEY, "/v1/batch", &json!({"batch": many})).await,
            200,
            "not_an_object",
            &[("Refused", 500)],
        ),
        (setup.sdk(BROWSER_KEY, "/v1/batch", &forbidden).await, 200, "not_allowed", &[("Refused", 3)]),
        (setup.sdk(WRITE_KEY, "/v1/batch", &json!({})).await, 400, "no_batch", &[("Refused", 1)]),
        (
            setup.sdk("CANARY-UNKNOWN", "/v1/batch", &json!({})).await,
            401,
            "unauthorized",
            &[("Unauthorized", 1)],
        ),
        (
            setup.ask("POST", "/vero/CANARY-UNKNOWN", &[], b"CANARY").await,
            401,
            "unauthorized",
            &[("Unauthorized", 1)],
        ),
    ];
    let lines = setup.new_lines(&mut seen);
    assert_eq!(lines.len(), cases.len(), "{lines:?}");
    for ((answer, status, reason, expected), line) in cases.into_iter().zip(&lines) {
        assert_eq!(answer.status, status, "{line}");
        let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!((counts(line), line["reason"].as_str()), (expected, Some(reason)), "{line}");
        assert_eq!(line["level"], "WARN");
        if answer.json()["id"].is_string() && status != 202 {
            assert_eq!(line["id"], answer.json()["id"], "{line}");
        }
    }
    // What an unauthorized caller can cause is small.
    assert!(lines.iter().rev().take(2).all(|line| line.to_string().len() < 400 && line.get("id").is_none()));
    assert!(!setup.ingest.logs().concat().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sqs_does_not_take_is_counted() {
    let setup = setup_with(&[("RUST_LOG", "error")]).await;
    let mut seen = 0;
    setup.sqs.fail(Fault::EntryFailure { entries: vec![1], sender_fault: true }, When::always());
    assert_eq!(setup.vero(br#"[{"n":0},{"n":1},{"n":2}]"#).await.status, 503);
    let batch = json!({"batch": [{"type": "page"}, {"type": "page"}]});
    assert_eq!(setup.sdk(WRITE_KEY, "/v1/batch", &batch).await.status, 503);
    setup.sqs.recover();
    setup.sqs.fail(Fault::Throttle, When::always().queue("dead"));
    assert_eq!(setup.vero(b"not JSON").await.status, 503);
    let lines = setup.new_lines(&mut seen);
    let logged: Vec<_> = lines.iter().map(|line| (counts(line), line["reason"].as_str())).collect();
    let unqueued = |count| ("Unqueued".to_owned(), count);
    assert_eq!(
        logged,
        [
            (BTreeMap::from([unqueued(1)]), None),
            (BTreeMap::from([unqueued(1)]), None),
            (BTreeMap::from([unqueued(1), ("Refused".to_owned(), 1)]), Some("not_json")),
        ]
    );
    assert!(lines.iter().all(|line| line["error"].is_string() && line["id"].is_string()), "{lines:?}");
    let kept = setup.ingest.log_entries().into_iter().filter(|line| line["message"] == "unqueued_webhook");
    let kept: Vec<Value> = kept.collect();
    assert_eq!(kept.len(), 2, "webhooks only");
    assert!(kept.iter().all(|line| line["level"] == "ERROR" && line.get("_aws").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_repair_and_bad_signatures_are_counted_too() {
    let setup = setup_with(&[
        ("SEGMENT_SHARED_SECRET_PARAMETER", "/relay/shared-secret"),
        ("METRICS_NAMESPACE", "AWS/Lambda"),
    ])
    .await;
    let mut seen = 0;
    let gzip_as_text = "\u{1f}\u{fffd}\u{8}\0";
    let headers = [("content-encoding", "gzip")];
    assert_eq!(setup.ask("POST", "/v1/b", &headers, gzip_as_text.as_bytes()).await.status, 400);
    let path = format!("/segment/{SEGMENT_TOKEN}");
    let answer = setup.ask("POST", &path, &[("x-signature", "5099")], br#"{"type":"page"}"#).await;
    assert_eq!(answer.status, 401);
    let lines = setup.new_lines(&mut seen);
    let [fault, gzip, signature] = &lines[..] else { panic!("{lines:?}") };
    assert!(fault["message"].as_str().unwrap().contains("METRICS_NAMESPACE"), "and the default is used");
    assert_eq!((counts(gzip), &gzip["reason"]), ([("Refused".into(), 1)].into(), &json!("gzip_as_text")));
    let unauthorized = [("Unauthorized".into(), 1)].into();
    assert_eq!((counts(signature), &signature["reason"]), (unauthorized, &json!("bad_signature")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_stays_in_its_request_s_trace() {
    let setup = setup().await;
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert_eq!(setup.queue.messages()[0].trace_header, None, "nobody traces");
    setup.ingest.trace(&format!("{TRACE};Lineage=1:a87bd80c:0"));
    assert_eq!(setup.vero(b"{}").await.status, 202);
    assert_eq!(setup.vero(b"[{},{}]").await.status, 202);
    assert_eq!(setup.vero(b"not JSON").await.status, 400);
    assert_eq!(setup.sdk(WRITE_KEY, "/v1/batch", &json!({"batch": [{"type": "page"}, 5]})).await.status, 200);
    let messages = [setup.queue.messages()[1..].to_vec(), setup.dead.messages()].concat();
    assert_eq!(messages.len(), 6);
    assert!(messages.iter().all(|message| message.trace_header.as_deref() == Some(TRACE)), "{messages:?}");
    let line = &setup.ingest.log_entries()[0];
    assert!(line["request_id"].as_str().is_some_and(|id| id.starts_with("8476a536-")), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_no_header_that_they_do_not_need() {
    let setup = setup().await;
    let key = basic(WRITE_KEY);
    let vero = format!("/vero/{WEBHOOK_TOKEN}");
    let page = br#"{"userId":"u"}"#;
    let json = "content-type=application/json";
    let preflight: &[&str] = &[
        "access-control-allow-headers=authorization, content-type, content-encoding, x-retry-count",
        "access-control-allow-methods=POST, OPTIONS",
        "access-control-allow-origin=https://shop.example.com",
        "access-control-max-age=86400",
        "vary=Origin",
    ];
    let site = ("origin", SITE);
    let authorization = ("authorization", key.as_str());
    let cases: [Asked<'_>; 13] = [
        ("GET", "/health", &[], b"", 200, &[json]),
        ("POST", &vero, &[], b"{}", 202, &[json]),
        ("POST", &vero, &[], b"", 400, &[json]),
        ("POST", "/vero/x", &[], b"", 401, &[json]),
        ("GET", "/vero/x", &[], b"", 405, &["allow=POST", json]),
        ("GET", "/nowhere", &[], b"", 404, &[json]),
        ("POST", &format!("/segment/{SEGMENT_TOKEN}"), &[], br#"{"type":"page"}"#, 200, &[json]),
        ("POST", "/v1/p", &[authorization], page, 200, &[json, "vary=Origin"]),
        (
            "POST",
            "/v1/p",
            &[authorization, site],
            page,
            200,
            &["access-control-allow-origin=https://shop.example.com", json, "vary=Origin"],
        ),
        ("POST", "/v1/p", &[("origin", "https://evil.example.com")], page, 401, &[json, "vary=Origin"]),
        ("OPTIONS", "/v1/p", &[site], b"", 204, preflight),
        ("OPTIONS", "/v1/p", &[("origin", "https://evil.example.com")], b"", 204, &["vary=Origin"]),
        ("POST", "/v1/m", &[], b"{}", 200, &[json, "vary=Origin"]),
    ];
    for (method, path, headers, body, status, expected) in cases {
        let answer = setup.ask(method, path, headers, body).await;
        assert_eq!((answer.status, headers_of(&answer)), (status, expected.join(" | ")), "{method} {path}");
    }
    setup.sqs.fail(Fault::Throttle, When::always());
    let answer = setup.vero(b"{}").await;
    assert_eq!((answer.status, headers_of(&answer)), (503, format!("{json} | retry-after=5")));
}

fn headers_of(answer: &UrlAnswer) -> String {
    let mut headers: Vec<String> =
        answer.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    headers.sort();
    headers.join(" | ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_gives_nothing_away() {
    let faults = [None, Some(Fault::Throttle), Some(Fault::Reset)];
    let cases = faults.into_iter().flat_map(|fault| [(fault.clone(), false), (fault, true)]);
    let tasks: Vec<_> =
        cases.map(|(fault, signed)| tokio::spawn(gives_nothing_away(fault, signed))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn gives_nothing_away(fault: Option<Fault>, signed: bool) {
    let samples = samples();
    let secret = if signed { "/relay/shared-secret" } else { "" };
    let setup = setup_with(&[("RUST_LOG", "trace"), ("SEGMENT_SHARED_SECRET_PARAMETER", secret)]).await;
    setup.ask("GET", "/health", &[], b"").await;
    match &fault {
        Some(fault) => setup.sqs.fail(fault.clone(), When::always()),
        None => {
            let refused = Fault::EntryFailure { entries: vec![0], sender_fault: true };
            setup.sqs.fail(refused, When::every(2));
            for sample in &samples {
                setup.vero(sample.to_string().as_bytes()).await;
            }
        }
    }
    let all = Value::from(samples.clone());
    let bodies = [
        all.to_string(),
        json!({"batch": all, "writeKey": WRITE_KEY}).to_string(),
        "steve@example.com is not JSON".to_owned(),
    ];
    for path in [
        format!("/vero/{WEBHOOK_TOKEN}"),
        format!("/segment/{SEGMENT_TOKEN}"),
        "/v1/batch".to_owned(),
        "/vero/CANARY-UNKNOWN".to_owned(),
    ] {
        for (key, body) in [WRITE_KEY, BROWSER_KEY, "CANARY-UNKNOWN"].iter().zip(&bodies) {
            let headers = [("authorization", basic(key)), ("x-signature", "5099".repeat(10))];
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            setup.ask("POST", &path, &headers, body.as_bytes()).await;
        }
    }
    let secrets = [WEBHOOK_TOKEN, SEGMENT_TOKEN, WRITE_KEY, BROWSER_KEY, SHARED_SECRET];
    let secrets = secrets.map(|secret| [secret.to_owned(), digest(secret), basic(secret)]).concat();
    let texts = texts(&samples);
    let lines = setup.ingest.log_entries().into_iter().filter(|line| line["message"] != "unqueued_webhook");
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    assert!(lines.len() >= 7, "{lines:?}");
    for line in lines {
        assert!(!line.contains('@') && !line.contains(CANARY), "{line}");
        assert!(secrets.iter().chain(&texts).all(|text| !line.contains(text.as_str())), "{line}");
    }
}

/// Words of others wherever they can come in: error codes of SQS, of its entries and of SSM, and a caller's headers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_is_logged_word_for_word() {
    const FOREIGN: &str = "CANARY-ana@example.org";
    let aws = Receiver::start().await.unwrap();
    let refusal = json!({"__type": format!("com.amazonaws.sqs#{FOREIGN}"), "message": FOREIGN}).to_string();
    let refusal = Behaviour::answer(400, refusal)
        .with_header("x-amzn-query-error", &format!("{FOREIGN};Sender"))
        .with_header("x-amzn-errortype", FOREIGN);
    let entry = json!({"Id": "0", "Code": FOREIGN, "Message": FOREIGN, "SenderFault": true});
    let entries = json!({"Successful": [], "Failed": [entry]}).to_string();
    aws.behave(refusal, When::always());
    let elsewhere = [
        ("AWS_ENDPOINT_URL", aws.url()),
        ("QUEUE_URL", &format!("{}/1/main", aws.url())),
        ("DEAD_LETTER_QUEUE_URL", &format!("{}/1/dead", aws.url())),
        ("SEGMENT_SHARED_SECRET_PARAMETER", "/relay/shared-secret"),
        ("RUST_LOG", "trace"),
    ];
    let setup = setup_with(&elsewhere).await;
    assert_eq!(setup.vero(b"{}").await.status, 503);
    assert_eq!(setup.vero(b"[{},{}]").await.status, 503);
    aws.behave(Behaviour::answer(200, entries), When::first(1));
    assert_eq!(setup.vero(b"[{},{}]").await.status, 503);
    let path = format!("/segment/{SEGMENT_TOKEN}");
    let signed = [("x-signature", "5099cab379b3be52908387457007040cc934ef86")];
    assert_eq!(setup.ask("POST", &path, &signed, b"{}").await.status, 503);
    for context in
        [format!("\"{FOREIGN}\""), format!(r#"{{"client":{{"installation_id":{{"{FOREIGN}":1}}}}}}"#)]
    {
        setup.ingest.client_context(&context);
        let response = setup.ingest.invoke(&url_event("GET", "/health", "", &[], b"", false)).await;
        assert!(matches!(response, Err(FunctionError::Died(_))), "{response:?}");
    }
    let lines = setup.ingest.log_entries().into_iter().filter(|line| line["message"] != "unqueued_webhook");
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(CANARY) && !line.contains('@')), "{lines:?}");
}

/// Every sample of the repository that somebody posts.
fn samples() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
    let mut samples = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name.starts_with("vero-") || name.starts_with("segment-") {
            samples.push(serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
    assert!(samples.len() > 30, "{} samples", samples.len());
    samples
}

/// What events say, as far as it is long enough to be theirs alone.
fn texts(samples: &[Value]) -> Vec<String> {
    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::String(text) if text.chars().count() >= 12 => texts.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
            _ => (),
        }
    }
    let mut texts = Vec::new();
    samples.iter().for_each(|sample| collect(sample, &mut texts));
    texts
}
