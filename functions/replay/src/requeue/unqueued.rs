//! The log lines in which `ingest` keeps what SQS did not take, and how they become envelopes again.

use std::collections::HashMap;

use serde::Deserialize;

/// The field `message` of such a line. The same text elsewhere in a line means nothing.
pub const MESSAGE: &str = "unqueued_webhook";

/// CloudWatch's filter for such lines (CloudWatch Logs user guide, "Filter pattern syntax").
pub const FILTER: &str = r#"{ $.message = "unqueued_webhook" }"#;

/// More parts cannot be right: the largest envelope has nine.
const MAX_PARTS: usize = 100;

/// In bytes of parts that wait for others.
const MAX_WAITING: usize = 32 * 1024 * 1024;

#[derive(Deserialize)]
struct LogLine {
    id: String,
    part: usize,
    parts: usize,
    envelope: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct UnqueuedWebhook {
    pub id: String,
    pub envelope: String,
}

/// Puts the parts of envelopes together.
#[derive(Debug, Default)]
pub struct Assembler {
    waiting: HashMap<String, Vec<Option<String>>>,
    bytes: usize,
    unreadable: u64,
}

impl Assembler {
    /// Takes a line, and returns the envelope that it completes.
    pub fn add(&mut self, line: &str) -> Option<UnqueuedWebhook> {
        #[derive(Deserialize)]
        struct Marked {
            message: String,
        }
        let is_unqueued = |marked: &Marked| marked.message == MESSAGE;
        serde_json::from_str::<Marked>(line).ok().filter(is_unqueued)?;
        let log_line = serde_json::from_str::<LogLine>(line)
            .ok()
            .filter(|line| line.parts <= MAX_PARTS && (1..=line.parts).contains(&line.part));
        let Some(LogLine { id, part, parts, envelope }) = log_line else {
            self.unreadable += 1;
            return None;
        };
        if self.bytes + envelope.len() > MAX_WAITING {
            // It counts as incomplete. Later runs read it again.
            self.waiting.entry(id).or_insert_with(|| vec![None; parts]);
            return None;
        }
        let waiting = self.waiting.entry(id.clone()).or_insert_with(|| vec![None; parts]);
        self.bytes += envelope.len();
        let replaced = waiting.get_mut(part - 1)?.replace(envelope);
        self.bytes -= replaced.map_or(0, |replaced| replaced.len());
        let whole: Option<Vec<&str>> = waiting.iter().map(Option::as_deref).collect();
        let envelope = whole?.concat();
        self.waiting.remove(&id);
        self.bytes -= envelope.len();
        Some(UnqueuedWebhook { id, envelope })
    }

    /// The ids of which parts are missing, and the number of lines that have the message but not its fields.
    pub fn end(self) -> (Vec<String>, u64) {
        (self.waiting.into_keys().collect(), self.unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(id: &str, part: usize, parts: usize, envelope: &str) -> String {
        json!({
            "timestamp": "2026-11-21T05:04:03Z", "level": "ERROR", "id": id, "part": part, "parts": parts,
            "envelope": envelope, "message": "unqueued_webhook", "request_id": "r",
        })
        .to_string()
    }

    fn whole(id: &str, envelope: &str) -> Option<UnqueuedWebhook> {
        Some(UnqueuedWebhook { id: id.to_owned(), envelope: envelope.to_owned() })
    }

    #[test]
    fn parts_come_in_any_order_and_mixed() {
        let mut assembly = Assembler::default();
        assert_eq!(assembly.add(&line("a", 1, 1, "{}")), whole("a", "{}"));
        assert_eq!(assembly.add(&line("b", 2, 3, "2")), None);
        assert_eq!(assembly.add(&line("c", 1, 2, "x")), None);
        assert_eq!(assembly.add(&line("b", 3, 3, "3")), None);
        assert_eq!(assembly.add(&line("b", 3, 3, "3")), None);
        assert_eq!(assembly.add(&line("b", 1, 3, "1")), whole("b", "123"));
        assert_eq!(assembly.bytes, 1);
        assert_eq!(assembly.end(), (vec!["c".to_owned()], 0));
    }

    #[test]
    fn only_the_field_message_marks_a_line() {
        let mut assembly = Assembler::default();
        let quoted = json!({"message": "refused: unqueued_webhook", "id": "a", "part": 1, "parts": 1, "envelope": "{}"});
        let within = json!({"message": "x", "more": line("a", 1, 1, "{}")});
        for line in ["", "unqueued_webhook", &quoted.to_string(), &within.to_string()] {
            assert_eq!(assembly.add(line), None, "{line}");
        }
        assert_eq!(assembly.unreadable, 0);
        for line in [
            line("a", 0, 1, "{}"),
            line("a", 2, 1, "{}"),
            line("a", 1, 101, "{}"),
            json!({"message": MESSAGE}).to_string(),
        ] {
            assert_eq!(assembly.add(&line), None, "{line}");
        }
        assert_eq!(assembly.end(), (Vec::new(), 4));
    }

    #[test]
    fn waiting_parts_are_bounded() {
        let mut assembly = Assembler::default();
        let large = "x".repeat(MAX_WAITING / 2);
        assert_eq!(assembly.add(&line("a", 1, 2, &large)), None);
        assert_eq!(assembly.add(&line("b", 1, 2, &format!("{large}!"))), None);
        assert_eq!(assembly.add(&line("a", 2, 2, "")), whole("a", &large));
        let (ids, _) = assembly.end();
        assert_eq!(ids, ["b"]);
    }
}
