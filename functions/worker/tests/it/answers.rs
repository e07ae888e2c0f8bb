//! The built `worker` and a Vero that says no in the body of a 200, in whatever form that comes.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::{Behaviour, When};
use serde_json::{Value, json};

use crate::setup::{Setup, owed, setup};

const NO: &str = r#"{"status":422,"message":"Invalid"}"#;

fn gzipped(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn said(body: impl Into<Vec<u8>>) -> Behaviour {
    Behaviour::answer(200, body.into())
}

impl Setup {
    /// Delivers one event to a Vero that behaves so.
    async fn deliver_to(&self, id: &str, behaviour: Behaviour) {
        self.vero.recover();
        self.vero.behave(behaviour, When::always());
        assert!(self.invoke(&[owed(id, &["vero_track"])]).await.is_empty(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_inside_a_200_is_one_in_whatever_form_it_comes() {
    let filler = "x".repeat(17_000);
    let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
    let setup = setup().await;
    let forms = [
        ("plain", said(NO)),
        ("late", said(NO).with_body_after(Duration::from_millis(1_500))),
        ("long-before", said(format!(r#"{{"a":"{filler}","status":422}}"#))),
        ("long-behind", said(format!(r#"{{"status":422,"a":"{filler}"}}"#))),
        ("after-a-byte-order-mark", said(format!("\u{FEFF}{NO}"))),
        ("gzip", said(gzipped(NO)).with_header("content-encoding", "gzip")),
        ("gzip-without-a-word", said(gzipped(NO))),
        ("deep", said(format!(r#"{{"a":{open}{close},"status":422}}"#))),
        ("beside-a-lone-surrogate", said(r#"{"message":"\ud83d","status":422}"#)),
        ("beside-a-number-beyond-all", said(r#"{"n":1e400,"status":422}"#)),
        ("beside-what-is-no-utf8", said(b"{\"message\":\"caf\xe9\",\"status\":422}")),
        ("in-another-spelling", said(r#"{"status":4.22e2}"#)),
        ("the-last-of-two", said(r#"{"status":200,"status":422}"#)),
    ];
    for (number, (form, behaviour)) in forms.into_iter().enumerate() {
        setup.deliver_to(form, behaviour).await;
        let dead = setup.dead.bodies();
        assert_eq!(dead.len(), number + 1, "{form}");
        let letter = &dead[number];
        assert_eq!(
            (&letter["id"], &letter["reason"], &letter["status"]),
            (&json!(form), &json!("refused"), &json!(422))
        );
    }
    assert!(setup.queue.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_whole_answer_is_a_yes() {
    let setup = setup().await;
    for (form, behaviour) in [
        ("nothing", said("")),
        ("a-page", said("<html>Welcome</html>")),
        ("half-of-it-JSON", said(r#"{"status":422"#)),
        ("a-text", said(r#"{"status":"422"}"#)),
        ("an-array", said("[422]")),
        ("another-2xx", Behaviour::answer(204, "")),
        ("late", said(r#"{"status":200}"#).with_body_after(Duration::from_millis(1_500))),
    ] {
        setup.deliver_to(form, behaviour).await;
        assert!(setup.queue.messages().is_empty() && setup.dead.bodies().is_empty(), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_in_full_is_no_yes() {
    let half = gzipped(&NO.repeat(100));
    let forms = [
        ("broken-off", Behaviour::ResetMidAnswer),
        ("without-an-end-in-time", Behaviour::Drip),
        ("without-an-end", Behaviour::EndlessBody),
        ("later-than-any-answer", said(NO).with_body_after(Duration::from_secs(20))),
        ("half-a-gzip", said(&half[..half.len() / 2])),
        ("a-gzip-of-too-much", said(gzipped(&" ".repeat(2_000_000)))),
        ("in-a-coding-that-nobody-asked-for", said("xyz").with_header("content-encoding", "br")),
    ];
    let tasks = forms.map(|(form, behaviour)| tokio::spawn(is_owed(form, behaviour)));
    for task in tasks {
        task.await.unwrap();
    }
}

async fn is_owed(form: &'static str, behaviour: Behaviour) {
    let setup = setup().await;
    setup.deliver_to(form, behaviour).await;
    let copies: Vec<Value> = setup.queue.bodies().iter().map(|copy| copy["destinations"].clone()).collect();
    assert_eq!((copies, setup.dead.bodies().len()), (vec![json!(["vero_track"])], 0), "{form}");
    let lines = setup.worker.log_entries();
    let line = lines.iter().find(|line| line["message"] == "still owed").unwrap();
    assert_eq!(line["reason"], "answer_unread", "{form}");
    // It began with a yes, so that Vero may well have the event.
    assert!(setup.worker.logs().concat().contains("VeroTrackMaybeDoubled"), "{form}");
}
