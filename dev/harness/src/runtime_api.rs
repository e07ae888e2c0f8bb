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

use crate::aws::{ACCOUNT, REGION};
use crate::http::{self, Handler, Request, Reset, Response, Server};
use crate::sync::lock;

const PREFIX: &str = "/2018-06-01/runtime/";

/// How far the process has started.
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

struct PendingInvocation {
    id: String,
    event: Bytes,
    deadline_ms: u64,
    headers: Vec<(&'static str, String)>,
}

pub(crate) struct RuntimeApi {
    server: Server,
    state: Arc<State>,
}

struct State {
    function: String,
    queue: mpsc::UnboundedSender<PendingInvocation>,
    next: tokio::sync::Mutex<mpsc::UnboundedReceiver<PendingInvocation>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    phase: watch::Sender<Phase>,
}

impl RuntimeApi {
    pub(crate) async fn start(function: &str) -> Result<Self> {
        let (queue, next) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            function: function.to_owned(),
            queue,
            next: next.into(),
            waiting: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
        });
        Ok(Self { server: Server::start(Arc::clone(&state)).await?, state })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.state.phase.subscribe()
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
        lock(&self.state.waiting).insert(id.clone(), tell);
        // The other end lives in `state` too.
        let _ = self.state.queue.send(PendingInvocation { id, event, deadline_ms, headers });
        outcome
    }
}

impl Handler for State {
    async fn respond(&self, request: Request) -> Response {
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

impl State {
    async fn next(&self) -> Response {
        self.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Starting);
            if first {
                *phase = Phase::Ready(Instant::now());
            }
            first
        });
        let PendingInvocation { id, event, deadline_ms, headers: more } =
            self.next.lock().await.recv().await.ok_or(Reset)?;
        let deadline_ms = deadline_ms.to_string();
        let arn = format!("arn:aws:lambda:{}:{}:function:{}", REGION, ACCOUNT, self.function);
        let mut headers = vec![
            ("content-type", "application/json"),
            ("lambda-runtime-aws-request-id", id.as_str()),
            ("lambda-runtime-deadline-ms", &deadline_ms),
            ("lambda-runtime-invoked-function-arn", &arn),
        ];
        headers.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        http::response(200, &headers, http::full(event))
    }

    fn finish(&self, id: &str, outcome: Outcome) -> Response {
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

fn accepted() -> Response {
    http::json(202, &[], &json!({"status": "OK"}))
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}
