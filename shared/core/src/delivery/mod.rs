//! What a response means, and what happens to an event next. Decisions only: the requests are the worker's.

mod backoff;
mod breaker;
mod order;
mod outcome;
mod response;
mod settle;

pub use backoff::{MAX_ATTEMPTS, MAX_DELAY, delay};
pub use breaker::{Admission, Breaker};
pub use order::{OrderKey, in_order};
pub use outcome::{DeliveryError, DeliveryOutcome};
pub use response::{Response, Target, TransportError, outcome, retry_after};
pub use settle::{Resend, Settlement, Tries, Undeliverable, settle, tries_before};
