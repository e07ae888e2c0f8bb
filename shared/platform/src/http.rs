//! HTTP/1.1 over connections that are kept for the next request: for the AWS SDK, whose own client brings HTTP/2, proxies
//! and a second look at every certificate, which cost a cold start more than all the rest of it.
//! Up to its first answer `ingest` took 21.4 million instructions with that client and 2.6 million with this one, and its
//! binary had 5.7 and 4.9 MB (docs/architecture.md, "Decisions: speed and size").
//!
//! Between invocations Lambda freezes the process, and the other side closes what is idle. After that each kept
//! connection is reset at its next request, as if the other side were down. So none is kept longer than its time by the
//! wall clock, since the process's own clock may have stood still; and a request that a kept connection fails before its
//! answer is sent once more at once, over a new connection.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::tls;
use crate::world;

/// The longest response of AWS's. The longest that is asked for is 1 MB of log lines (FilterLogEvents), escaped.
const MAX_AWS_BODY: usize = 16 * 1024 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection came about: the other side has seen nothing of the request.
    #[error("no connection")]
    Connect(#[source] BoxError),
    /// The connection broke: whether the other side took the request is unknown.
    #[error("the connection broke")]
    Broken(#[source] BoxError),
    /// The response is longer than whoever asked will read.
    #[error("the response is too long")]
    TooLong,
}

impl HttpError {
    fn broken(error: impl Into<BoxError>) -> Self {
        HttpError::Broken(error.into())
    }
}

/// A client. Its clones share their connections.
#[derive(Debug, Clone)]
struct Http {
    tcp: Tcp,
    connect: Duration,
    idle: Duration,
    kept: Arc<Mutex<Vec<(Connection, SystemTime)>>>,
}

/// A response whose body is still to be read.
#[derive(Debug)]
struct Response {
    /// Its status and headers.
    head: response::Parts,
    /// A kept connection failed the request before: the other side may have taken it twice.
    is_repeated: bool,
    body: Incoming,
    connection: Connection,
    http: Http,
}

#[derive(Debug)]
struct Connection {
    origin: (Scheme, Authority),
    sender: SendRequest<SdkBody>,
}

impl Http {
    /// A client that waits so long for a connection, TLS included, and keeps it so long unused.
    fn new(connect: Duration, idle: Duration) -> Self {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Http { tcp, connect, idle, kept: Arc::default() }
    }

    /// Sends a request, and waits for its response's head as long as the caller does.
    async fn send(&self, request: Request<SdkBody>) -> Result<Response, HttpError> {
        let uri = request.uri().clone();
        let origin = uri.scheme().cloned().zip(uri.authority().cloned());
        let origin = origin.ok_or_else(|| HttpError::Connect("no absolute URL".into()))?;
        let mut request = on_the_wire(request, &origin).map_err(HttpError::Connect)?;
        let mut is_repeated = false;
        if let Some(mut connection) = self.take(&origin, world::now()) {
            let copy = copy(&request);
            let mut failed = match connection.sender.try_send_request(request).await {
                Ok(answer) => return Ok(self.response(answer, connection, false)),
                Err(failed) => failed,
            };
            // What it gives back it has not begun to send. Of the rest it is unknown how far it came: nearly always
            // the connection was gone before, but one that is closed for the request looks the same.
            request = match (failed.take_message(), copy) {
                (Some(unsent), _) => unsent,
                (None, Some(copy)) => {
                    is_repeated = true;
                    copy
                }
                (None, None) => return Err(HttpError::broken(failed.into_error())),
            };
        }
        let connected = self.connect(origin, uri).await;
        let mut connection = connected.map_err(|error| match is_repeated {
            true => HttpError::Broken(error),
            false => HttpError::Connect(error),
        })?;
        let answer = connection.sender.send_request(request).await.map_err(HttpError::broken)?;
        Ok(self.response(answer, connection, is_repeated))
    }

    fn response(
        &self,
        answer: http::Response<Incoming>,
        connection: Connection,
        is_repeated: bool,
    ) -> Response {
        let (head, body) = answer.into_parts();
        Response { head, is_repeated, body, connection, http: self.clone() }
    }

    async fn connect(&self, origin: (Scheme, Authority), uri: Uri) -> Result<Connection, BoxError> {
        let mut tcp = self.tcp.clone();
        let connecting = async move {
            let stream: MaybeHttpsStream<TokioIo<TcpStream>> = match uri.scheme() == Some(&Scheme::HTTPS) {
                true => HttpsConnector::from((tcp, tls::config()?)).call(uri).await?,
                false => MaybeHttpsStream::Http(tcp.call(uri).await?),
            };
            Ok::<_, BoxError>(http1::handshake(stream).await?)
        };
        let (sender, connection) = timeout(self.connect, connecting).await??;
        // Its errors are those of its requests.
        tokio::spawn(async { drop(connection.await) });
        Ok(Connection { origin, sender })
    }

    /// The connection to there that was used last. Of those that ended, or were kept for too long, none is left; a
    /// clock that was set back tells nothing, so that it counts as too long.
    fn take(&self, origin: &(Scheme, Authority), now: SystemTime) -> Option<Connection> {
        let mut kept = self.kept();
        kept.retain(|(connection, since)| {
            let is_fresh = now.duration_since(*since).is_ok_and(|passed| passed < self.idle);
            is_fresh && !connection.sender.is_closed()
        });
        let is_of_use =
            |(kept, _): &(Connection, SystemTime)| kept.origin == *origin && kept.sender.is_ready();
        let at = kept.iter().rposition(is_of_use)?;
        Some(kept.remove(at).0)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Connection, SystemTime)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Response {
    /// Reads the body to its end; what came of it is in `body`, also when that is not all. Then the connection is kept
    /// for the next request; dropped before, it is closed.
    ///
    /// # Errors
    /// [`HttpError::Broken`], and [`HttpError::TooLong`] for more than `max` bytes.
    async fn read(mut self, body: &mut Vec<u8>, max: usize) -> Result<(), HttpError> {
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(HttpError::broken)?.into_data() else { continue };
            let room = max.saturating_sub(body.len());
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Err(HttpError::TooLong);
            }
        }
        self.http.kept().push((self.connection, world::now()));
        Ok(())
    }
}

