//! reqwest's connections to one destination, and which of them can be trusted.
//!
//! Between invocations Lambda freezes the process, and the other side closes what is idle. After that each kept
//! connection is reset at its next request, as if the destination were down. So none is kept longer than its time by
//! the wall clock, since the process's own clock may have stood still; and a request that a kept connection fails before
//! its answer is sent once more at once, over a new one.

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use relay_core::delivery::TransportError;
use relay_platform::tls;
use reqwest::{Client, RequestBuilder, Response, redirect};

use crate::start::StartError;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Idle connections are closed before the other side does it.
const IDLE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct Connections {
    kept: Mutex<Kept>,
    /// Keeps none: each request has a new connection.
    new_ones: Client,
}

/// Connections that are kept for the next request.
#[derive(Debug)]
struct Kept {
    client: Client,
    used_at: SystemTime,
    /// Our ends of those that have brought an answer.
    answered: HashSet<SocketAddr>,
}

impl Kept {
    fn new(now: SystemTime) -> Result<Self, StartError> {
        Ok(Kept { client: client(usize::MAX)?, used_at: now, answered: HashSet::new() })
    }
}

impl Connections {
    /// None yet.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new() -> Result<Self, StartError> {
        Ok(Connections { kept: Mutex::new(Kept::new(SystemTime::now())?), new_ones: client(0)? })
    }

    /// What makes requests: with the kept connections, or with none when they were not used for too long. A clock that
    /// was set back tells nothing, so that it counts as too long.
    pub fn client(&self) -> Client {
        let (mut kept, now) = (self.kept(), SystemTime::now());
        let is_fresh = now.duration_since(kept.used_at).is_ok_and(|passed| passed < IDLE);
        if !is_fresh && let Ok(new) = Kept::new(now) {
            *kept = new;
        }
        kept.client.clone()
    }

    /// Sends a request, and waits for its answer's head as long as the caller does. The second value tells whether it
    /// was sent twice, at once: the destination may have taken the first one, too.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<(Response, bool), TransportError> {
        // A request that cannot be made is nothing that an endpoint which passed for one, and a key, can bring about.
        let (client, Ok(request)) = request.build_split() else { return Err(TransportError::Connect) };
        let again = request.try_clone();
        let error = match client.execute(request).await {
            Ok(response) => return Ok((self.used(response), false)),
            Err(error) => error,
        };
        match again {
            // How far the request came is unknown: nearly always the connection was gone before, but one that is
            // closed for the request looks the same.
            Some(again) if self.is_kept(&error) => match self.new_ones.execute(again).await {
                Ok(response) => Ok((response, true)),
                Err(error) if error.is_timeout() && !error.is_connect() => Err(TransportError::Timeout),
                Err(_) => Err(TransportError::Broken),
            },
            _ if error.is_connect() => Err(TransportError::Connect),
            _ if error.is_timeout() => Err(TransportError::Timeout),
            _ => Err(TransportError::Broken),
        }
    }

    fn used(&self, response: Response) -> Response {
        let mut kept = self.kept();
        kept.used_at = SystemTime::now();
        kept.answered.extend(response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr));
        response
    }

    /// Whether a connection failed that had brought an answer before.
    fn is_kept(&self, error: &reqwest::Error) -> bool {
        let mut cause = error.source();
        let failed = loop {
            let Some(error) = cause else { break None };
            match error.downcast_ref::<legacy::Error>() {
                Some(error) => break error.connect_info(),
                None => cause = error.source(),
            }
        };
        let Some(failed) = failed else { return false };
        let mut extras = Extensions::new();
        failed.get_extras(&mut extras);
        extras.get::<HttpInfo>().is_some_and(|info| self.kept().answered.contains(&info.local_addr()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(max_kept: usize) -> Result<Client, StartError> {
    let tls = tls::config().map_err(|error| StartError::Client(error.into()))?;
    Client::builder()
        .user_agent(concat!("vero-relay/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured((*tls).clone())
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(max_kept)
        .no_proxy()
        .build()
        .map_err(|error| StartError::Client(error.into()))
}
