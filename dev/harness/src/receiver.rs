//! A destination that misbehaves on command, for use as Segment or as Vero.

use std::convert::Infallible;
use std::future::pending;
use std::io::Read;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flate2::read::GzDecoder;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::sleep;

use crate::http::{self, Body, Handler, Plain, Request, Reset, Response, Server};
use crate::sync::lock;
use crate::when::{Rules, Subject, When};

/// No request of ours is larger; a bomb stops here.
const MAX_DECODED_BYTES: u64 = 64 * 1024 * 1024;
/// So long the first half of an answer has to arrive before the reset overtakes it.
const HALF_WAY: Duration = Duration::from_millis(50);

/// What the destination does in place of its usual answer.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers so.
    Status {
        code: u16,
        headers: Vec<(String, String)>,
        /// As it goes over the wire.
        body: Bytes,
        /// How long after the head.
        body_after: Duration,
    },
    /// Breaks the connection with RST, having taken nothing.
    Reset,
    /// Takes the request, sends the head of a 200 and half of its body, then RST.
    ResetMidAnswer,
    /// Takes the request, then breaks the connection with RST.
    LostAnswer,
    /// Never answers, and takes nothing.
    Hang,
    /// Takes the request and answers 200 with a byte of the body each second, without an end.
    Drip,
    /// Takes the request and answers 200 with a body as fast as it is read, without an end.
    EndlessBody,
    /// Takes the request at once and gives the usual answer so much later.
    Slow(Duration),
    /// Behaves so after a while.
    After(Duration, Box<Behaviour>),
    /// Takes the request and answers 200 with a page of HTML.
    WrongContentType,
    /// Answers 302 to this address, having taken nothing.
    Redirect(String),
}

impl Behaviour {
    /// An answer with this status and a JSON error.
    pub fn status(code: u16) -> Self {
        Self::answer(code, json!({"error": format!("answered {code} on command")}).to_string())
    }

    /// An answer with this status and body.
    pub fn answer(code: u16, body: impl Into<Bytes>) -> Self {
        let json = ("content-type".to_owned(), "application/json".to_owned());
        Self::Status { code, headers: vec![json], body: body.into(), body_after: Duration::ZERO }
    }

    /// The same head, and so much later the body.
    pub fn with_body_after(mut self, time: Duration) -> Self {
        if let Self::Status { body_after, .. } = &mut self {
            *body_after = time;
        }
        self
    }

    /// The same, but later.
    pub fn after(self, time: Duration) -> Self {
        Self::After(time, Box::new(self))
    }

    /// With this header too, where there is an answer to carry it.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// A request as it came, and what became of it.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// In upper case.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub raw: Bytes,
    /// The body, unpacked if it was gzip.
    pub body: Bytes,
    /// The body as JSON; null when it is none.
    pub json: Value,
    /// When it had come as a whole.
    pub at: Instant,
    /// The number of the connection that it came on, from 1.
    pub connection: usize,
    /// What it was answered; none while it is not, or when it never was.
    pub status: Option<u16>,
    /// Whether the destination took it: what it carries will have an effect there.
    pub accepted: bool,
}

impl ReceivedRequest {
    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// The destination, until it is dropped.
pub struct Receiver {
    url: String,
    state: Arc<State>,
    connections: Arc<AtomicUsize>,
    port: tokio::sync::Mutex<Port>,
}

enum Port {
    Open(Server),
    /// Held so that nobody else gets the number meanwhile.
    Closed(TcpSocket),
    /// A failure to bind has left nothing.
    Lost,
}

#[derive(Default)]
struct State {
    behaviours: Rules<Behaviour>,
    received: Mutex<Vec<Arc<Mutex<ReceivedRequest>>>>,
}

impl Receiver {
    /// One that answers as Segment and Vero do when all is well.
    pub async fn start() -> Result<Self> {
        let listener = http::listen().await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State::default());
        let connections = Arc::default();
        let server = Server::serve(listener, Arc::clone(&connections), Plain, Arc::clone(&state))?;
        Ok(Self { url, state, connections, port: Port::Open(server).into() })
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on requests that `when` picks meet this; a later behaviour comes before an earlier one.
    pub fn behave(&self, behaviour: Behaviour, when: When) {
        self.state.behaviours.add(behaviour, when);
    }

    /// Forgets all behaviours; requests that hang already keep hanging.
    pub fn recover(&self) {
        self.state.behaviours.clear();
    }

    /// Closes the port and every connection: from now on connections are refused.
    pub async fn refuse(&self) -> Result<()> {
        let mut port = self.port.lock().await;
        match std::mem::replace(&mut *port, Port::Lost) {
            Port::Open(server) => {
                let address = server.address();
                server.stop().await;
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                *port = Port::Closed(socket);
            }
            before => *port = before,
        }
        Ok(())
    }

    /// From now on the connections that are open now are reset at their next request, of which the destination sees
    /// nothing: as if they had been closed while their client was frozen.
    pub async fn go_stale(&self) {
        if let Port::Open(server) = &*self.port.lock().await {
            server.go_stale();
        }
    }

    /// Opens the same port again.
    pub async fn reopen(&self) -> Result<()> {
        let mut port = self.port.lock().await;
        match std::mem::replace(&mut *port, Port::Lost) {
            Port::Closed(socket) => {
                let listener = socket.listen(1024)?;
                let connections = Arc::clone(&self.connections);
                *port = Port::Open(Server::serve(listener, connections, Plain, Arc::clone(&self.state))?);
            }
            before => *port = before,
        }
        ensure!(!matches!(*port, Port::Lost), "the port was lost");
        Ok(())
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        lock(&self.state.received).iter().map(|received| lock(received).clone()).collect()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        lock(&self.state.received).len()
    }

