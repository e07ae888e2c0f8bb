//! A stand-in for S3: one bucket in memory, reached by path, as far as objects are listed, read and written whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use hyper::Method;
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
    objects: Mutex<BTreeMap<String, Object>>,
    calls: Mutex<Vec<String>>,
}

#[derive(Clone)]
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
        lock(&self.state.objects).insert(key.to_owned(), Object::new(bytes.into()));
    }

    /// An object's bytes; none when it is not there.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.state.objects).get(key).map(|object| object.bytes.clone())
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state.objects).keys().cloned().collect()
    }

    /// Every request so far, as method and path.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state.calls).clone()
    }
}

impl Handler for State {
    async fn respond(&self, request: Request) -> Response {
        lock(&self.calls).push(format!("{} {}", request.method, request.path));
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let path = percent_decode_str(path).decode_utf8_lossy();
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        match request.method {
            Method::GET if key.is_empty() && query.contains_key("list-type") => self.list(&query),
            Method::GET | Method::HEAD if !key.is_empty() => self.read(key, &request),
            Method::PUT if !key.is_empty() && query.is_empty() => {
                let object = Object::new(request.body.to_vec());
                let etag = object.etag.clone();
                lock(&self.objects).insert(key.to_owned(), object);
                http::response(200, &[("etag", &etag)], http::full(""))
            }
            _ => refuse(501, "NotImplemented"),
        }
    }
}

impl State {
    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let parameter = |name: &str| query.get(name).map(String::as_str);
        let prefix = parameter("prefix").unwrap_or_default();
        let after = parameter("continuation-token").or(parameter("start-after")).unwrap_or_default();
        let objects = lock(&self.objects);
        let found = objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
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
        http::response(200, &[("content-type", "application/xml")], http::full(xml))
    }

    fn read(&self, key: &str, request: &Request) -> Response {
        let Some(Object { bytes, etag }) = lock(&self.objects).get(key).cloned() else {
            return refuse(404, "NoSuchKey");
        };
        let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        if header("if-match").is_some_and(|wanted| wanted != etag) {
            return refuse(412, "PreconditionFailed");
        }
        let size = bytes.len();
        if request.method == Method::HEAD {
            let headers = [("etag", etag.as_str()), MODIFIED, ("content-length", &size.to_string())];
            return http::response(200, &headers, http::full(""));
        }
        let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<usize>().ok()?)));
        match range {
            None => http::response(200, &[("etag", &etag), MODIFIED], http::full(bytes)),
            Some((from, to)) => match bytes.get(from..size.min(to + 1)) {
                Some(part) if !part.is_empty() => {
                    let content_range = format!("bytes {from}-{}/{size}", from + part.len() - 1);
                    let headers = [("etag", etag.as_str()), MODIFIED, ("content-range", &content_range)];
                    http::response(206, &headers, http::full(part.to_vec()))
                }
                _ => refuse(416, "InvalidRange"),
            },
        }
    }
}

fn refuse(status: u16, code: &str) -> Response {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    http::response(status, &[("content-type", "application/xml")], http::full(xml))
}
