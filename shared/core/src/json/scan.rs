//! What splitting and searching have in common.

/// How many bytes of a string come before its end or an escape. Most strings are short; one in a request may have 6 MB.
pub fn plain_run(rest: &[u8]) -> usize {
    let (near, far) = rest.split_at(rest.len().min(32));
    let end = near.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    end.unwrap_or_else(|| near.len() + memchr::memchr2(b'"', b'\\', far).unwrap_or(far.len()))
}
