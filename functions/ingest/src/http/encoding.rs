//! Bodies of Segment's SDKs, some of which are gzip.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use zlib_rs::{Inflate, InflateFlush, Status};

use crate::auth::authorized::Authorized;
use crate::http::request::InboundRequest;
use crate::limits::{MAX_DECODED, MAX_HEAD};
use crate::rejection::Rejection;

const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The beginning of a body.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its bytes, unpacked, as far as they can be.
    pub bytes: Cow<'a, [u8]>,
    /// There may be more.
    pub is_cut: bool,
}

/// The body's bytes as they came.
///
/// # Errors
/// [`Rejection::BodyTooLarge`].
pub fn bounded(request: &InboundRequest) -> Result<&[u8], Rejection> {
    let body = request.body();
    if body.len() > MAX_DECODED { Err(Rejection::BodyTooLarge) } else { Ok(body) }
}

/// The body's bytes, unpacked if they are gzip, which their head tells better than `Content-Encoding` does.
///
/// # Errors
/// [`Rejection::BodyTooLarge`], after which the rest was not looked at; [`Rejection::GzipAsText`];
/// [`Rejection::BadGzip`].
pub fn decoded<'r>(authorized: &Authorized<'r>) -> Result<Cow<'r, [u8]>, Rejection> {
    let request = authorized.request();
    let body = bounded(request)?;
    if !body.starts_with(&GZIP) {
        return if is_gzip_as_text(request, body) {
            Err(Rejection::GzipAsText)
        } else {
            Ok(Cow::Borrowed(body))
        };
    }
    let mut decoded = Vec::new();
    match MultiGzDecoder::new(body).take(MAX_DECODED as u64 + 1).read_to_end(&mut decoded) {
        Ok(_) if decoded.len() > MAX_DECODED => Err(Rejection::BodyTooLarge),
        Ok(_) => Ok(Cow::Owned(decoded)),
        Err(_) => Err(Rejection::BadGzip),
    }
}

/// The beginning of the same, for a bounded price: whoever sends it may be anybody.
///
/// # Errors
/// [`Rejection::GzipAsText`].
pub fn head(request: &InboundRequest) -> Result<Head<'_>, Rejection> {
    let bytes = request.body();
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let is_cut = bytes.len() == MAX_HEAD;
    if !bytes.starts_with(&GZIP) {
        let is_beyond_repair = is_gzip_as_text(request, bytes);
        return if is_beyond_repair {
            Err(Rejection::GzipAsText)
        } else {
            Ok(Head { bytes: Cow::Borrowed(bytes), is_cut })
        };
    }
    Ok(unpacked_head(bytes, is_cut))
}

/// Deflate's blocks may have nothing in them, and each can bring codes of its own, to be unfolded at the price of some
/// thousand bytes. Whoever packs in earnest ends a block after some 10,000 bytes, or two after an event, of which an SDK
/// sends 250 at most in one batch: so many are free, and one more in so many bytes that come of them.
const FREE_BLOCKS: usize = 1_000;
const BYTES_A_BLOCK: usize = 256;

/// The head of gzip's first member; what follows it is not looked at. Of a damaged one, all before the damage.
fn unpacked_head<'a>(packed: &[u8], is_packed_cut: bool) -> Head<'a> {
    const GZIP_WINDOW: u8 = 16 + 15;
    let mut inflate = Inflate::new(true, GZIP_WINDOW);
    let mut unpacked = vec![0; MAX_HEAD];
    let mut blocks = 0;
    let is_cut = loop {
        let (read, written) = (inflate.total_in() as usize, inflate.total_out() as usize);
        if written == MAX_HEAD || blocks > FREE_BLOCKS + written / BYTES_A_BLOCK {
            break true;
        }
        blocks += 1;
        match inflate.decompress(&packed[read..], &mut unpacked[written..], InflateFlush::Block) {
            Ok(Status::Ok) => (),
            Ok(Status::BufError) => break is_packed_cut,
            Ok(Status::StreamEnd) | Err(_) => break false,
        }
    };
    unpacked.truncate(inflate.total_out() as usize);
    Head { bytes: Cow::Owned(unpacked), is_cut }
}

/// Whether it was gzip once. Something on the way may have unpacked it, and left the header.
fn is_gzip_as_text(request: &InboundRequest, body: &[u8]) -> bool {
    let is_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    request.is_text()
        && !is_json
        && request.header("content-encoding").is_some_and(|coding| coding.contains("gzip"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use std::io::Write;

    #[test]
    fn the_head_of_what_any_client_packs() {
        let text: Vec<u8> = (0..700_000_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        for bytes in [0, 1, 1_000, 400_000, MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1, text.len()] {
            for level in [0, 1, 6, 9] {
                let mut whole = GzEncoder::new(Vec::new(), Compression::new(level));
                whole.write_all(&text[..bytes]).unwrap();
                let mut flushed = GzBuilder::new().filename("a").write(Vec::new(), Compression::new(level));
                for event in text[..bytes].chunks(800) {
                    flushed.write_all(event).unwrap();
                    flushed.flush().unwrap();
                }
                for packed in [whole.finish().unwrap(), flushed.finish().unwrap()] {
                    let head = unpacked_head(&packed, false);
                    assert!(
                        *head.bytes == text[..bytes.min(MAX_HEAD)],
                        "{bytes} at {level}: {}",
                        head.bytes.len()
                    );
                    assert_eq!(head.is_cut, bytes >= MAX_HEAD, "{bytes} at {level}");
                    let half = unpacked_head(&packed[..packed.len() / 2], true);
                    assert!(half.is_cut && text.starts_with(&half.bytes), "{bytes} at {level}");
                }
            }
        }
    }

    #[test]
    fn what_only_costs_is_given_up() {
        // Stored blocks of no bytes (RFC 1951, 3.2.4).
        let empty = [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &b"\0\0\0\xff\xff".repeat(100_000)].concat();
        let head = unpacked_head(&empty, false);
        assert!(head.is_cut && head.bytes.is_empty());
        for damaged in [&b"\x1f\x8b"[..], b"\x1f\x8b\x09", b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x07"] {
            let head = unpacked_head(damaged, false);
            assert!(!head.is_cut && head.bytes.is_empty());
        }
    }
}
