//! What a request may cost.

/// The most bytes of a body once it is unpacked: about what a Function URL takes of one that is not gzip.
pub const MAX_DECODED: usize = 6 * 1024 * 1024;

/// How much of a body is looked at for its write key, unpacked, when its header names none; of what is packed, no more
/// either. Some SDKs name it in the body alone, and behind the batch: those of Kotlin, Swift and C#, and old ones of
/// Python, which stop at 475,000 bytes and an event more (analytics-python, consumer.py).
pub const MAX_HEAD: usize = 512 * 1024;

/// The most bytes of events that one request may make.
pub const MAX_EXPANDED: usize = 2 * MAX_DECODED;

/// How much of a too large event is kept, in bytes.
pub const KEPT_BYTES: usize = 100_000;

/// The most events in one request. Vero sends one, Segment up to 4,000; this bounds what an array can cost.
pub const MAX_EVENTS: usize = 10_000;
