//! The pure core of vero-relay, without I/O: what `ingest` puts on the queue and how `worker` decides.
//!
//! The way of an event:
//!
//! 1. [`envelope`]: what travels in SQS, with the payload as it was received. [`json`] splits, searches and writes JSON
//!    without re-typing it.
//! 2. [`webhook`] and [`first_party`]: the payload, read once into what it says. [`identity`] is whom it is about,
//!    [`timestamp`] when it happened.
//! 3. [`names`], [`blueprint`] and its [`rules`]: what it is called at the destinations, and whether it goes there.
//!    [`document`] is what can be wrong with a document of an operator's.
//! 4. [`mapping`]: what each destination is sent, a file each.
//! 5. [`delivery`]: what a response means, and what happens next. [`destinations`] is the table of destinations.
//!    [`endpoints`] are the customer's own URLs among them.
//! 6. [`archive`]: the rows that are kept of it.

#![warn(missing_docs)]

pub mod archive;
pub mod blueprint;
pub mod delivery;
pub mod destinations;
pub mod document;
pub mod endpoints;
pub mod envelope;
pub mod first_party;
pub mod identity;
pub mod json;
pub mod mapping;
pub mod names;
pub mod rules;
pub mod timestamp;
pub mod webhook;
