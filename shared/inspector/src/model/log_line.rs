//! A line of the functions' logs.

use serde::Serialize;
use serde_json::Value;

use super::letter::is_plain;
use super::time::At;

/// A line of a function's log, as far as it is of use to an operator.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// When it was written.
    pub at: At,
    /// Which function wrote it.
    pub function: String,
    /// `ERROR`, `WARN` or another.
    pub level: String,
    /// What it says.
    pub message: String,
    /// The event's id.
    pub id: Option<String>,
    /// The destination's part.
    pub destination: Option<String>,
    /// A snake_case code.
    pub reason: Option<String>,
    /// HTTP's status of a response.
    pub status: Option<u64>,
    /// The number of the try.
    pub attempt: Option<u64>,
    /// All of its fields.
    #[serde(skip)]
    pub fields: Value,
}

impl LogLine {
    /// Reads a line; `None` if it is one of Lambda's own around each call.
    pub fn read(function: &str, at: At, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || ["START ", "END ", "REPORT ", "INIT_"].iter().any(|own| text.starts_with(own)) {
            return None;
        }
        let fields: Value = serde_json::from_str(text).unwrap_or_else(|_| {
            // A panic or a message of the system, which nothing of ours has quoted an event into.
            serde_json::json!({"level": "ERROR", "message": text.chars().take(300).collect::<String>()})
        });
        let field = |name: &str| fields[name].as_str().map(str::to_owned);
        let platform = || {
            let kind = fields["type"].as_str().filter(|kind| kind.starts_with("platform."))?;
            let record = &fields["record"];
            let what = record["errorType"].as_str().or(record["status"].as_str()).unwrap_or_default();
            Some(format!("{kind} {what}"))
        };
        let message = field("message").or_else(platform)?;
        Some(LogLine {
            at,
            function: function.to_owned(),
            level: field("level").unwrap_or_else(|| "ERROR".to_owned()),
            message,
            id: field("id").filter(|id| is_plain(id)),
            destination: field("destination"),
            reason: field("reason"),
            status: fields["status"].as_u64(),
            attempt: fields["attempt"].as_u64(),
            fields,
        })
    }

    /// Whether it is about a destination, alone or among others.
    pub fn is_about(&self, destination: &str) -> bool {
        let prefix = super::figures::prefix(destination);
        let has_metric =
            || self.fields.as_object().into_iter().flatten().any(|(key, _)| key.starts_with(&prefix));
        self.destination.as_deref() == Some(destination) || (self.message == "batch" && has_metric())
    }

    /// Whether it has a reason, alone or among others.
    pub fn has_reason(&self, reason: &str) -> bool {
        let of_batch = || {
            let reasons = self.fields["reasons"].as_object();
            reasons.into_iter().flatten().any(|(key, _)| key.rsplit('.').next() == Some(reason))
        };
        self.reason.as_deref().is_some_and(|own| own.split(',').any(|own| own == reason)) || of_batch()
    }

    /// What held the event back from a request: `breaker` or `time`.
    pub fn held_back(&self) -> Option<&str> {
        self.fields["held_back"].as_str()
    }

    /// What it says, in one line.
    pub fn text(&self) -> String {
        let mut words = vec![self.message.clone()];
        if self.message == "batch" {
            let counts = self.fields.as_object().into_iter().flatten().filter(|(key, value)| {
                value.is_u64()
                    && key.starts_with(|c: char| c.is_ascii_uppercase())
                    && !key.ends_with("Latency")
            });
            words.extend(counts.map(|(key, value)| format!("{key}={value}")));
            let reasons = self.fields["reasons"].as_object().into_iter().flatten();
            words.extend(reasons.map(|(key, value)| format!("{key}={value}")));
            return words.join(" ");
        }
        let named = [
            ("id", self.id.clone()),
            ("destination", self.destination.clone()),
            ("reason", self.reason.clone()),
            ("status", self.status.map(|status| status.to_string())),
            ("attempt", self.attempt.map(|attempt| attempt.to_string())),
            ("held_back", self.held_back().map(str::to_owned)),
            ("error", self.fields["error"].as_str().map(str::to_owned)),
        ];
        words.extend(named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<LogLine> {
        LogLine::read("worker", At::from_ms(0), text)
    }

    #[test]
    fn a_failure_says_everything_in_one_line() {
        let owed = r#"{"timestamp":"t","level":"WARN","message":"still owed","id":"e1","destination":"segment","attempt":2,"reason":"timeout","held_back":"breaker","request_id":"r"}"#;
        let line = line(owed).unwrap();
        assert_eq!(
            line.text(),
            "still owed id=e1 destination=segment reason=timeout attempt=2 held_back=breaker"
        );
        assert!(line.is_about("segment") && line.has_reason("timeout") && !line.is_about("vero_track"));
    }

    #[test]
    fn a_batch_counts() {
        let batch = r#"{"level":"INFO","message":"batch","Messages":2,"SegmentAccepted":2,"SegmentLatency":[5],"duration_ms":3,"reasons":{"vero_track.skipped.type_not_tracked":1}}"#;
        let line = line(batch).unwrap();
        assert_eq!(line.text(), "batch Messages=2 SegmentAccepted=2 vero_track.skipped.type_not_tracked=1");
        assert!(line.is_about("segment") && line.has_reason("type_not_tracked") && !line.is_about("archive"));
    }

    #[test]
    fn lambda_s_own_lines_are_left_out_unless_they_tell_of_an_end() {
        assert!(line("START RequestId: 1 Version: $LATEST").is_none() && line("").is_none());
        let report = r#"{"time":"t","type":"platform.report","record":{"status":"timeout"}}"#;
        assert_eq!(line(report).unwrap().text(), "platform.report timeout");
        assert_eq!(line("thread 'main' panicked").unwrap().level, "ERROR");
    }
}
