//! The built `ingest` as Segment and its SDKs meet it.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::{
    BROWSER_KEY, CANARY, Fault, SEGMENT_TOKEN, UrlAnswer, WEBHOOK_TOKEN, WRITE_KEY, When, basic, digest,
};
use serde_json::{Value, json};

use crate::setup::{SITE, Setup, setup, setup_with};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Setup {
    async fn segment(&self, body: &str, signature: Option<&str>) -> UrlAnswer {
        let headers: Vec<(&str, &str)> =
            signature.iter().map(|signature| ("X-Signature", *signature)).collect();
        self.ask("POST", &format!("/segment/{SEGMENT_TOKEN}"), &headers, body.as_bytes()).await
    }

    fn counts(&self) -> (usize, usize) {
        (self.queue.messages().len(), self.dead.messages().len())
    }
}

fn is_success(answer: &UrlAnswer) -> bool {
    answer.status == 200
        && answer.header("content-type") == Some("application/json")
        && answer.body == br#"{"success":true}"#
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_and_every_place_of_the_key() {
    let setup = setup().await;
    let event = json!({"userId": "u", "event": "e", "previousId": "p", "messageId": "m"});
    let paths = "track identify page screen group alias t i p s g a";
    let mut sent = 0;
    for path in paths.split(' ') {
        assert!(is_success(&setup.sdk(WRITE_KEY, &format!("/v1/{path}"), &event.clone()).await), "{path}");
        sent += 1;
    }
    let batch = json!({"batch": [{"type": "page", "userId": "u"}]});
    for path in ["batch", "b", "import", "import/", "batch/"] {
        assert!(is_success(&setup.sdk(WRITE_KEY, &format!("/v1/{path}"), &batch.clone()).await), "{path}");
        sent += 1;
    }
    let in_body = json!({"writeKey": WRITE_KEY, "batch": [{"type": "page"}]}).to_string();
    let in_event = json!({"batch": [{"type": "page", "writeKey": WRITE_KEY}]}).to_string();
    let text_plain = [("content-type", "text/plain")];
    for (headers, body) in [(&text_plain[..], &in_body), (&[][..], &in_body), (&[][..], &in_event)] {
        assert!(is_success(&setup.ask("POST", "/v1/b", headers, body.as_bytes()).await), "{body}");
        sent += 1;
    }
    assert_eq!(setup.counts(), (sent, 0));
    assert!(setup.queue.bodies().iter().all(|envelope| {
        envelope["source"] == "segment"
            && !envelope.to_string().contains(WRITE_KEY)
            && envelope["type"].is_null()
    }));
    assert!(is_success(&setup.ask("POST", "/v1/m", &[], b"{}").await));
    assert_eq!(setup.counts(), (sent, 0), "what the SDK measures of itself is nobody's event");
    assert!(setup.ingest.logs().is_empty(), "{:?}", setup.ingest.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_has_its_own_tokens() {
    let setup = setup().await;
    for (path, headers) in [
        (format!("/segment/{WEBHOOK_TOKEN}"), vec![]),
        (format!("/segment/{WRITE_KEY}"), vec![]),
        ("/segment/".to_owned(), vec![]),
        (format!("/vero/{WRITE_KEY}"), vec![]),
        (format!("/vero/{BROWSER_KEY}"), vec![]),
        (format!("/segment/{BROWSER_KEY}"), vec![]),
        ("/v1/track".to_owned(), vec![("authorization", basic(SEGMENT_TOKEN))]),
        (format!("/vero/{SEGMENT_TOKEN}"), vec![]),
        ("/v1/track".to_owned(), vec![("authorization", basic(WEBHOOK_TOKEN))]),
        ("/v1/track".to_owned(), vec![("authorization", basic("CANARY-UNKNOWN"))]),
        ("/v1/track".to_owned(), vec![]),
        ("/v1/track".to_owned(), vec![("authorization", "Bearer CANARY".to_owned())]),
    ] {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = setup.ask("POST", &path, &headers, br#"{"event":"CANARY"}"#).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.json()["error"].is_string());
    }
    let answer = setup.ask("POST", "/v1/track", &[], b"{}").await.json();
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("unauthorized")));
    assert!(answer["message"].is_string() && answer["error"].is_string());
    assert_eq!(setup.counts(), (0, 0));
    assert!(!setup.ingest.logs().concat().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_set_up_is_not_there() {
    let off = [("SEGMENT_TOKEN_SHA256", ""), ("WRITE_KEY_SHA256", ""), ("BROWSER_KEY_SHA256", "")];
    let setup = setup_with(&off).await;
    for (method, path) in [
        ("POST", format!("/segment/{SEGMENT_TOKEN}")),
        ("GET", format!("/segment/{SEGMENT_TOKEN}")),
        ("POST", "/v1/track".to_owned()),
        ("OPTIONS", "/v1/track".to_owned()),
        ("POST", "/v1/m".to_owned()),
    ] {
        assert_eq!(setup.ask(method, &path, &[], b"{}").await.status, 404, "{method} {path}");
    }
    // Where somebody was meant to come in, whoever sends must send again once that is mended.
    let setup = setup_with(&[
        ("SEGMENT_TOKEN_SHA256", "hush"),
        ("WRITE_KEY_SHA256", "hush"),
        ("BROWSER_KEY_SHA256", ""),
    ])
    .await;
    for path in ["/segment/x", "/v1/track"] {
        let answer = setup.ask("POST", path, &[], b"{}").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{path}");
    }
    // And the other way round: without a token for webhooks the function starts all the same.
    let setup = setup_with(&[("WEBHOOK_TOKEN_SHA256", "")]).await;
    assert!(is_success(&setup.sdk(WRITE_KEY, "/v1/page", &json!({})).await));
    assert_eq!(setup.ask("POST", "/vero/x", &[], b"{}").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_s_own_forms() {
    let setup = setup().await;
    let event = r#"{"type":"track" ,"event":"e","messageId":"m","n":1.00}"#;
    for method in ["POST", "PUT", "PATCH"] {
        let answer = setup.ask(method, &format!("/segment/{SEGMENT_TOKEN}/"), &[], event.as_bytes()).await;
        assert!(is_success(&answer), "{method}");
    }
    assert!(is_success(&setup.segment(&format!("[{event},{event}]"), None).await));
    let envelopes = setup.queue.messages();
    assert_eq!(envelopes.len(), 5);
    for message in &envelopes {
        assert!(message.body.ends_with(&format!(r#""payload":{event}}}"#)), "{}", message.body);
        assert_eq!(message.json()["id"], envelopes[0].json()["id"], "a retry is the same event");
        assert_eq!(message.attributes.get("type").map(String::as_str), Some("track"));
    }
    assert_eq!(envelopes[0].json()["id"].as_str().unwrap().as_bytes()[14], b'8');
    for (method, path, status, allow) in [
        ("DELETE", format!("/segment/{SEGMENT_TOKEN}"), 405, Some("POST, PUT, PATCH")),
        ("GET", "/v1/track".to_owned(), 405, Some("POST, OPTIONS")),
        ("POST", "/v1/nonsense".to_owned(), 404, None),
    ] {
        let answer = setup.ask(method, &path, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        let answer = answer.json();
        assert_eq!(answer["success"], false);
        assert!(["code", "message", "error"].iter().all(|key| answer[key].is_string()), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_checked_over_the_bytes_that_segment_signs() {
    const FALSE: &str = "c702b94a2569dd8d2f7185ce0ae951021bef4706";
    const WHOLE_ARRAY: &str = "685cf04ec172d3adcac0b8f25c923bb4d56ed1eb";
    let setup = setup_with(&[("SEGMENT_SHARED_SECRET_PARAMETER", "/relay/shared-secret")]).await;
    for (body, signature, status) in [
        (r#"{"cool":true}"#, Some("5099cab379b3be52908387457007040cc934ef86"), 400),
        (r#"{"cool":false}"#, Some(FALSE), 400),
        (r#"{"cool":true}"#, Some(FALSE), 401),
        (r#"{"cool":false}"#, None, 401),
        (r#"[{"cool":false},{"cool":true}]"#, Some(FALSE), 200),
        (r#"[{"cool":false},{"cool":true}]"#, Some(WHOLE_ARRAY), 401),
        (r#"[{"cool":true},{"cool":false}]"#, Some(FALSE), 401),
        ("not JSON", Some(FALSE), 401),
    ] {
        assert_eq!(setup.segment(body, signature).await.status, status, "{body}");
    }
    assert_eq!(setup.counts(), (0, 4), "signed and no events of the spec: kept");
    assert_eq!(setup.sqs.called("GetParameters"), 1);

    // Whoever cannot check must not lose what may be right.
    let unreadable = [("SEGMENT_SHARED_SECRET_PARAMETER", "/nowhere")];
    let both =
        [("SEGMENT_SHARED_SECRET_PARAMETER", "/relay/shared-secret"), ("SEGMENT_SHARED_SECRET", "abc123")];
    for environment in [&unreadable[..], &both[..]] {
        let setup = setup_with(environment).await;
        let answer = setup.segment(r#"{"cool":false}"#, Some(FALSE)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
        assert!(setup.ingest.logs().concat().contains("SEGMENT_SHARED_SECRET"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_is_kept_and_takes_no_other_along() {
    let setup = setup().await;
    let batch =
        json!({"batch": [{"type": "page"}, 5, {"type": "nonsense"}, {"type": "track"}, {"type": "alias"}]});
    assert!(is_success(&setup.sdk(WRITE_KEY, "/v1/batch", &batch).await));
    assert_eq!(setup.counts(), (1, 4));
    for (path, body, code) in [
        ("/v1/track", json!({"userId": "u"}), "no_event_name"),
        ("/v1/alias", json!({"userId": "u"}), "no_previous_id"),
        ("/v1/batch", json!({}), "no_batch"),
        ("/v1/page", json!(5), "not_an_object"),
    ] {
        let answer = setup.sdk(WRITE_KEY, path, &body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some(code)), "{path}");
        let kept = setup.dead.bodies().pop().unwrap();
        assert_eq!((&kept["id"], &kept["reason"]), (&answer.json()["id"], &json!(code)));
    }
    let headers = [("authorization", basic(WRITE_KEY))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = setup.ask("POST", "/v1/batch", &headers, b"\xffnot JSON").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("not_json")));
    assert_eq!(setup.counts(), (1, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_may_only_track() {
    let setup = setup().await;
    let post = |path: &'static str, body: Value| {
        let setup = &setup;
        async move {
            let key = basic(BROWSER_KEY);
            let headers = [("authorization", key.as_str()), ("origin", SITE)];
            setup.ask("POST", path, &headers, body.to_string().as_bytes()).await
        }
    };
    for path in ["/v1/t", "/v1/p", "/v1/s"] {
        assert!(is_success(&post(path, json!({"event": "e"})).await), "{path}");
    }
    assert_eq!(setup.counts(), (3, 0));
    let unsubscribe = json!({"event": "Unsubscribe", "userId": "u"});
    let tags =
        json!({"event": "e", "userId": "u", "integrations": {"Vero": {"tags": {"add": ["unsubscribed"]}}}});
    for (path, body) in [
        ("/v1/i", json!({"userId": "u"})),
        ("/v1/g", json!({"userId": "u"})),
        ("/v1/a", json!({"userId": "u", "previousId": "p"})),
        ("/v1/t", unsubscribe.clone()),
        ("/v1/t", tags),
    ] {
        let answer = post(path, body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("not_allowed")), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(SITE), "its page may read why");
    }
    let batch =
        json!({"batch": [{"type": "page"}, {"type": "identify", "userId": "u"}, {"type": "delete"}, {}, 5]});
    assert!(is_success(&post("/v1/b", batch).await));
    assert_eq!(post("/v1/t", json!({"userId": "u"})).await.status, 400);
    assert_eq!(setup.counts(), (4, 0), "anyone may have the key: what is bad is not kept");
    let context = json!({"traits": {"email": "not.theirs@example.com"}});
    assert!(is_success(&post("/v1/t", json!({"event": "e", "userId": "u", "context": context})).await));
    assert!(!setup.queue.messages()[4].body.contains("not.theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_named_sites_may_send() {
    let setup = setup().await;
    let answer = setup.ask("OPTIONS", "/v1/t", &[("origin", SITE)], b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(SITE)));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let other = setup.ask("OPTIONS", "/v1/t", &[("origin", "https://evil.example.com")], b"").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (204, None));
    let key = basic(BROWSER_KEY);
    let headers = [("authorization", key.as_str()), ("origin", SITE)];
    let answer = setup.ask("POST", "/v1/p", &headers, b"{}").await;
    assert_eq!(
        (answer.header("access-control-allow-origin"), answer.header("vary")),
        (Some(SITE), Some("Origin"))
    );
    let nobody = setup_with(&[("CORS_ORIGINS", "")]).await;
    let answer = nobody.ask("OPTIONS", "/v1/t", &[("origin", SITE)], b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_is_unpacked_and_bounded() {
    let setup = setup().await;
    let body = gzip(json!({"writeKey": WRITE_KEY, "batch": [{"type": "page"}]}).to_string().as_bytes());
    for headers in [&[("content-encoding", "gzip")][..], &[]] {
        assert!(is_success(&setup.ask("POST", "/v1/b", headers, &body).await));
    }
    assert_eq!(setup.counts(), (2, 0));

    let bomb = gzip(&vec![b' '; 60 * 1024 * 1024]);
    let answer = setup.ask("POST", "/v1/b", &[("content-encoding", "gzip")], &bomb).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")));
    let peak = setup.ingest.peak_resident_kib().unwrap();
    assert!(peak < 32 * 1024, "{peak} KiB at the peak");
    // What a batch says for each of its events is no way round it.
    for (bytes, events) in [(100_000, 1_000), (300_000, 2_000)] {
        let batch = json!({"writeKey": BROWSER_KEY, "context": {"a": "x".repeat(bytes)}, "batch": vec![json!({"type": "page"}); events]});
        let answer = setup.ask("POST", "/v1/b", &[], &gzip(batch.to_string().as_bytes())).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")));
    }
    let peak = setup.ingest.peak_resident_kib().unwrap();
    assert!(peak < 64 * 1024, "{peak} KiB at the peak");
    let plain = json!({"writeKey": WRITE_KEY, "batch": [{"type": "page", "x": "x".repeat(6 * 1024 * 1024)}]});
    assert_eq!(setup.ask("POST", "/v1/b", &[], plain.to_string().as_bytes()).await.status, 413);
    assert_eq!(setup.segment(&plain.to_string(), None).await.status, 413);

    // What Lambda makes of gzip that it takes for text.
    let text = String::from_utf8_lossy(&body).into_owned();
    let answer = setup.ask("POST", "/v1/b", &[("content-encoding", "gzip")], text.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("gzip_as_text")));
    let key = basic(WRITE_KEY);
    let damaged = setup.ask("POST", "/v1/b", &[("authorization", &key)], &body[..body.len() / 2]).await;
    assert_eq!((damaged.status, damaged.json()["code"].as_str()), (400, Some("bad_gzip")));
    assert_eq!(setup.counts(), (2, 1));
}

/// A batch of so many events of 1 kB, as SDKs that name their key in the body alone write it: behind the events.
fn batch_before_key(key: &str, events: usize) -> Vec<u8> {
    let event = json!({"type": "page", "userId": "u", "x": "x".repeat(962)}).to_string();
    let events = vec![event; events].join(",");
    format!(r#"{{"batch":[{events}],"sentAt":"2026-11-21T05:04:03Z","writeKey":"{key}"}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_body_is_found_in_its_first_512_kib() {
    let setup = setup().await;
    let (sdk, longer) = (batch_before_key(WRITE_KEY, 520), batch_before_key(WRITE_KEY, 540));
    assert!((500_000..524_288).contains(&sdk.len()) && longer.len() > 524_288);
    let lines_before = setup.ingest.logs().len();
    for body in [sdk.clone(), gzip(&sdk)] {
        assert!(is_success(&setup.ask("POST", "/v1/b", &[], &body).await));
    }
    let queued = setup.counts().0;
    assert_eq!(queued, 2 * 520);
    // Beyond it is for those who say first who they are: by a header, or at the beginning.
    for body in [longer.clone(), gzip(&longer)] {
        let answer = setup.ask("POST", "/v1/b", &[], &body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")));
        assert!(answer.json()["error"].as_str().unwrap().contains("512 KiB"));
        let key = basic(WRITE_KEY);
        assert!(is_success(&setup.ask("POST", "/v1/b", &[("authorization", &key)], &body).await));
        let first = [format!(r#"{{"writeKey":"{WRITE_KEY}","#).as_bytes(), &longer[1..]].concat();
        assert!(is_success(&setup.ask("POST", "/v1/b", &[], &gzip(&first)).await));
    }
    assert_eq!(setup.counts(), (queued + 4 * 540, 0));
    let lines = &setup.ingest.log_entries()[lines_before..];
    assert!(
        lines.iter().all(|line| line["Unauthorized"] == 1 && line["reason"] == "body_too_large"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_known_key_sends_is_kept_wherever_it_names_the_key() {
    let setup = setup().await;
    let events = |count: usize| vec!["{}"; count].join(",");
    let broken = |key: &str| format!(r#"{{"writeKey":"{key}","batch":[{{"type":"page"}},{{"ty"#).into_bytes();
    let too_many = |key: &str| format!(r#"{{"batch":[{}],"writeKey":"{key}"}}"#, events(10_001)).into_bytes();
    let mut noise: Vec<u8> = Vec::new();
    while noise.len() < 200_000 {
        noise.extend_from_slice(digest(&noise.len().to_string()).as_bytes());
    }
    let damaged = |key: &str| {
        let body = gzip(&[broken(key), noise.clone()].concat());
        body[..body.len() - 20_000].to_vec()
    };
    let no_batch = |key: &str| format!(r#"{{"writeKey":"{key}"}}"#).into_bytes();
    let not_utf_8 =
        |key: &str| [br#"{"a":""#, &b"\xff"[..], format!(r#"","writeKey":"{key}"}}"#).as_bytes()].concat();
    type Body<'b> = &'b dyn Fn(&str) -> Vec<u8>;
    let cases: [(Body<'_>, u16, &str); 5] = [
        (&broken, 400, "not_json"),
        (&too_many, 413, "too_many_events"),
        (&damaged, 400, "bad_gzip"),
        (&no_batch, 400, "no_batch"),
        (&not_utf_8, 400, "not_json"),
    ];
    let mut kept = 0;
    for (body, status, code) in cases {
        let key = basic(WRITE_KEY);
        for headers in [&[][..], &[("authorization", key.as_str())]] {
            let answer = setup.ask("POST", "/v1/batch", headers, &body(WRITE_KEY)).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{headers:?}");
            kept += 1;
            let letters = setup.dead.bodies();
            assert_eq!(letters.len(), kept, "{code}");
            assert_eq!(
                (&letters[kept - 1]["id"], &letters[kept - 1]["reason"]),
                (&answer.json()["id"], &json!(code))
            );
        }
        assert_eq!(setup.ask("POST", "/v1/batch", &[], &body(BROWSER_KEY)).await.status, status, "{code}");
        assert_eq!(setup.ask("POST", "/v1/batch", &[], &body("CANARY-UNKNOWN")).await.status, 401, "{code}");
    }
    assert_eq!(setup.counts(), (0, kept), "of nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_key_has_nothing_unpacked() {
    let setup = setup().await;
    let peak = || setup.ingest.peak_resident_kib().unwrap();
    setup.ask("GET", "/health", &[], b"").await;
    let at_rest = peak();
    let spaces = vec![b' '; 6_000_000];
    let deep = vec![b'['; 6_000_000];
    let keys = format!("{{{}}}", vec![r#""a":1"#; 900_000].join(","));
    for (body, path) in [(&spaces[..], "/v1/batch"), (&deep, "/v1/t"), (keys.as_bytes(), "/v1/b")] {
        assert_eq!(setup.ask("POST", path, &[], &gzip(body)).await.status, 413, "{path}");
        let key = basic("CANARY-UNKNOWN");
        assert_eq!(setup.ask("POST", path, &[("authorization", &key)], &gzip(body)).await.status, 401);
    }
    let bomb = gzip(&spaces);
    for (path, status) in [("/vero/x", 401), ("/segment/x", 401), ("/v1/m", 200), ("/nowhere", 404)] {
        assert_eq!(setup.ask("POST", path, &[], &bomb).await.status, status, "{path}");
    }
    let more = peak() - at_rest;
    assert!(more < 4 * 1024, "{more} KiB more than at rest");
    assert_eq!(setup.counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_queued_is_asked_for_again() {
    let setup = setup().await;
    let batch: Vec<Value> =
        (0..25).map(|number| json!({"type": "page", "userId": "CANARY-USER", "messageId": number})).collect();
    setup.sqs.fail(Fault::EntryFailure { entries: vec![3], sender_fault: false }, When::first(1));
    assert!(
        is_success(&setup.sdk(WRITE_KEY, "/v1/batch", &json!({"batch": batch})).await),
        "SQS is asked again first"
    );
    assert_eq!(setup.counts(), (25, 0));
    setup.sqs.fail(Fault::EntryFailure { entries: vec![3], sender_fault: true }, When::always());
    let answer = setup.sdk(WRITE_KEY, "/v1/batch", &json!({"batch": batch})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_eq!(answer.json()["code"], "not_queued");
    let ids: std::collections::HashSet<String> =
        setup.queue.bodies().iter().map(|body| body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 25, "the second try made the same ids");
    let logs = setup.ingest.logs().concat();
    assert!(!logs.contains("unqueued_webhook") && !logs.contains(CANARY), "{logs}");
}

/// As many as a Webhooks destination sends at once, and as large as a Function URL takes.
fn four_thousand_events() -> String {
    let event = json!({"type": "track", "event": "e", "userId": "u", "properties": {"x": "y".repeat(1_400)}});
    Value::from(vec![event; 4_000]).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_keep_their_places() {
    let setup = setup().await;
    let event = json!({"type": "track", "event": "e", "userId": "u"});
    assert!(is_success(&setup.segment(&Value::from(vec![event; 500]).to_string(), None).await));
    assert_eq!(setup.counts(), (500, 0));
    let mut places: Vec<u64> =
        setup.queue.bodies().iter().map(|body| body["place"].as_u64().unwrap_or(0)).collect();
    places.sort_unstable();
    assert!(places.iter().copied().eq(0..500));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_comes_in_time_however_much_is_asked() {
    for fault in [Fault::Hang, Fault::Throttle] {
        let setup = setup().await;
        setup.sqs.fail(fault.clone(), When::always());
        let start = Instant::now();
        assert_eq!(setup.segment(&four_thousand_events(), None).await.status, 503);
        assert!(start.elapsed() < Duration::from_secs(4), "{fault:?}: {:?}", start.elapsed());
        assert!(setup.ingest.logs().len() < 5, "{:?}", setup.ingest.logs().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lesser_faults_of_the_configuration_are_logged_and_lose_nothing() {
    let faulty = [("WRITE_KEY_SHA256", "hush"), ("CORS_ORIGINS", "*")];
    let setup = setup_with(&faulty).await;
    assert!(is_success(&setup.segment(r#"{"type":"page"}"#, None).await));
    let logs = setup.ingest.logs().concat();
    assert!(logs.contains("WRITE_KEY_SHA256") && logs.contains("CORS_ORIGINS"), "{logs}");
    assert!(!logs.contains("hush"));
    // A key in two lists: the public one counts, and the log says so.
    let digest = digest(BROWSER_KEY);
    let setup = setup_with(&[("WRITE_KEY_SHA256", &digest)]).await;
    let key = basic(BROWSER_KEY);
    assert_eq!(setup.ask("POST", "/v1/i", &[("authorization", &key)], b"{}").await.status, 403);
    assert!(setup.ingest.logs().concat().contains("BROWSER_KEY_SHA256 holds too"));
}
