//! A host for one SDK, which passes requests on to the pipeline and records them.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use flate2::read::GzDecoder;
use harness::{Function, UrlAnswer, url_event};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use local::http::{self, Request, Response};
use serde_json::Value;

/// Where a recorder passes requests on to.
#[derive(Clone)]
pub enum Upstream {
    /// A host of its own: the proxy of `cargo local`.
    Proxy(SocketAddr),
    /// Ingest, reached as by its Function URL.
    Ingest(Arc<Function>),
}

/// A request that was made, and its answer.
#[derive(Clone)]
pub struct Exchange {
    pub path: String,
    /// The events in the body: the elements of a batch, or the body.
    pub events: Vec<Value>,
    pub status: u16,
    pub content_type: String,
    pub answer: Bytes,
}

impl Exchange {
    /// The one answer that every SDK takes for success.
    pub fn is_success(&self) -> bool {
        self.status == 200 && self.content_type == "application/json" && self.answer == r#"{"success":true}"#
    }

    /// A refusal in which every SDK finds what it looks for: some send again without.
    pub fn is_refusal(&self) -> bool {
        let answer: Value = serde_json::from_slice(&self.answer).unwrap_or_default();
        let words = ["code", "message", "error"];
        self.status == 401 && answer["success"] == false && words.iter().all(|word| answer[word].is_string())
    }
}

/// A host on a port of its own.
pub struct Recorder {
    pub address: SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Recorder {
    /// Takes requests from now on.
    pub async fn start(upstream: &Upstream) -> Result<Recorder> {
        let (listener, address) = http::listen(None).await?;
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let (upstream, noted) = (upstream.clone(), Arc::clone(&exchanges));
        http::serve(listener, move |request| {
            let (upstream, noted) = (upstream.clone(), Arc::clone(&noted));
            async move {
                let (path, events) = (request.uri().path().to_owned(), events(&request));
                let answer = upstream.answer(request).await.unwrap_or_else(|error| {
                    http::response(502, &serde_json::json!({"error": format!("{error:#}")}).to_string())
                });
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(Exchange {
                    path,
                    events,
                    status: answer.status().as_u16(),
                    content_type: header(answer.headers(), "content-type").to_owned(),
                    answer: answer.body().clone(),
                });
                answer
            }
        });
        Ok(Recorder { address, exchanges })
    }

    /// Every request so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Upstream {
    async fn answer(&self, mut request: Request) -> Result<Response> {
        match self {
            Upstream::Proxy(address) => {
                // They belong to the connection; the length is counted again.
                for name in ["host", "connection", "content-length", "transfer-encoding", "expect"] {
                    request.headers_mut().remove(name);
                }
                let mut answer = http::send(*address, request).await?;
                for name in ["connection", "content-length", "transfer-encoding"] {
                    answer.headers_mut().remove(name);
                }
                Ok(answer)
            }
            Upstream::Ingest(function) => response(UrlAnswer::of(&function.invoke(&event(&request)).await?)),
        }
    }
}

/// The request as Lambda hands it to a function: text under these types, base64 under others.
fn event(request: &Request) -> Value {
    let headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let media_type = header(request.headers(), "content-type").split(';').next().unwrap_or_default().trim();
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    let uri = request.uri();
    url_event(
        request.method().as_str(),
        uri.path(),
        uri.query().unwrap_or_default(),
        &headers,
        request.body(),
        !is_text,
    )
}

fn response(answer: UrlAnswer) -> Result<Response> {
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status)?;
    for (name, value) in answer.headers {
        response
            .headers_mut()
            .append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(&value)?);
    }
    Ok(response)
}

fn events(request: &Request) -> Vec<Value> {
    let mut unpacked = Vec::new();
    let body = match header(request.headers(), "content-encoding") {
        "gzip" => {
            GzDecoder::new(request.body().as_ref()).read_to_end(&mut unpacked).map(|_| unpacked.as_slice())
        }
        _ => Ok(request.body().as_ref()),
    };
    let body: Value = body.ok().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    match body["batch"].as_array().or(body.as_array()) {
        Some(batch) => batch.clone(),
        None => vec![body],
    }
}

fn header<'h>(headers: &'h hyper::HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
