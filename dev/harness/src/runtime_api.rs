//! The Lambda Runtime API, for one process of a function.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::http::{self, Answer, Handler, Request, Reset, Server};
use crate::lock;

const PREFIX: &str = "/2018-06-01/runtime/";

/// What the process has told about its start.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Starting,
    /// It asked for its first event at this instant.
    Ready(Instant),
    /// It posted this to `init/error`.
    Failed(Value),
}

/// How an invocation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Response(Bytes),
    Error(Value),
}

struct Invocation {
    id: String,
    event: Bytes,
    deadline_ms: u64,
    headers: Vec<(&'static str, String)>,
}

pub(crate) struct RuntimeApi {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    function: String,
    queue: mpsc::UnboundedSender<Invocation>,
    next: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    phase: watch::Sender<Phase>,
}

impl RuntimeApi {
    pub(crate) async fn start(function: &str) -> Result<Self> {
        let (queue, next) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            function: function.to_owned(),
            queue,
            next: next.into(),
            waiting: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
        });
        Ok(Self { server: Server::start(Arc::clone(&shared)).await?, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.shared.phase.subscribe()
    }

    /// Hands the event to whoever asks next; the receiver fails only when this server is gone.
    pub(crate) fn invoke(
        &self,
        id: String,
        event: Bytes,
        deadline_ms: u64,
        headers: Vec<(&'static str, String)>,
    ) -> oneshot::Receiver<Outcome> {
        let (tell, outcome) = oneshot::channel();
        lock(&self.shared.waiting).insert(id.clone(), tell);
        // The other end lives in `shared` too.
        let _ = self.shared.queue.send(Invocation { id, event, deadline_ms, headers });
        outcome
    }
}

impl Handler for Shared {
    async fn answer(&self, request: Request) -> Answer {
        let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
        let steps: Vec<&str> = path.split('/').collect();
        match (&request.method, steps.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => {
                self.finish(id, Outcome::Response(request.body))
            }
            (&Method::POST, ["invocation", id, "error"]) => {
                self.finish(id, Outcome::Error(value(&request.body)))
            }
            (&Method::POST, ["init", "error"]) => {
                self.phase.send_replace(Phase::Failed(value(&request.body)));
                accepted()
            }
            _ => http::json(404, &[], &json!({"errorMessage": "no such path", "errorType": "NotFound"})),
        }
    }
}

impl Shared {
    async fn next(&self) -> Answer {
        self.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Starting);
            if first {
                *phase = Phase::Ready(Instant::now());
            }
            first
        });
        let Invocation { id, event, deadline_ms, headers: more } =
            self.next.lock().await.recv().await.ok_or(Reset)?;
        let deadline_ms = deadline_ms.to_string();
        let arn = format!("arn:aws:lambda:{}:{}:function:{}", crate::REGION, crate::ACCOUNT, self.function);
        let mut headers = vec![
            ("content-type", "application/json"),
            ("lambda-runtime-aws-request-id", id.as_str()),
            ("lambda-runtime-deadline-ms", &deadline_ms),
            ("lambda-runtime-invoked-function-arn", &arn),
        ];
        headers.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        http::respond(200, &headers, http::full(event))
    }

    fn finish(&self, id: &str, outcome: Outcome) -> Answer {
        match lock(&self.waiting).remove(id) {
            // Whoever invoked may have stopped waiting.
            Some(tell) => drop(tell.send(outcome)),
            None => {
                let body = json!({"errorMessage": "no such invocation", "errorType": "InvalidRequestID"});
                return http::json(400, &[], &body);
            }
        }
        accepted()
    }
}

fn accepted() -> Answer {
    http::json(202, &[], &json!({"status": "OK"}))
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}
