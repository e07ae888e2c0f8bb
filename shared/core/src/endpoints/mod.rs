//! Webhook endpoints: URLs of the customer's own that events go to, several of them, each by a name.
//!
//! - `settings`: the document that describes them, and what is wrong with one.
//! - `address`: which addresses are private, so that nobody reaches what only this network can reach.
//! - `signature`: what a request is signed with, by Standard Webhooks (github.com/standard-webhooks).
//!
//! What an endpoint is sent of an event is in [`crate::mapping::endpoint`].

mod address;
mod settings;
mod signature;

pub use address::is_public;
pub use settings::{Endpoint, Endpoints, Form, HEADER_NAMES, Reach};
pub use signature::SigningSecret;
