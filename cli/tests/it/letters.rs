//! `relay letters redrive`, killed at each call at which it could lose a letter.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use local::{Stack, http};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::relay::start;
use crate::{DEADLINE_AFTER, ONE_AT_A_TIME};

const LETTERS: usize = 1_000;
/// The call at which the command is killed: its name, and whether SQS has done it by then.
const KILLS: [(&str, bool); 4] = [
    ("SendMessageBatch", false),
    ("SendMessageBatch", true),
    ("DeleteMessageBatch", false),
    ("DeleteMessageBatch", true),
];
/// It has redriven some by then.
const AT_CALL: usize = 4;

/// Stands between the command and the stack, and lets every call pass but one.
#[derive(Default)]
struct Between {
    state: Mutex<State>,
    /// The one call has come.
    has_come: Notify,
}

#[derive(Default)]
struct State {
    kill: Option<(&'static str, bool)>,
    calls: usize,
    /// Of the letters that the command has received.
    receipts: HashSet<String>,
}

impl Between {
    /// Serves it, and tells of it in a folder for `--local`.
    async fn start(stack: &Stack) -> Result<(Arc<Self>, tempfile::TempDir)> {
        let (listener, address) = http::listen(None).await?;
        let aws = stack.aws();
        let between = Arc::new(Between::default());
        let this = Arc::clone(&between);
        http::serve(listener, move |request| {
            let this = Arc::clone(&this);
            async move { this.pass(aws, request).await }
        });
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("local"))?;
        let running = json!({"aws": format!("http://{address}"), "region": "us-east-1", "url": stack.host(), "token": ""});
        fs::write(folder.path().join("local/running.json"), running.to_string())?;
        Ok((between, folder))
    }

    async fn pass(&self, aws: std::net::SocketAddr, mut request: http::Request) -> http::Response {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let call = target.unwrap_or_default().trim_start_matches("AmazonSQS.").to_owned();
        let kill = self.kill_at(&call);
        if kill == Some(false) {
            self.hold().await;
        }
        request.headers_mut().remove("content-length");
        let Ok(mut answer) = http::send(aws, request).await else { return http::response(502, "") };
        if kill == Some(true) {
            self.hold().await;
        }
        if call == "ReceiveMessage" {
            let received: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let messages = received["Messages"].as_array().into_iter().flatten();
            let receipts = messages.filter_map(|message| message["ReceiptHandle"].as_str());
            self.state().receipts.extend(receipts.map(str::to_owned));
        }
        for name in ["content-length", "transfer-encoding", "connection"] {
            answer.headers_mut().remove(name);
        }
        answer
    }

    /// Whether the command is to be killed at this call, and then whether SQS does it first.
    fn kill_at(&self, call: &str) -> Option<bool> {
        let mut state = self.state();
        let (name, is_done) = state.kill.filter(|(name, _)| *name == call)?;
        state.calls += 1;
        (state.calls == AT_CALL && name == call).then_some(is_done)
    }

    async fn hold(&self) {
        self.has_come.notify_one();
        std::future::pending().await
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the letters again that a killed command had received: a minute later in one call.
    async fn show_again(&self, stack: &Stack, url: &str) -> Result<()> {
        let receipts: Vec<String> = self.state().receipts.drain().collect();
        for receipts in receipts.chunks(10) {
            let entries: Vec<Value> = { receipts.iter().enumerate() }
                .map(|(n, receipt)| json!({"Id": n.to_string(), "ReceiptHandle": receipt, "VisibilityTimeout": 0}))
                .collect();
            let batch = json!({"QueueUrl": url, "Entries": entries});
            stack.json("sqs", "AmazonSQS.ChangeMessageVisibilityBatch", batch).await?;
        }
        Ok(())
    }
}

/// Killed between a letter's arrival on the queue and its deletion, it is there twice. Lost it is never.
#[tokio::test]
async fn a_thousand_letters_are_redriven_by_a_command_that_is_killed_twelve_times() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (relay, stack) = start().await?;
    let names = stack.resources().await?;
    let (queue, letters) = (&names["Queue"], &names["DeadLetterQueue"]);
    // Nobody takes them away while they are counted.
    let source = format!("/2015-03-31/event-source-mappings/{}", names["WorkerQueue"]);
    stack.lambda("PUT", &source, Some(json!({"Enabled": false}))).await?;
    fill(&stack, letters).await?;

    let (between, folder) = Between::start(&stack).await?;
    let relay = relay.of(folder.path());
    let kills: Vec<_> = KILLS.iter().cycle().take(3 * KILLS.len()).collect();
    for kill in &kills {
        *between.state() = State { kill: Some(**kill), ..State::default() };
        let mut command = relay.command("letters redrive --reason timeout").spawn()?;
        tokio::time::timeout(DEADLINE_AFTER, between.has_come.notified()).await.context("no such call")?;
        command.kill().await?;
        between.show_again(&stack, letters).await?;
    }
    *between.state() = State::default();
    let (code, last) = relay.json("letters redrive --reason timeout").await?;
    assert_eq!((code, &last["left"], &last["unseen"]), (0, &json!(0), &json!(0)), "{last}");
    let (_, left) = relay.json("letters list").await?;
    assert_eq!(left["counts"], json!([{"reason": "refused", "destination": "segment", "count": 10}]));

    let times = drain(&stack, queue).await?;
    let doubled = times.values().filter(|count| **count > 1).count();
    println!("killed {} times; {} letters arrived, {doubled} of them twice", kills.len(), times.len());
    assert_eq!(times.len(), LETTERS, "nothing is lost");
    // Sent and not deleted: by two of the four kills, a batch each.
    assert_eq!(doubled, 10 * kills.len() / 2);
    Ok(())
}

async fn fill(stack: &Stack, url: &str) -> Result<()> {
    let letter = |number: usize, reason: &str| {
        format!(
            r#"{{"version":1,"id":"e{number}","source":"vero","received_at":"2026-11-21T05:04:03.123Z","destinations":["segment"],"payload":{{"type":"sent"}},"reason":"{reason}"}}"#
        )
    };
    for first in (0..LETTERS + 10).step_by(10) {
        let reason = if first < LETTERS { "timeout" } else { "refused" };
        let entries: Vec<Value> = (first..first + 10)
            .map(|n| json!({"Id": n.to_string(), "MessageBody": letter(n, reason)}))
            .collect();
        let batch = json!({"QueueUrl": url, "Entries": entries});
        let answer = stack.json("sqs", "AmazonSQS.SendMessageBatch", batch).await?;
        ensure!(answer["Successful"].as_array().is_some_and(|all| all.len() == 10), "{answer}");
    }
    Ok(())
}

/// How often each event is on a queue, by id.
async fn drain(stack: &Stack, url: &str) -> Result<HashMap<String, usize>> {
    let mut times: HashMap<String, usize> = HashMap::new();
    loop {
        let receive = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600});
        let received = stack.json("sqs", "AmazonSQS.ReceiveMessage", receive).await?;
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        if messages.is_empty() {
            return Ok(times);
        }
        for message in messages {
            let body: Value = serde_json::from_str(message["Body"].as_str().unwrap_or_default())?;
            *times.entry(body["id"].as_str().context("no id")?.to_owned()).or_default() += 1;
        }
    }
}
