//! A small HTTP/1.1 server on loopback, whose handler may also break the connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Poll, ready};

use anyhow::{Context, Result};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A whole request, and the number of the connection that it came on.
pub(crate) struct Request {
    pub(crate) connection: usize,
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// In place of a response, or in the middle of one: the connection ends with RST.
#[derive(Debug, thiserror::Error)]
#[error("connection reset on command")]
pub(crate) struct Reset;

pub(crate) type Body = UnsyncBoxBody<Bytes, Reset>;
pub(crate) type Response = std::result::Result<hyper::Response<Body>, Reset>;

pub(crate) trait Handler: Send + Sync + 'static {
    /// Dropped before its end when the client hangs up.
    fn respond(&self, request: Request) -> impl Future<Output = Response> + Send;
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A response with a JSON body and further headers.
pub(crate) fn json(status: u16, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    response(status, &headers, full(body.to_string()))
}

/// What cannot be sent (a malformed header that a test asked for) resets the connection.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: Body) -> Response {
    let mut response = hyper::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).map_err(|_| Reset)
}

/// Plain TCP, or something laid over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

/// How an accepted connection becomes a socket to speak HTTP over.
pub(crate) trait Layer: Clone + Send + Sync + 'static {
    type Socket: Socket;
    fn lay(&self, stream: TcpStream) -> impl Future<Output = std::io::Result<Self::Socket>> + Send;
}

#[derive(Clone)]
pub(crate) struct Plain;

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Layer for Plain {
    type Socket = TcpStream;

    async fn lay(&self, stream: TcpStream) -> std::io::Result<TcpStream> {
        Ok(stream)
    }
}

/// A port of the system's choice on loopback.
pub(crate) async fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port on loopback")
}

/// A socket that was shut behind its client's back, or will be.
struct Perishable<S> {
    socket: S,
    number: usize,
    stale: Arc<AtomicUsize>,
    /// It was used again after that.
    is_spent: bool,
}

impl<S: Socket> AsyncRead for Perishable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(task, buffer))?;
        let is_stale = self.number <= self.stale.load(Ordering::Relaxed);
        if is_stale && buffer.filled().len() > before {
            // Nobody gets to see what came.
            buffer.set_filled(before);
            self.is_spent = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Perishable<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

/// Runs on the runtime that started it; dropped, it closes its port and every connection.
pub(crate) struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Connections up to this number are reset when they are used again.
    stale: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// On a port of the system's choice.
    pub(crate) async fn start(handler: Arc<impl Handler>) -> Result<Self> {
        Self::serve(listen().await?, Arc::default(), Plain, handler)
    }

    /// On a listener that is there already; connections are counted on from `connections`.
    pub(crate) fn serve(
        listener: TcpListener,
        connections: Arc<AtomicUsize>,
        layer: impl Layer,
        handler: Arc<impl Handler>,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        let stale = Arc::default();
        let task =
            tokio::spawn(accept(listener, Arc::clone(&connections), Arc::clone(&stale), layer, handler));
        Ok(Self { address, connections, stale, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on the connections that are open now are reset at their next request, unseen.
    pub(crate) fn go_stale(&self) {
        self.stale.store(self.connections(), Ordering::Relaxed);
    }

    /// Returns once the port is closed.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // The only error is the cancellation just asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    stale: Arc<AtomicUsize>,
    layer: impl Layer,
    handler: Arc<impl Handler>,
) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
                let (layer, handler, stale) = (layer.clone(), Arc::clone(&handler), Arc::clone(&stale));
                open.spawn(async move {
                    // Without it small answers wait for the client's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    if let Ok(socket) = layer.lay(stream).await {
                        speak(Perishable { socket, number, stale, is_spent: false }, handler).await;
                    }
                });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn speak(socket: Perishable<impl Socket>, handler: Arc<impl Handler>) {
    let number = socket.number;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let request =
                Request { connection: number, method: head.method, path, headers: head.headers, body };
            handler.respond(request).await
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    let broken = poll_fn(|context| connection.poll_without_shutdown(context)).await.is_err();
    let mut socket = connection.into_parts().io.into_inner();
    // hyper takes an error between two requests for an end.
    if broken || socket.is_spent {
        // The system then sends RST in place of FIN when the socket is dropped.
        let _ = socket.socket.tcp().set_zero_linger();
    } else {
        let _ = socket.shutdown().await;
    }
}
