//! The table `data`: events as they were received, with columns to find them by.

use std::borrow::Cow;

use serde::Deserialize;

use super::line::{column, line};
use super::sequence::sequence;
use crate::envelope::{Envelope, EventId, Payload, Source};
use crate::first_party::FirstParty;
use crate::identity::User;
use crate::json::{Json, ObjectWriter};
use crate::timestamp::Timestamp;
use crate::webhook::Webhook;

/// What the columns say of an event.
#[derive(Debug)]
pub struct About<'e> {
    kind: Option<&'e str>,
    user: &'e User,
    message_id: Option<Cow<'e, str>>,
    campaign_id: Option<Cow<'e, str>>,
    occurred_at: Timestamp,
}

impl<'e> From<&'e Webhook<'_>> for About<'e> {
    fn from(webhook: &'e Webhook<'_>) -> Self {
        About {
            kind: webhook.kind.as_deref(),
            user: &webhook.user,
            message_id: webhook.message_id(),
            campaign_id: webhook.campaign_id(),
            occurred_at: webhook.time,
        }
    }
}

impl<'e> From<&'e FirstParty<'_>> for About<'e> {
    fn from(event: &'e FirstParty<'_>) -> Self {
        About {
            kind: Some(event.kind.as_str()),
            user: &event.user,
            message_id: event.message_id.as_deref().map(Cow::from),
            campaign_id: None,
            occurred_at: event.time,
        }
    }
}

/// The row of an event, as a line of JSON. `payload` is the event as received, to the letter.
///
/// Beyond what there is to query by, `place` and `through_segment` make the envelope whole again.
pub fn row(envelope: &Envelope<'_>, about: &About<'_>) -> String {
    let mut row = ObjectWriter::new();
    row.text("id", envelope.id.as_str());
    row.raw("_sequence", &sequence(envelope).to_string());
    row.text("received_at", &envelope.received_at.iso());
    row.text("source", envelope.source.as_str());
    column(&mut row, "type", about.kind);
    column(&mut row, "user_id", about.user.id.as_deref());
    column(&mut row, "email", about.user.email.as_deref());
    column(&mut row, "message_id", about.message_id.as_deref());
    column(&mut row, "campaign_id", about.campaign_id.as_deref());
    row.text("occurred_at", &about.occurred_at.iso());
    row.raw("place", &envelope.place.to_string());
    row.raw("through_segment", if envelope.through_segment { "true" } else { "false" });
    row.text("payload", envelope.payload.text());
    line(row)
}

/// A row of `data`, read back.
#[derive(Debug, Deserialize)]
pub struct Archived<'a> {
    id: &'a str,
    source: &'a str,
    received_at: &'a str,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The customer's own id of the user.
    pub user_id: Option<String>,
    /// The user's address.
    pub email: Option<String>,
    #[serde(default)]
    place: u32,
    #[serde(default)]
    through_segment: bool,
    payload: String,
}

impl<'a> Archived<'a> {
    /// Reads a line. `None`: it is no row of `data`.
    pub fn parse(line: &'a str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// The envelope that was archived, as it was before its first try. `None`: it can be none of ours.
    pub fn envelope(&self) -> Option<Envelope<'_>> {
        let payload: Json<'_> = serde_json::from_str(&self.payload).ok()?;
        Some(Envelope {
            id: EventId::parse(self.id)?,
            source: Source::parse(self.source)?,
            received_at: Timestamp::parse(self.received_at)?,
            place: self.place,
            through_segment: self.through_segment,
            destinations: None,
            attempt: 0,
            payload: Payload::Object(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ENVELOPE: &str = r#"{"version":1,"id":"01935f3a-0000-7000-8000-000000000001","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"opened","opened_at":1795237440,
        "user":{"id":12,"email":"steve@example.com"}, "campaign":{"id":987,"message_id":"m-1"},"odd":"\ud800 \"q\"","n":1.00}}"#;

    fn archived(envelope: &Envelope<'_>) -> String {
        let Payload::Object(payload) = envelope.payload else { panic!("an object") };
        match envelope.source {
            Source::Vero => row(envelope, &(&Webhook::read(payload, envelope.received_at)).into()),
            Source::Segment => {
                let event = FirstParty::read(payload, envelope.received_at, envelope.through_segment);
                row(envelope, &(&event.unwrap()).into())
            }
        }
    }

    #[test]
    fn a_webhook_as_a_row() {
        let envelope = Envelope::parse(ENVELOPE).unwrap();
        let line = archived(&envelope);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        let mut row: Value = serde_json::from_str(&line).unwrap();
        let payload = row["payload"].take();
        assert_eq!(payload.as_str(), Some(envelope.payload.text()));
        assert_eq!(
            row,
            json!({
                "id": "01935f3a-0000-7000-8000-000000000001",
                "_sequence": 1_732_469_456_896_000_000_i64,
                "received_at": "2026-11-21T05:04:03.123Z",
                "source": "vero",
                "type": "opened",
                "user_id": "12",
                "email": "steve@example.com",
                "message_id": "m-1",
                "campaign_id": "987",
                "occurred_at": "2026-11-21T05:04:00.000Z",
                "place": 0,
                "through_segment": false,
                "payload": null,
            })
        );
    }

    #[test]
    fn an_envelope_is_whole_again() {
        let first_party = ENVELOPE
            .replace("\"source\":\"vero\"", "\"source\":\"segment\"")
            .replace("\"payload\":", "\"place\":3,\"through_segment\":true,\"payload\":")
            .replace("\"opened\"", "\"identify\",\"userId\":\"u\"");
        for text in [ENVELOPE, &first_party] {
            let envelope = Envelope::parse(text).unwrap();
            let line = archived(&envelope);
            let archived = Archived::parse(&line).unwrap();
            assert_eq!(archived.envelope().unwrap().to_json(), text);
        }
    }

    #[test]
    fn what_is_unknown_is_null() {
        let envelope = ENVELOPE.split_once("\"payload\":").unwrap().0.to_owned() + "\"payload\":{}}";
        let line = archived(&Envelope::parse(&envelope).unwrap());
        let row: Value = serde_json::from_str(&line).unwrap();
        for column in ["type", "user_id", "email", "message_id", "campaign_id"] {
            assert_eq!(row.get(column), Some(&Value::Null), "{column}");
        }
        assert_eq!(row["occurred_at"], row["received_at"]);
    }

    #[test]
    fn what_is_no_row_is_none() {
        for line in ["", "{}", "[]", r#"{"id":"e1","source":"vero","received_at":"now"}"#] {
            assert!(Archived::parse(line).is_none(), "{line}");
        }
        let odd = r#"{"id":"a b","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":"{}"}"#;
        assert!(Archived::parse(odd).unwrap().envelope().is_none());
    }
}