/// With what HTTP/1.1 asks for: a host, and nothing of it in the target.
fn on_the_wire(
    mut request: Request<SdkBody>,
    origin: &(Scheme, Authority),
) -> Result<Request<SdkBody>, BoxError> {
    let (scheme, authority) = origin;
    let usual_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let host = match authority.port_u16() {
        Some(port) if port != usual_port => HeaderValue::from_str(&format!("{}:{port}", authority.host()))?,
        _ => HeaderValue::from_str(authority.host())?,
    };
    request.headers_mut().entry(HOST).or_insert(host);
    *request.uri_mut() = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse()?;
    Ok(request)
}

/// None of a body that is not in memory.
fn copy(request: &Request<SdkBody>) -> Option<Request<SdkBody>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// What a caller of the SDK puts on a request to learn that it was sent twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeats(Arc<AtomicBool>);

impl Repeats {
    /// Whether it was.
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client for the AWS SDK: `connect` is the time for a connection with TLS, `idle` how long one is kept for the next
/// request, by the wall clock.
pub fn client(connect: Duration, idle: Duration) -> SharedHttpClient {
    let shared = SharedHttpConnector::new(Http::new(connect, idle));
    http_client_fn(move |_, _| shared.clone())
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let repeats: Option<Repeats> = request.extensions().get().cloned();
            // The SDK tries again after either.
            let broke = |error: HttpError| ConnectorError::io(error.into());
            let response = http.send(request).await.map_err(broke)?;
            if let Some(repeats) = repeats {
                repeats.0.fetch_or(response.is_repeated, Ordering::Relaxed);
            }
            let (head, mut body) = (response.head.clone(), Vec::new());
            response.read(&mut body, MAX_AWS_BODY).await.map_err(broke)?;
            HttpResponse::try_from(http::Response::from_parts(head, SdkBody::from(body)))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::Receiver;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const IDLE: Duration = Duration::from_secs(15);

    fn client() -> Http {
        Http::new(Duration::from_secs(5), IDLE)
    }

    fn post(url: &str) -> Request<SdkBody> {
        Request::post(format!("{url}/a?b=c")).body(SdkBody::from("hello")).unwrap()
    }

    /// Sends a request, and tells whether it was sent twice.
    async fn ask(http: &Http, receiver: &Receiver) -> bool {
        let response = http.send(post(receiver.url())).await.unwrap();
        let (is_repeated, mut body) = (response.is_repeated, Vec::new());
        assert_eq!(response.head.status, 200);
        response.read(&mut body, 1_000).await.unwrap();
        assert!(!body.is_empty());
        is_repeated
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_its_time_by_the_wall_clock() {
        let (http, receiver) = (client(), Receiver::start().await.unwrap());
        for _ in 0..3 {
            assert!(!ask(&http, &receiver).await);
        }
        assert_eq!(receiver.connections(), 1);
        // So much time has passed, although the process's clock stood still.
        http.kept()[0].1 -= IDLE;
        assert!(!ask(&http, &receiver).await);
        assert_eq!(receiver.connections(), 2);
        // Or the clock was set back, and nobody knows.
        http.kept()[0].1 += IDLE;
        assert!(!ask(&http, &receiver).await);
        assert_eq!((receiver.connections(), http.kept().len()), (3, 1));
        let requests = receiver.requests();
        assert_eq!((requests[0].path.as_str(), &*requests[0].raw), ("/a?b=c", &b"hello"[..]));
        assert_eq!(requests[0].header("host"), receiver.url().strip_prefix("http://"));
    }

    #[tokio::test]
    async fn a_request_that_a_kept_connection_fails_goes_over_a_new_one() {
        let (http, receiver) = (client(), Receiver::start().await.unwrap());
        ask(&http, &receiver).await;
        // More than one has ended, and no second try meets another.
        let [one, other] = [http.send(post(receiver.url())), http.send(post(receiver.url()))];
        let (one, other) = tokio::join!(one, other);
        for response in [one, other] {
            response.unwrap().read(&mut Vec::new(), 1_000).await.unwrap();
        }
        assert_eq!(receiver.connections(), 2);
        receiver.go_stale().await;
        receiver.clear();
        assert!(ask(&http, &receiver).await);
        assert_eq!((receiver.count(), receiver.connections()), (1, 3));
        assert!(!ask(&http, &receiver).await, "the new one is kept");
        assert_eq!((receiver.count(), receiver.connections()), (2, 3));
    }

    #[tokio::test]
    async fn what_went_over_a_kept_connection_may_have_been_taken_though_no_other_comes_about() {
        let (http, listener) = (client(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_000];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            // The port is closed before the connection.
            drop(listener);
            assert!(socket.read(&mut request).await.unwrap() > 0);
        };
        let calls = async {
            let response = http.send(post(&url)).await.unwrap();
            response.read(&mut Vec::new(), 0).await.unwrap();
            [http.send(post(&url)).await.unwrap_err(), http.send(post(&url)).await.unwrap_err()]
        };
        let ((), errors) = tokio::join!(serve, calls);
        assert!(matches!(errors, [HttpError::Broken(_), HttpError::Connect(_)]), "{errors:?}");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_leaves_no_connection() {
        let (http, receiver) = (client(), Receiver::start().await.unwrap());
        let response = http.send(post(receiver.url())).await.unwrap();
        let mut body = Vec::new();
        assert!(matches!(response.read(&mut body, 5).await, Err(HttpError::TooLong)));
        assert_eq!((body.len(), http.kept().len()), (5, 0));
    }
}
