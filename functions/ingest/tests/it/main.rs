//! The built `ingest`, driven as Lambda drives it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "how long a binary takes is real time")]

mod first_party;
mod operation;
mod setup;
mod tls;
mod webhooks;
