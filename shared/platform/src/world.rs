//! What a function sees of the world beside its variables: the time, chance and the network.
//!
//! All of it comes from here, so that the simulation (`dev/simulation`) runs the functions as they are in a world of its
//! own; clippy refuses other clocks and other chance in the functions. Timers and deadlines of an invocation are tokio's,
//! whose clock can be paused. What outlives an invocation goes by the time of day: Lambda freezes the process between
//! two, and its own clock may stand still meanwhile.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use hyper::body::Bytes;

/// A world in the place of the real one.
pub trait World {
    /// What the clock on the wall says.
    fn now(&self) -> SystemTime;

    /// 64 bits of chance.
    fn random(&self) -> u64;

    /// AWS, behind the connector seam of its SDK.
    fn aws(&self) -> SharedHttpClient;

    /// The network to the destinations.
    fn network(&self) -> Arc<dyn Network>;
}

/// A network that requests to destinations go over.
pub trait Network: Send + Sync {
    /// Sends a request, and brings the response's head; its body may still come.
    fn send(&self, request: http::Request<Bytes>, over: Over) -> BoxFuture<'_, Result<Incoming, NoResponse>>;
}

/// A response of a network.
pub type Incoming = http::Response<BoxBody<Bytes, Box<dyn Error + Send + Sync>>>;

/// Which connection a request may go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// One that was kept, where there is one.
    Any,
    /// A new one.
    New,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoResponse {
    /// No connection came about: the other side has seen nothing.
    Connect,
    /// The name leads to a private address, which the other side may not have: nothing was sent.
    Private,
    /// It did not come in time.
    Timeout,
    /// The connection broke: whether the other side took the request is unknown.
    Broken {
        /// It was kept from an earlier request, so that the other side may have closed it long ago.
        was_kept: bool,
    },
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Runs something in a world of its own.
pub fn within<T>(world: &Rc<dyn World>, run: impl FnOnce() -> T) -> T {
    /// Puts the world before it back, also after a panic.
    struct Before(Option<Rc<dyn World>>);
    impl Drop for Before {
        fn drop(&mut self) {
            WORLD.replace(self.0.take());
        }
    }
    let _before = Before(WORLD.replace(Some(Rc::clone(world))));
    run()
}

fn here<T>(ask: impl FnOnce(&dyn World) -> T) -> Option<T> {
    let world = WORLD.with_borrow(Clone::clone);
    world.map(|world| ask(&*world))
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> SystemTime {
    here(|world| world.now()).unwrap_or_else(SystemTime::now)
}

/// 64 bits of chance.
///
/// # Panics
/// Never on Lambda: Linux has some from its start on. Without any, two processes would make the same ids.
#[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one place that chance comes from")]
pub fn random() -> u64 {
    here(|world| world.random()).unwrap_or_else(|| getrandom::u64().expect("the system has chance"))
}

/// A number from 0 to 1, by chance.
pub fn fraction() -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    (random() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
}

/// AWS, if the world is not the real one.
pub(crate) fn aws() -> Option<SharedHttpClient> {
    here(|world| world.aws())
}

/// The network to the destinations, if the world is not the real one.
pub fn network() -> Option<Arc<dyn Network>> {
    here(|world| world.network())
}

/// The clock of the AWS SDK.
#[derive(Debug)]
pub(crate) struct Clock;

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        now()
    }
}
