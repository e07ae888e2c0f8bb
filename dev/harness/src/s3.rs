//! A stand-in for S3: one bucket in memory, reached by path, as far as objects are listed, read and written whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::aws::md5_hex;
use crate::http::{self, Handler, Request, Response, Server};
use crate::sync::lock;

/// How many keys a page of a listing has: so few that every reader has to ask for more.
const PAGE: usize = 3;

const MODIFIED: (&str, &str) = ("last-modified", "Sat, 21 Nov 2026 05:04:03 GMT");

/// The server, until it is dropped.
pub struct S3 {
    server: Server,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    bucket: Mutex<BucketModel>,
    calls: Mutex<Vec<String>>,
    refuses_puts: AtomicBool,
}

/// A bucket without a server.
#[derive(Debug, Default)]
pub struct BucketModel {
    objects: BTreeMap<String, Object>,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Vec<u8>,
    etag: String,
}

impl Object {
    fn new(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", md5_hex(&bytes));
        Object { bytes, etag }
    }
}

impl S3 {
    /// An empty bucket, of any name.
    pub async fn start() -> Result<Self> {
        let state = Arc::<State>::default();
        Ok(Self { server: Server::start(Arc::clone(&state)).await?, state })
    }

    /// For `AWS_ENDPOINT_URL_S3`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Puts an object there, past the protocol.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        lock(&self.state.bucket).put(key, bytes);
    }

    /// An object's bytes; none when it is not there.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.state.bucket).get(key).map(<[u8]>::to_vec)
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state.bucket).keys()
    }

    /// From now on nobody may write below `data/`.
    pub fn refuse_puts(&self) {
        self.state.refuses_puts.store(true, Ordering::Relaxed);
    }

    /// Every request so far, as method and path.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state.calls).clone()
    }
}

impl Handler for State {
    async fn respond(&self, request: Request) -> Response {
        lock(&self.calls).push(format!("{} {}", request.method, request.path));
        if self.refuses_puts.load(Ordering::Relaxed)
            && request.method == Method::PUT
            && request.path.contains("/data/")
        {
            return Ok(refuse(403, "AccessDenied").map(http::full));
        }
        let mut bucket = lock(&self.bucket);
        let response = bucket.answer(&request.method, &request.path, &request.headers, &request.body);
        Ok(response.map(http::full))
    }
}

impl BucketModel {
    /// Puts an object there, past the protocol.
    pub fn put(&mut self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.objects.insert(key.to_owned(), Object::new(bytes.into()));
    }

    /// An object's bytes; none when it is not there.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.objects.get(key).map(|object| &*object.bytes)
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Answers a request. `target` is the path, whose first part is the bucket, with the query.
    pub fn answer(
        &mut self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> hyper::Response<Vec<u8>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let path = percent_decode_str(path).decode_utf8_lossy();
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        match *method {
            Method::GET if key.is_empty() && query.contains_key("list-type") => self.list(&query),
            Method::GET | Method::HEAD if !key.is_empty() => self.read(key, method, headers),
            Method::PUT if !key.is_empty() && query.is_empty() => {
                let object = Object::new(body.to_vec());
                let etag = object.etag.clone();
                self.objects.insert(key.to_owned(), object);
                response(200, &[("etag", &etag)], "")
            }
            _ => refuse(501, "NotImplemented"),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> hyper::Response<Vec<u8>> {
        let parameter = |name: &str| query.get(name).map(String::as_str);
        let prefix = parameter("prefix").unwrap_or_default();
        let after = parameter("continuation-token").or(parameter("start-after")).unwrap_or_default();
        let found = self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let found: Vec<_> = found.take(PAGE + 1).collect();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        for (key, object) in found.iter().take(PAGE) {
            // Writing to a string cannot fail. Keys and digests of tests need no escapes.
            let _ = write!(
                xml,
                "<Contents><Key>{key}</Key><LastModified>2026-11-21T05:04:03.000Z</LastModified>\
                 <ETag>{}</ETag><Size>{}</Size></Contents>",
                object.etag,
                object.bytes.len()
            );
        }
        if let Some((key, _)) = found.get(PAGE - 1).filter(|_| found.len() > PAGE) {
            let _ = write!(xml, "<NextContinuationToken>{key}</NextContinuationToken>");
        }
        xml.push_str("</ListBucketResult>");
        response(200, &[("content-type", "application/xml")], xml)
    }

    fn read(&self, key: &str, method: &Method, headers: &HeaderMap) -> hyper::Response<Vec<u8>> {
        let Some(Object { bytes, etag }) = self.objects.get(key).cloned() else {
            return refuse(404, "NoSuchKey");
        };
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if header("if-match").is_some_and(|wanted| wanted != etag) {
            return refuse(412, "PreconditionFailed");
        }
        let size = bytes.len();
        if *method == Method::HEAD {
            let headers = [("etag", etag.as_str()), MODIFIED, ("content-length", &size.to_string())];
            return response(200, &headers, "");
        }
        let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<usize>().ok()?)));
        match range {
            None => response(200, &[("etag", &etag), MODIFIED], bytes),
            Some((from, to)) => match bytes.get(from..size.min(to + 1)) {
                Some(part) if !part.is_empty() => {
                    let content_range = format!("bytes {from}-{}/{size}", from + part.len() - 1);
                    let headers = [("etag", etag.as_str()), MODIFIED, ("content-range", &content_range)];
                    response(206, &headers, part)
                }
                _ => refuse(416, "InvalidRange"),
            },
        }
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> hyper::Response<Vec<u8>> {
    let mut response = hyper::Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refuse(status: u16, code: &str) -> hyper::Response<Vec<u8>> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    response(status, &[("content-type", "application/xml")], xml)
}
