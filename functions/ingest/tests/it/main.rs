//! The built `ingest`, driven as Lambda drives it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod first_party;
mod operation;
mod setup;
mod tls;
mod webhooks;