    /// How many of them have their answer.
    pub fn answered(&self) -> usize {
        lock(&self.state.received).iter().filter(|received| lock(received).status.is_some()).count()
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        lock(&self.state.received).clear();
    }

    pub fn connections(&self) -> usize {
        self.connections.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The requests that the destination took: answered 2xx (and not refused in the body, as Vero does), or
    /// their answer lost after they were taken.
    pub fn accepted(&self) -> Vec<ReceivedRequest> {
        self.requests().into_iter().filter(|received| received.accepted).collect()
    }

    /// What was taken as Segment: the elements of all batches, in order.
    pub fn segment_messages(&self) -> Vec<Value> {
        let batches = self.accepted().into_iter().filter(|received| is_batch(&received.path));
        batches.flat_map(|received| received.json["batch"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// What was taken as Vero: path and body of each call, in order.
    pub fn vero_calls(&self) -> Vec<(String, Value)> {
        let calls = self.accepted().into_iter().filter(|received| received.path.starts_with("/api/"));
        calls.map(|received| (received.path, received.json)).collect()
    }
}

fn is_batch(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/v1/batch")
}

fn usual_body(path: &str) -> Value {
    match path {
        path if is_batch(path) => json!({"success": true}),
        _ => json!({"status": 200, "message": "Success."}),
    }
}

impl State {
    /// Ends the record of a request.
    fn answered(received: &Mutex<ReceivedRequest>, status: u16, accepted: bool) {
        let mut received = lock(received);
        received.status = Some(status);
        received.accepted = accepted;
    }
}

impl Handler for State {
    async fn respond(&self, request: Request) -> Response {
        let received = received(request);
        let (path, body) = (received.path.clone(), received.json.clone());
        let behaviour =
            self.behaviours.pick(&Subject { path: &path, operation: "", queue: None, body: &body });
        let received = Arc::new(Mutex::new(received));
        lock(&self.received).push(Arc::clone(&received));
        let mut behaviour = behaviour;
        while let Some(Behaviour::After(time, then)) = behaviour {
            sleep(time).await;
            behaviour = Some(*then);
        }
        let take = || lock(&received).accepted = true;
        let ok = |body| {
            Self::answered(&received, 200, true);
            http::response(200, &[("content-type", "application/json")], body)
        };
        match behaviour {
            None => ok(http::full(usual_body(&path).to_string())),
            // Unwrapped above.
            Some(Behaviour::Hang | Behaviour::After(..)) => pending().await,
            Some(Behaviour::Reset) => Err(Reset),
            Some(Behaviour::LostAnswer) => {
                take();
                Err(Reset)
            }
            Some(Behaviour::ResetMidAnswer) => {
                Self::answered(&received, 200, true);
                let body = usual_body(&path).to_string();
                let length = body.len().to_string();
                let half = body.as_bytes()[..body.len() / 2].to_vec();
                let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
                http::response(200, &headers, cut_off_after(half))
            }
            Some(Behaviour::Drip) => ok(streamed(stream::unfold((), |()| async {
                sleep(Duration::from_secs(1)).await;
                Some((Bytes::from_static(b" "), ()))
            }))),
            Some(Behaviour::EndlessBody) => {
                ok(streamed(stream::repeat(Bytes::from_static(&[b' '; 16 * 1024]))))
            }
            Some(Behaviour::Slow(time)) => {
                take();
                sleep(time).await;
                ok(http::full(usual_body(&path).to_string()))
            }
            Some(Behaviour::WrongContentType) => {
                Self::answered(&received, 200, true);
                http::response(200, &[("content-type", "text/html")], http::full("<html>Welcome</html>"))
            }
            Some(Behaviour::Redirect(location)) => {
                Self::answered(&received, 302, false);
                http::response(302, &[("location", &location)], http::full(""))
            }
            Some(Behaviour::Status { code, headers, body, body_after }) => {
                Self::answered(&received, code, accepts(code, &body));
                let length = body.len().to_string();
                let mut headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if !body_after.is_zero() {
                    headers.push(("content-length", &length));
                }
                let body = match body_after {
                    Duration::ZERO => http::full(body),
                    _ => streamed(stream::once(async move {
                        sleep(body_after).await;
                        body
                    })),
                };
                http::response(code, &headers, body)
            }
        }
    }
}

/// Vero may answer 200 with the status that counts in its body.
fn accepts(code: u16, body: &[u8]) -> bool {
    let inner = serde_json::from_slice::<Value>(body).unwrap_or_default();
    (200..300).contains(&code) && inner["status"].as_u64().is_none_or(|status| status < 400)
}

fn received(request: Request) -> ReceivedRequest {
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let gzip = headers.iter().any(|(name, value)| name == "content-encoding" && value == "gzip");
    let body = match gzip {
        true => gunzip(&request.body).unwrap_or_default(),
        false => request.body.clone(),
    };
    ReceivedRequest {
        method: request.method.to_string(),
        path: request.path,
        headers,
        json: serde_json::from_slice(&body).unwrap_or_default(),
        raw: request.body,
        body,
        at: Instant::now(),
        connection: request.connection,
        status: None,
        accepted: false,
    }
}

fn gunzip(bytes: &[u8]) -> Option<Bytes> {
    let mut body = Vec::new();
    GzDecoder::new(bytes).take(MAX_DECODED_BYTES).read_to_end(&mut body).ok()?;
    Some(body.into())
}

fn streamed(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
}

fn cut_off_after(start: Vec<u8>) -> Body {
    let start = stream::iter([Ok(Frame::data(Bytes::from(start)))]);
    let cut = stream::once(async {
        sleep(HALF_WAY).await;
        Err(Reset)
    });
    StreamBody::new(start.chain(cut)).boxed_unsync()
}
