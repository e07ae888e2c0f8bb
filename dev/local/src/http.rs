//! Plain HTTP on loopback: one request at a time out, one handler in.

use std::convert::Infallible;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// A request with its body read.
pub type Request = hyper::Request<Bytes>;
/// A response with its body read.
pub type Response = hyper::Response<Bytes>;

/// Longer than anything here takes; MiniStack takes a second for its first Lambda call.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);

/// Sends a request to a server on this machine.
pub async fn send(address: SocketAddr, request: Request) -> Result<Response> {
    // The rest of the path may be a token.
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    let what = format!("{} /{first}", request.method());
    tokio::time::timeout(DEADLINE_AFTER, exchange(address, request))
        .await
        .with_context(|| format!("{address} did not answer {what} within {} s", DEADLINE_AFTER.as_secs()))?
        .with_context(|| format!("{what} at {address} failed"))
}

async fn exchange(address: SocketAddr, request: Request) -> Result<Response> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (parts, body) = request.into_parts();
    let mut request = hyper::Request::from_parts(parts, Full::new(body));
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", address.to_string().parse()?);
    }
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}

/// Answers requests with `handler` for as long as the runtime lives.
pub fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let handler = handler.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let response = match body.collect().await {
                        Ok(body) => handler(Request::from_parts(parts, body.to_bytes())).await,
                        Err(_) => response(400, ""),
                    };
                    Ok::<_, Infallible>(response.map(Full::new))
                }
            });
            // A connection that breaks is its client's business.
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}

/// A request's headers; what has, or may have, a secret is blanked out.
pub fn headers_without_secrets(request: &Request) -> Vec<(String, String)> {
    const SECRETS: [&str; 6] = ["auth", "token", "key", "cookie", "signature", "secret"];
    let headers = request.headers().iter().map(|(name, value)| {
        let (name, value) = (name.as_str(), String::from_utf8_lossy(value.as_bytes()));
        let is_secret = SECRETS.iter().any(|secret| name.contains(secret));
        (name.to_owned(), if is_secret { "…".to_owned() } else { value.into_owned() })
    });
    headers.collect()
}

/// `ingest` unpacks no more (contract: 6 MiB).
const UNPACKED: u64 = 6 * 1024 * 1024;

/// A request's body, unpacked if it is packed; `None` if that fails.
pub fn unpacked(request: &Request) -> Option<Vec<u8>> {
    if request.headers().get("content-encoding").is_none_or(|coding| coding != "gzip") {
        return Some(request.body().to_vec());
    }
    let mut body = Vec::new();
    GzDecoder::new(request.body().as_ref()).take(UNPACKED).read_to_end(&mut body).ok()?;
    Some(body)
}

pub fn response(status: u16, body: &str) -> Response {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Listens on loopback: on the port asked for, or on any that is free.
pub async fn listen(port: Option<u16>) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", port.unwrap_or(0))).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
