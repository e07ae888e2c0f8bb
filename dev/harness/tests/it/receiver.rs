//! The misbehaving destination, spoken to by hand.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::{Behaviour, Receiver, When};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw;

const TRACK: &str = "/api/v2/events/track";

async fn post(receiver: &Receiver, path: &str, body: &Value) -> Result<raw::Response, std::io::Error> {
    raw::call(receiver.url(), "POST", path, &[], body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_like_segment_and_vero_and_records_what_it_took() {
    let receiver = Receiver::start().await.unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(json!({"batch": [{"messageId": "1"}, {"messageId": "2"}]}).to_string().as_bytes())
        .unwrap();
    let headers = [("Content-Encoding", "gzip"), ("Authorization", "Basic eA==")];
    let answer =
        raw::call(receiver.url(), "POST", "/v1/batch", &headers, gzip.finish().unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.json), (200, json!({"success": true})));
    assert_eq!(receiver.segment_messages(), [json!({"messageId": "1"}), json!({"messageId": "2"})]);
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Basic eA=="));

    let answer = post(&receiver, TRACK, &json!({"event_name": "a"})).await.unwrap();
    assert_eq!(answer.json, json!({"status": 200, "message": "Success."}));
    assert_eq!(receiver.vero_calls(), [(TRACK.to_owned(), json!({"event_name": "a"}))]);
    assert_eq!((receiver.connections(), receiver.count()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaves_towards_whom_it_should() {
    let receiver = Receiver::start().await.unwrap();
    let bad = json!({"name": "bad"});
    receiver.behave(Behaviour::status(400), When::always().path("/api").body(|body| body["name"] == "bad"));
    let busy = Behaviour::status(429).with_header("retry-after", "7");
    receiver.behave(busy, When::first(1).path("/v1"));
    assert_eq!(post(&receiver, TRACK, &bad).await.unwrap().status, 400);
    assert_eq!(post(&receiver, TRACK, &json!({"name": "good"})).await.unwrap().status, 200);
    let answer = post(&receiver, "/v1/batch", &bad).await.unwrap();
    assert!(answer.status == 429 && answer.head.contains("retry-after: 7"));
    assert_eq!(post(&receiver, "/v1/batch", &bad).await.unwrap().status, 200);

    receiver.recover();
    receiver.clear();
    receiver.behave(Behaviour::answer(200, r#"{"status":401}"#), When::first(1));
    assert_eq!(post(&receiver, TRACK, &bad).await.unwrap().status, 200);
    assert!(receiver.accepted().is_empty());
    receiver.behave(Behaviour::Redirect("http://127.0.0.1:1/".to_owned()), When::first(1));
    assert_eq!(post(&receiver, TRACK, &bad).await.unwrap().status, 302);
    receiver.behave(Behaviour::WrongContentType, When::first(1));
    assert_eq!(post(&receiver, TRACK, &bad).await.unwrap().json, Value::Null);
    receiver.behave(Behaviour::Slow(Duration::from_millis(50)), When::first(1));
    assert_eq!(post(&receiver, TRACK, &bad).await.unwrap().status, 200);
    assert_eq!((receiver.count(), receiver.accepted().len()), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn breaks_connections() {
    let receiver = Receiver::start().await.unwrap();
    for (behaviour, accepted) in
        [(Behaviour::Reset, 0), (Behaviour::LostAnswer, 1), (Behaviour::ResetMidAnswer, 2)]
    {
        receiver.recover();
        receiver.behave(behaviour, When::always());
        let error = post(&receiver, TRACK, &json!({})).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(receiver.accepted().len(), accepted);
    }
    let start = start_of_answer(&receiver).await;
    assert!(start.starts_with("HTTP/1.1 200 OK") && start.contains("\r\n\r\n{\""), "{start}");

    receiver.recover();
    for behaviour in [Behaviour::Hang, Behaviour::Drip, Behaviour::EndlessBody] {
        receiver.behave(behaviour, When::always());
        let answer = post(&receiver, TRACK, &Value::Null);
        assert!(tokio::time::timeout(Duration::from_millis(100), answer).await.is_err());
    }
}

async fn start_of_answer(receiver: &Receiver) -> String {
    let mut stream = TcpStream::connect(receiver.url().trim_start_matches("http://")).await.unwrap();
    let request = format!("POST {TRACK} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut start).await {}
    String::from_utf8(start).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_the_connections_that_were_kept_at_their_next_request() {
    let receiver = Receiver::start().await.unwrap();
    let mut kept = TcpStream::connect(receiver.url().trim_start_matches("http://")).await.unwrap();
    let request = format!("POST {TRACK} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    kept.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Head and body may come apart.
    while !answer.ends_with(b"}") {
        assert!(kept.read_buf(&mut answer).await.unwrap() > 0);
    }
    receiver.go_stale().await;
    assert!(kept.write_all(request.as_bytes()).await.is_ok(), "it cannot know yet");
    assert_eq!(kept.read_buf(&mut answer).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(receiver.count(), 1, "and the destination saw nothing");
    assert_eq!(post(&receiver, TRACK, &json!({})).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_a_body_long_after_its_head() {
    let receiver = Receiver::start().await.unwrap();
    let late = Duration::from_millis(200);
    receiver.behave(Behaviour::answer(200, "{}").with_body_after(late), When::always());
    let start = std::time::Instant::now();
    assert_eq!(post(&receiver, TRACK, &json!({})).await.unwrap().json, json!({}));
    assert!(start.elapsed() >= late);
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_its_port_and_opens_it_again() {
    let receiver = Receiver::start().await.unwrap();
    assert_eq!(post(&receiver, TRACK, &json!({})).await.unwrap().status, 200);
    receiver.refuse().await.unwrap();
    let error = post(&receiver, TRACK, &json!({})).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    receiver.reopen().await.unwrap();
    assert_eq!(post(&receiver, TRACK, &json!({})).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 2);
}
