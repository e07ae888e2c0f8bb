//! Who may send. A request becomes an [`authorized::Authorized`] value in `verifier` and nowhere else, and nothing is
//! enqueued without one.
//!
//! - `credentials`: what senders are known by. `tokens`: digests of tokens and keys. `write_key`: the key in a body.
//!   `signature`: Segment's `X-Signature`.

pub mod authorized;
pub mod credentials;
pub mod signature;
pub mod tokens;
pub mod verifier;
mod write_key;
