//! The last resort when SQS does not take a webhook: the log, which is encrypted and can be read back.

use crate::queue_entry::QueueEntry;

/// The most bytes of an envelope in one line. CloudWatch takes more, but the lines' other readers may not.
const MAX_PART: usize = 32_000;

/// Writes an envelope to the log, in as many lines as it needs. Readers match the field `message`, and put the
/// `part`s of an `id` together.
pub(crate) fn log(entry: &QueueEntry) {
    let parts = split(&entry.body);
    for (index, envelope) in parts.iter().enumerate() {
        tracing::error!(id = %entry.id, part = index + 1, parts = parts.len(), envelope, "unqueued_webhook");
    }
}

fn split(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::with_capacity(text.len() / MAX_PART + 1);
    while text.len() > MAX_PART {
        let (part, rest) = text.split_at(text.floor_char_boundary(MAX_PART));
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_characters_and_add_up() {
        for text in
            ["", "short", &"é".repeat(50_000), &format!("x{}", "🦀".repeat(20_000)), &"x".repeat(32_000)]
        {
            let parts = split(text);
            assert!(parts.iter().all(|part| part.len() <= MAX_PART));
            assert_eq!(parts.concat(), text);
            assert_eq!(parts.len(), text.len().div_ceil(MAX_PART).max(1));
        }
    }
}
