//! reqwest's connections to one destination, and which of them can be trusted.
//!
//! Between invocations Lambda freezes the process, and the other side closes what is idle. After that each kept
//! connection is reset at its next request, as if the destination were down. So none is kept longer than its time by
//! the wall clock, since the process's own clock may have stood still; and of a request that broke it is told whether
//! its connection was a kept one.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Extensions;
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use relay_core::endpoints::Reach;
use relay_platform::world::{Incoming, Network, NoResponse, Over};
use relay_platform::{tls, world};
use reqwest::{Body, Client, Response, redirect};

use super::public_addresses::{self, PublicAddresses};
use crate::start::StartError;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Idle connections are closed before the other side does it.
const IDLE: Duration = Duration::from_secs(15);

/// After such a rest whatever connection is there was kept, also one that was opened beside others and never used.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Connections {
    reach: Reach,
    kept: Mutex<Kept>,
    /// Keeps none: each request has a new connection.
    new_ones: Client,
}

/// Connections that are kept for the next request.
#[derive(Debug)]
struct Kept {
    client: Client,
    /// Our ends of those that have brought a response, and when each did so last.
    used: HashMap<SocketAddr, SystemTime>,
}

impl Kept {
    fn new(reach: Reach) -> Result<Self, StartError> {
        Ok(Kept { client: client(usize::MAX, reach)?, used: HashMap::new() })
    }

    /// Whether all were used within that time. A clock that was set back tells nothing, so that they were not.
    fn all_used_within(&self, time: Duration, now: SystemTime) -> bool {
        self.used.values().all(|used_at| now.duration_since(*used_at).is_ok_and(|passed| passed < time))
    }

    /// Whether none was used within that time, although there are some.
    fn rests(&self, now: SystemTime) -> bool {
        let has_rested =
            |used_at: &SystemTime| !now.duration_since(*used_at).is_ok_and(|passed| passed < REST);
        !self.used.is_empty() && self.used.values().all(has_rested)
    }
}

impl Connections {
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new(reach: Reach) -> Result<Self, StartError> {
        Ok(Connections { reach, kept: Mutex::new(Kept::new(reach)?), new_ones: client(0, reach)? })
    }

    /// The kept connections; new ones when one of them was not used for too long.
    fn client(&self) -> Client {
        let mut kept = self.kept();
        if !kept.all_used_within(IDLE, world::now())
            && let Ok(new) = Kept::new(self.reach)
        {
            *kept = new;
        }
        kept.client.clone()
    }

    async fn send(&self, request: http::Request<Bytes>, over: Over) -> Result<Incoming, NoResponse> {
        let client = match over {
            Over::Any => self.client(),
            Over::New => self.new_ones.clone(),
        };
        // A request that cannot be made is nothing that an endpoint which passed for one, and a key, can bring about.
        let request = request.try_into().map_err(|_| NoResponse::Connect)?;
        let after_a_rest = over == Over::Any && self.kept().rests(world::now());
        let response = client.execute(request).await.map_err(|error| match error {
            error if public_addresses::is_refused(&error) => NoResponse::Private,
            error if error.is_connect() => NoResponse::Connect,
            error if error.is_timeout() => NoResponse::Timeout,
            error => NoResponse::Broken { was_kept: after_a_rest || self.was_used(&error) },
        })?;
        if over == Over::Any {
            self.used(&response);
        }
        let response: http::Response<Body> = response.into();
        Ok(response.map(|body| body.map_err(Into::into).boxed()))
    }

    fn used(&self, response: &Response) {
        if let Some(info) = response.extensions().get::<HttpInfo>() {
            self.kept().used.insert(info.local_addr(), world::now());
        }
    }

