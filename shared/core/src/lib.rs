//! The pure core of vero-relay, without I/O: what `ingest` puts on the queue and how `worker` decides.
//!
//! The way of an event: its bytes → [`envelope::Envelope`] (SQS) → [`webhook::Webhook`] or
//! [`first_party::FirstParty`], read once → [`mapping`], one file a destination → [`delivery`], what an answer means
//! and what happens next. [`archive`] is what is kept of it.

#![warn(missing_docs)]

pub mod archive;
pub mod blueprint;
pub mod delivery;
pub mod envelope;
pub mod first_party;
pub mod identity;
pub mod json;
pub mod mapping;
pub mod names;
pub mod timestamp;
pub mod webhook;
