//! What an answer means, and what happens to an event next. Decisions only: the requests are the worker's.

mod answer;
mod backoff;
mod breaker;
mod order;
mod settle;

pub use answer::{Answer, DeliveryError, Target, TransportError, Verdict, retry_after};
pub use backoff::{MAX_ATTEMPTS, MAX_DELAY, delay};
pub use breaker::{Admission, Breaker};
pub use order::{OrderKey, in_order};
pub use settle::{DeliveryOutcome, Resend, Settlement, Tries, Undeliverable, settle, tries_before};
