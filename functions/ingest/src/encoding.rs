//! Bodies of Segment's SDKs, some of which are gzip.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::request::Request;

/// The most bytes of a body once it is unpacked: about what a Function URL takes of one that is not gzip.
pub const MAX_DECODED: usize = 6 * 1024 * 1024;

const GZIP: [u8; 2] = [0x1F, 0x8B];

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecodable {
    /// It grows beyond [`MAX_DECODED`]. The rest was not looked at.
    TooLarge,
    /// It is gzip that something on the way took for text: what was no UTF-8 is gone.
    GzipAsText,
    /// It is gzip that is damaged.
    BadGzip,
}

/// The body's bytes, unpacked if they are gzip, which their head tells better than `Content-Encoding` does.
///
/// # Errors
/// [`Undecodable`].
pub fn decoded<'r>(request: &'r Request<'_>) -> Result<Cow<'r, [u8]>, Undecodable> {
    let body = &*request.body;
    if body.len() > MAX_DECODED {
        return Err(Undecodable::TooLarge);
    }
    if !body.starts_with(&GZIP) {
        let says_gzip = request.header("content-encoding").is_some_and(|coding| coding.contains("gzip"));
        // Something may have unpacked it and left the header.
        let is_json = body.trim_ascii_start().starts_with(b"{") || body.trim_ascii_start().starts_with(b"[");
        return match says_gzip && request.is_text && !is_json {
            true => Err(Undecodable::GzipAsText),
            false => Ok(Cow::Borrowed(body)),
        };
    }
    let mut decoded = Vec::new();
    match MultiGzDecoder::new(body).take(MAX_DECODED as u64 + 1).read_to_end(&mut decoded) {
        Ok(_) if decoded.len() > MAX_DECODED => Err(Undecodable::TooLarge),
        Ok(_) => Ok(Cow::Owned(decoded)),
        Err(_) => Err(Undecodable::BadGzip),
    }
}
