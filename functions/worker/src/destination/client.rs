//! An HTTP client for one destination.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{Method, Request, request};
use http_body_util::BodyExt;
use relay_core::delivery::{DeliveryOutcome, Response, Target, TransportError, retry_after};
use relay_core::endpoints::Reach;
use relay_platform::world::{self, Incoming, Network, NoResponse, Over};
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;
use super::connections::Connections;
use super::context::RunContext;
use crate::secrets::Secrets;
use crate::start::StartError;

/// How much of a response is read, unpacked too.
const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take, after its head, that decides nothing.
const BODY: Duration = Duration::from_secs(1);

/// By which gzip begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is particular about calls to a destination.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// It tells of refusals in the body of a 200.
    pub status_in_body: bool,
    /// A request that it gets twice at once it drops by itself; see [`Caller::new`].
    pub drops_repeats: bool,
    /// Where it may be.
    pub reach: Reach,
}

impl Dialect {
    /// That of a destination whose URL the operator of the stack gives.
    pub const USUAL: Dialect = Dialect { status_in_body: false, drops_repeats: true, reach: Reach::Anywhere };
}

/// Calls one destination over HTTP.
pub struct Client {
    network: Arc<dyn Network>,
    caller: Caller,
    status_in_body: bool,
}

impl Client {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new(dialect: Dialect) -> Result<Self, StartError> {
        let Dialect { status_in_body, drops_repeats, reach } = dialect;
        let network = match world::network() {
            Some(network) => network,
            None => Arc::new(Connections::new(reach)?),
        };
        Ok(Client { network, caller: Caller::new(drops_repeats), status_in_body })
    }

    pub fn request(&self, method: Method, url: &str) -> request::Builder {
        let request = Request::builder().method(method).uri(url);
        request.header(ACCEPT_ENCODING, "identity").header(CONTENT_TYPE, "application/json")
    }

    /// Whether the next call would be the one that tries whether the destination is back.
    pub fn is_on_trial(&self) -> bool {
        self.caller.is_on_trial()
    }

    /// Makes a call of which `make` makes each try's request; else as [`Caller::call`].
    pub async fn call(
        &self,
        context: &RunContext<'_>,
        part: &'static str,
        target: Target,
        make: impl Fn() -> http::Result<Request<Bytes>>,
    ) -> DeliveryOutcome {
        let send = |timeout| {
            let request = make();
            async move { self.send(request, timeout, context.secrets).await }
        };
        self.caller.call(context, part, target, send).await
    }

    async fn send(
        &self,
        request: http::Result<Request<Bytes>>,
        timeout: Duration,
        secrets: &Secrets,
    ) -> Result<Response, TransportError> {
        let deadline = Instant::now() + timeout;
        // No key that can be had makes a request that is none.
        let request = request.map_err(|_| TransportError::Connect)?;
        let (response, is_repeated) =
            timeout_at(deadline, self.exchange(request)).await.unwrap_or(Err(TransportError::Timeout))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let decides = self.status_in_body && status.is_success();
        let until = if decides { deadline } else { deadline.min(Instant::now() + BODY) };
        let mut body = Vec::new();
        let is_whole = timeout_at(until, read(response, &mut body)).await.unwrap_or(false);
        let body = match unpacked(&headers, body) {
            Some(body) if is_whole => String::from_utf8_lossy(&body).into_owned(),
            _ if decides => return Err(TransportError::Unread),
            body => String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
        };
        let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| retry_after(value, world::now()));
        let response = Response { status: status.as_u16(), retry_after, body, is_repeated };
        let response = if decides { response.with_status_of_body() } else { response };
        // Last, so that nothing that looks like a secret is missing where the body decides.
        Ok(Response { body: secrets.redacted(response.body), ..response })
    }

    /// Sends a request, and waits for its response's head as long as the caller does. One that broke over a kept
    /// connection is sent once more at once, over a new one. The second value tells whether it was: the destination may
    /// have taken the first one, too.
    async fn exchange(&self, request: Request<Bytes>) -> Result<(Incoming, bool), TransportError> {
        match self.network.send(request.clone(), Over::Any).await {
            Ok(response) => Ok((response, false)),
            Err(NoResponse::Connect) => Err(TransportError::Connect),
            Err(NoResponse::Private) => Err(TransportError::Private),
            Err(NoResponse::Timeout) => Err(TransportError::Timeout),
            Err(NoResponse::Broken { was_kept: false }) => Err(TransportError::Broken),
            // How far it came is unknown: nearly always the connection was gone before, but one that is closed for the
            // request looks the same.
            Err(NoResponse::Broken { was_kept: true }) => match self.network.send(request, Over::New).await {
                Ok(response) => Ok((response, true)),
                Err(NoResponse::Timeout) => Err(TransportError::Timeout),
                Err(NoResponse::Connect | NoResponse::Private | NoResponse::Broken { .. }) => {
                    Err(TransportError::Broken)
                }
            },
        }
    }
}

/// Reads a body; whether all of it came. What came is in `body` also when its end did not.
async fn read(response: Incoming, body: &mut Vec<u8>) -> bool {
    let mut incoming = response.into_body();
    while let Some(frame) = incoming.frame().await {
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(chunk) if chunk.len() <= MAX_BODY - body.len() => body.extend_from_slice(&chunk),
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// A body as its bytes; none of one that cannot be unpacked. Gzip was not asked for, but some gateways write it all the
/// same, with or without a word in the headers.
fn unpacked(headers: &HeaderMap, body: Vec<u8>) -> Option<Vec<u8>> {
    let is_plain = |encoding: &[u8]| encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity");
    let is_gzip =
        |encoding: &[u8]| [&b"gzip"[..], b"x-gzip"].iter().any(|gzip| encoding.eq_ignore_ascii_case(gzip));
    if body.starts_with(&GZIP) {
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(&*body).take(MAX_BODY as u64 + 1).read_to_end(&mut unpacked).ok()?;
        return (read <= MAX_BODY).then_some(unpacked);
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes().trim_ascii());
    encodings.all(|encoding| is_plain(encoding) || is_gzip(encoding)).then_some(body)
}