    /// Whether a connection failed that had brought a response before.
    fn was_used(&self, error: &reqwest::Error) -> bool {
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
        extras.get::<HttpInfo>().is_some_and(|info| self.kept().used.contains_key(&info.local_addr()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Connections {
    fn send(&self, request: http::Request<Bytes>, over: Over) -> BoxFuture<'_, Result<Incoming, NoResponse>> {
        Box::pin(self.send(request, over))
    }
}

fn client(max_kept: usize, reach: Reach) -> Result<Client, StartError> {
    let tls = tls::config().map_err(|error| StartError::Client(error.into()))?;
    let builder = match reach {
        Reach::Anywhere => Client::builder(),
        Reach::Public => Client::builder().dns_resolver(PublicAddresses),
    };
    builder
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

#[cfg(test)]
mod tests {
    use super::*;
    use harness::{Behaviour, Receiver, When};

    const STALE: NoResponse = NoResponse::Broken { was_kept: true };

    /// Sends so many requests side by side, and tells how many broke over a kept connection.
    async fn ask(connections: &Connections, receiver: &Receiver, count: usize) -> usize {
        let send = || {
            let request = http::Request::post(receiver.url()).body(Bytes::from_static(b"{}")).unwrap();
            connections.send(request, Over::Any)
        };
        let asked = futures_util::future::join_all((0..count).map(|_| send())).await;
        let mut stale = 0;
        for result in asked {
            match result {
                Ok(response) => assert!(!response.collect().await.unwrap().to_bytes().is_empty()),
                Err(error) => {
                    assert_eq!(error, STALE);
                    stale += 1;
                }
            }
        }
        stale
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_are_kept_for_their_time_by_the_wall_clock() {
        let (connections, receiver) =
            (Connections::new(Reach::Anywhere).unwrap(), Receiver::start().await.unwrap());
        for _ in 0..10 {
            assert_eq!(ask(&connections, &receiver, 1).await, 0);
        }
        assert!(receiver.connections() < 10, "some were kept");
        // So much time has passed for one of them, although the process's clock stood still; or the clock was set back,
        // and nobody knows.
        let later = |used_at: &mut SystemTime| *used_at -= IDLE;
        let earlier = |used_at: &mut SystemTime| *used_at += IDLE;
        for change in [&later as &dyn Fn(&mut SystemTime), &earlier] {
            ask(&connections, &receiver, 4).await;
            change(connections.kept().used.values_mut().next().unwrap());
            receiver.go_stale().await;
            assert_eq!(ask(&connections, &receiver, 1).await, 0, "a new one");
            assert_eq!(connections.kept().used.len(), 1);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_that_leads_to_this_machine_is_reached_on_request_alone() {
        let receiver = Receiver::start().await.unwrap();
        let url = receiver.url().replace("127.0.0.1", "localhost");
        let sent = async |reach| {
            let request = http::Request::post(&url).body(Bytes::from_static(b"{}")).unwrap();
            Connections::new(reach).unwrap().send(request, Over::Any).await.map(|response| response.status())
        };
        assert_eq!(sent(Reach::Public).await, Err(NoResponse::Private));
        assert_eq!(receiver.count(), 0);
        assert_eq!(sent(Reach::Anywhere).await.unwrap(), 200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_rest_every_connection_was_kept_also_one_that_was_never_used() {
        let (connections, receiver) =
            (Connections::new(Reach::Anywhere).unwrap(), Receiver::start().await.unwrap());
        // So that each request has a connection of its own.
        receiver.behave(Behaviour::Slow(Duration::from_millis(100)), When::always());
        ask(&connections, &receiver, 4).await;
        // As if three of the four had only been opened.
        let used = *connections.kept().used.keys().next().unwrap();
        connections.kept().used.retain(|address, _| *address == used);
        *connections.kept().used.values_mut().next().unwrap() -= REST;
        receiver.go_stale().await;
        receiver.clear();
        assert_eq!(ask(&connections, &receiver, 4).await, 4);
        assert_eq!(receiver.count(), 0, "none was seen");
        let request = http::Request::post(receiver.url()).body(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(connections.send(request, Over::New).await.unwrap().status(), 200);
        assert_eq!(connections.kept().used.len(), 1, "what is not kept is not remembered");
    }
}
