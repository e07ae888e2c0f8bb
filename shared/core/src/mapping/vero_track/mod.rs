//! What Vero's API is sent: for a webhook, so that journeys can react to what happened to a message, and for a
//! first-party event.
//!
//! - `webhook`, `first_party`: from an event to its requests. `tags`: the tags of a first-party event's user.
//! - `request`: one request of Vero's API, and why none is made.

mod first_party;
mod request;
mod tags;
mod webhook;

pub use first_party::{Rules, VeroRequests, from_event};
pub use request::{Consent, Endpoint, Skip, VeroRequest};
pub use tags::Tags;
pub use webhook::from_webhook;
