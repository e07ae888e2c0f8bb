//! `cargo lambda watch` with its Function URL, as docs/local.md shows it: the real one, which reads answers by others' types.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "what sleeps here is in a block_in_place or in a drop")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::{QueueSettings, Sqs};

/// The first start builds the function.
const DEADLINE_AFTER: Duration = Duration::from_secs(900);

/// Of the sample's token, as in docs/local.md.
const TOKEN: &str = "local-token-for-cargo-lambda-invoke-0123456";
const TOKEN_SHA256: &str = "33b4ede268bafdc0af425fff0a05058de7a7fa9dd3909c7d7a6c0ea7131244fd";
const WEBHOOK: &str = include_str!("../../../events/vero-sent.json");

/// In the environment of whatever a test has started.
const MARK: &str = "VERO_RELAY_WATCHED_BY";

struct Watch {
    cargo_lambda: Child,
    port: u16,
}

impl Watch {
    fn start(sqs: &Sqs) -> Self {
        let [queue, dead] = ["queue", "dead"].map(|name| sqs.queue(name, QueueSettings::default()).url());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let cargo_lambda = Command::new("cargo")
            .args(["lambda", "watch", "--package", "ingest", "--ignore-changes", "--quiet"])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .envs([("AWS_REGION", harness::REGION), ("AWS_ENDPOINT_URL", sqs.url())])
            .envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")])
            .envs([("QUEUE_URL", queue.as_str()), ("DEAD_LETTER_QUEUE_URL", &dead)])
            .envs([("WEBHOOK_TOKEN_SHA256", TOKEN_SHA256), (MARK, &std::process::id().to_string())])
            // What cargo tells a test of this package is not for the function's.
            .env_remove("CARGO_MANIFEST_DIR")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut watch = Watch { cargo_lambda, port };
        let begin = Instant::now();
        let mut others = 0;
        loop {
            match watch.ask("GET", "/health", "") {
                Ok((200, _)) => return watch,
                // While it builds the function it lets callers wait, but a moment's grace costs nothing.
                Ok(other) => {
                    others += 1;
                    assert!(others < 50, "{other:?}");
                }
                Err(error) => assert!(begin.elapsed() < DEADLINE_AFTER, "{error}"),
            }
            let ended = watch.cargo_lambda.try_wait().unwrap();
            assert!(ended.is_none(), "is cargo-lambda installed? {ended:?}");
            sleep(Duration::from_millis(200));
        }
    }

    /// Status and body of an answer of the Function URL.
    fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        connection.set_read_timeout(Some(DEADLINE_AFTER))?;
        let length = body.len();
        write!(
            connection,
            "{method} /lambda-url/ingest{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned()))
    }
}

/// cargo-lambda starts cargo and the function in groups of their own: by the mark all are found, and none else.
impl Drop for Watch {
    fn drop(&mut self) {
        let mark = format!("{MARK}={}", std::process::id());
        let is_marked = |pid: &String| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        for _ in 0..20 {
            let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
            let ids = processes.filter_map(|entry| entry.file_name().into_string().ok());
            let marked: Vec<String> = ids.filter(|id| id.parse::<u32>().is_ok()).filter(is_marked).collect();
            if marked.is_empty() {
                break;
            }
            let _ = Command::new("kill").arg("-9").args(&marked).stderr(Stdio::null()).status();
            let _ = self.cargo_lambda.try_wait();
            sleep(Duration::from_millis(100));
        }
        let _ = self.cargo_lambda.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_taken_by_way_of_cargo_lambda_watch() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.queue("queue", QueueSettings::default());
    let watch = tokio::task::block_in_place(|| Watch::start(&sqs));
    let ask = |method, path: &str, body| {
        let (status, answer) = tokio::task::block_in_place(|| watch.ask(method, path, body)).unwrap();
        println!("{method} {path}: {status} {answer}");
        status
    };
    assert_eq!(ask("POST", &format!("/vero/{TOKEN}"), WEBHOOK), 202);
    assert_eq!(ask("POST", &format!("//vero//{TOKEN}/"), WEBHOOK), 202);
    assert_eq!(ask("POST", &format!("/vero?token={TOKEN}"), WEBHOOK), 202);
    assert_eq!(ask("POST", &format!("/vero/{TOKEN}"), "not JSON"), 400);
    assert_eq!(ask("POST", "/vero/another-token", WEBHOOK), 401);
    assert_eq!(ask("GET", "/vero/another-token", ""), 405);
    assert_eq!(ask("GET", "/nowhere", ""), 404);
    assert_eq!(queue.messages().len(), 3);
    assert_eq!(queue.messages()[0].json()["payload"]["type"], "sent");
}
