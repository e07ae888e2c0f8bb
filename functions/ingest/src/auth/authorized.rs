//! A request of somebody who may send it.

use super::tokens::Digest;
use crate::http::request::InboundRequest;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Whatever Segment's spec knows.
    Full,
    /// Only track, page and screen: for keys that every visitor of a site can read.
    TrackOnly,
}

/// Only [`super::verifier`] makes one, and nothing is enqueued without one.
#[derive(Debug)]
pub struct Authorized<'r> {
    pub(super) request: &'r InboundRequest,
    pub(super) key: Digest,
    pub(super) scope: Scope,
}

impl<'r> Authorized<'r> {
    pub fn request(&self) -> &'r InboundRequest {
        self.request
    }

    /// The digest of the token or key: ids of events are derived from it.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }
}
