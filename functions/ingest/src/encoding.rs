//! Bodies of Segment's SDKs, some of which are gzip.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{GzDecoder, MultiGzDecoder};

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

/// How much of a body is looked at for its write key, unpacked, when its header names none; of what is packed, no more
/// either. Some SDKs name it in the body alone, and behind the batch: those of Kotlin, Swift and C#, and old ones of
/// Python, which stop at 475,000 bytes and an event more (`segment.md`, 1.3 and 4.4).
pub const MAX_HEAD: usize = 512 * 1024;

/// The beginning of a body.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its bytes, unpacked, as far as they can be.
    pub bytes: Cow<'a, [u8]>,
    /// There may be more.
    pub is_cut: bool,
}

/// The body's bytes, unpacked if they are gzip, which their head tells better than `Content-Encoding` does.
///
/// # Errors
/// [`Undecodable`].
pub fn decoded<'a>(request: &Request<'a>) -> Result<Cow<'a, [u8]>, Undecodable> {
    let body = request.body();
    if body.len() > MAX_DECODED {
        return Err(Undecodable::TooLarge);
    }
    if !body.starts_with(&GZIP) {
        return if is_gzip_as_text(request, &body) { Err(Undecodable::GzipAsText) } else { Ok(body) };
    }
    let mut decoded = Vec::new();
    match MultiGzDecoder::new(&*body).take(MAX_DECODED as u64 + 1).read_to_end(&mut decoded) {
        Ok(_) if decoded.len() > MAX_DECODED => Err(Undecodable::TooLarge),
        Ok(_) => Ok(Cow::Owned(decoded)),
        Err(_) => Err(Undecodable::BadGzip),
    }
}

/// The beginning of the same, for a bounded price: whoever sends it may be anybody.
///
/// # Errors
/// That it is [`Undecodable::GzipAsText`].
pub fn head<'a>(request: &Request<'a>) -> Result<Head<'a>, Undecodable> {
    let bytes = request.head(MAX_HEAD);
    let is_cut = bytes.len() == MAX_HEAD;
    if !bytes.starts_with(&GZIP) {
        let is_beyond_repair = is_gzip_as_text(request, &bytes);
        return if is_beyond_repair { Err(Undecodable::GzipAsText) } else { Ok(Head { bytes, is_cut }) };
    }
    let mut unpacked = Vec::new();
    // Of one member, since to begin another costs more than its bytes do. Damaged, it may have its key before that.
    let read = GzDecoder::new(&*bytes).take(MAX_HEAD as u64).read_to_end(&mut unpacked);
    let is_cut = unpacked.len() == MAX_HEAD || (is_cut && read.is_err());
    Ok(Head { bytes: Cow::Owned(unpacked), is_cut })
}

/// Whether it was gzip once. Something on the way may have unpacked it, and left the header.
fn is_gzip_as_text(request: &Request<'_>, body: &[u8]) -> bool {
    let is_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    request.is_text
        && !is_json
        && request.header("content-encoding").is_some_and(|coding| coding.contains("gzip"))
}
