//! The table `deliveries`: what became of events, at each destination.

use super::line::{column, line};
use crate::delivery::{DeliveryOutcome, MAX_ATTEMPTS, tries_before};
use crate::envelope::Envelope;
use crate::json::ObjectWriter;
use crate::timestamp::Timestamp;

/// The row that says that a destination accepted an event, has no use for it, or will never take it, as a line of
/// JSON. `None` as long as neither is so: it is owed, or it is the second copy of an event of the same batch.
///
/// `attempt` counts this try; `status` and `reason` are those of a refusal.
pub fn delivery_row(
    envelope: &Envelope<'_>,
    kind: Option<&str>,
    destination: &str,
    outcome: &DeliveryOutcome,
    now: Timestamp,
) -> Option<String> {
    let attempt = tries_before(envelope.attempt) + 1;
    let (outcome, reason, status, at) = match outcome {
        DeliveryOutcome::Skipped("duplicate") | DeliveryOutcome::NotStarted | DeliveryOutcome::Paused => {
            return None;
        }
        DeliveryOutcome::Accepted { at, .. } => ("accepted", None, None, Timestamp::from_system(*at)),
        DeliveryOutcome::Skipped(reason) => ("skipped", Some(*reason), None, now),
        DeliveryOutcome::Rejected(error) => ("dead", Some(error.reason), error.status, now),
        DeliveryOutcome::Retry(error) | DeliveryOutcome::Misconfigured(error) if attempt >= MAX_ATTEMPTS => {
            ("dead", Some(error.reason), error.status, now)
        }
        DeliveryOutcome::Retry(_) | DeliveryOutcome::Misconfigured(_) => return None,
    };
    let mut row = ObjectWriter::new();
    row.text("id", envelope.id.as_str());
    row.text("received_at", &envelope.received_at.iso());
    row.text("source", envelope.source.as_str());
    column(&mut row, "type", kind);
    row.text("destination", destination);
    row.text("outcome", outcome);
    column(&mut row, "reason", reason);
    row.raw("status", &status.map_or_else(|| "null".to_owned(), |status| status.to_string()));
    row.raw("attempt", &attempt.to_string());
    row.text("at", &at.iso());
    Some(line(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeliveryError;
    use serde_json::{Value, json};
    use std::time::{Duration, UNIX_EPOCH};

    fn row(attempt: u32, outcome: &DeliveryOutcome) -> Option<Value> {
        let envelope = format!(
            r#"{{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","attempt":{attempt},"payload":{{}}}}"#
        );
        let envelope = Envelope::parse(&envelope).unwrap();
        let now = Timestamp::parse("2026-11-21T05:04:05.000Z").unwrap();
        delivery_row(&envelope, Some("sent"), "segment", outcome, now)
            .map(|line| serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap())
    }

    #[test]
    fn what_is_settled_has_a_row() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_237_444_000);
        let accepted = row(2, &DeliveryOutcome::Accepted { maybe_doubled: false, at }).unwrap();
        let all = json!({
            "id": "e1", "received_at": "2026-11-21T05:04:03.123Z", "source": "vero", "type": "sent",
            "destination": "segment", "outcome": "accepted", "reason": null, "status": null, "attempt": 3,
            "at": "2026-11-21T05:04:04.000Z",
        });
        assert_eq!(accepted, all);
        let skipped = row(0, &DeliveryOutcome::Skipped("loop")).unwrap();
        assert_eq!((&skipped["outcome"], &skipped["reason"]), (&json!("skipped"), &json!("loop")));
        let refused = DeliveryError { status: Some(422), ..DeliveryError::new("refused") };
        let dead = row(0, &DeliveryOutcome::Rejected(refused)).unwrap();
        assert_eq!((&dead["outcome"], &dead["status"]), (&json!("dead"), &json!(422)));
    }

    #[test]
    fn what_is_owed_has_none_until_its_last_try() {
        let owed = DeliveryOutcome::Retry(DeliveryError::new("timeout"));
        for outcome in [
            &owed,
            &DeliveryOutcome::NotStarted,
            &DeliveryOutcome::Paused,
            &DeliveryOutcome::Skipped("duplicate"),
        ] {
            assert_eq!(row(0, outcome), None);
        }
        assert_eq!(row(119, &owed).unwrap()["outcome"], "dead");
    }
}
