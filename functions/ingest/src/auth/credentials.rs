//! What a sender is known by.

use super::signature::SharedSecret;
use super::tokens::Tokens;

/// A route without any is off.
#[derive(Debug)]
pub struct Credentials {
    /// For `/vero`.
    pub webhook_tokens: Tokens,
    /// For `/segment`.
    pub segment_tokens: Tokens,
    /// For `/v1` and whatever Segment's spec knows.
    pub write_keys: Tokens,
    /// For `/v1`, for track, page and screen only.
    pub browser_keys: Tokens,
    /// What Segment signs its events with.
    pub shared_secret: SharedSecret,
}
