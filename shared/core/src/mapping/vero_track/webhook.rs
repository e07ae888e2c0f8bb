//! A webhook as a request to `/events/track`.

use super::request::{Endpoint, Skip, VeroRequest, extras, known};
use crate::delivery::DeliveryOutcome;
use crate::envelope::EventId;
use crate::identity::VERO_TEXT_LIMIT;
use crate::json::ObjectWriter;
use crate::names::Naming;
use crate::webhook::{Content, Webhook};

/// The request that a webhook becomes.
///
/// Nothing in `data` changes between attempts, and no two webhooks have the same: Vero drops an event with the
/// same name, identity and data for some minutes (Track API reference, "Deduplication").
///
/// # Errors
/// What becomes of the webhook when nothing is sent: it is skipped or rejected.
pub fn from_webhook(
    id: &EventId,
    webhook: &Webhook<'_>,
    naming: &Naming,
) -> Result<VeroRequest, DeliveryOutcome> {
    let kind = webhook.kind.as_deref();
    if !naming.is_tracked(kind) {
        return Err(Skip::TypeNotTracked.into());
    }
    let channel = webhook.channel();
    if webhook.trigger_event().is_some_and(|name| naming.is_own(&name, channel.as_deref())) {
        return Err(Skip::Loop.into());
    }
    let user = known(&webhook.user)?;
    let event_name: String =
        naming.event(kind, channel.as_deref()).chars().take(VERO_TEXT_LIMIT - 1).collect();
    let mut fields = ObjectWriter::new();
    fields.text("event_name", &event_name);
    fields.object("data", |data| {
        match &webhook.content {
            Content::Event(properties) => {
                for property in properties.iter().filter(|property| property.is_scalar) {
                    data.raw(property.name, &property.json);
                }
            }
            Content::Created(traits) | Content::Updated { traits, .. } => traits.write(data),
        }
        data.text("webhook_id", id.as_str());
    });
    extras(&mut fields, webhook.time);
    Ok(VeroRequest::new(Endpoint::EventsTrack, user, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{EventNames, TrackTypes};
    use crate::timestamp::Timestamp;

    fn map(payload: &str, types: &str) -> Result<serde_json::Value, DeliveryOutcome> {
        let naming = Naming::new(EventNames::default(), TrackTypes::parse(types).unwrap(), true);
        let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        let webhook = Webhook::read(serde_json::from_str(payload).unwrap(), received_at);
        let call = from_webhook(&EventId::parse("e1").unwrap(), &webhook, &naming)?;
        Ok(serde_json::from_str(&call.body("t")).unwrap())
    }

    #[test]
    fn only_tracked_types_of_somebody_go_to_vero() {
        let sent = r#"{"type":"sent","user":{"id":1}}"#;
        assert_eq!(map(sent, "none"), Err(Skip::TypeNotTracked.into()));
        assert_eq!(map(r#"{"user":{"id":1}}"#, "sent"), Err(Skip::TypeNotTracked.into()));
        assert_eq!(map(r#"{"type":"sent"}"#, "sent"), Err(Skip::NoIdentity.into()));
        assert_eq!(map(sent, "sent").unwrap()["identity"], serde_json::json!({"id": "1"}));
        assert_eq!(map(r#"{"user":{"email":"a@b.c"}}"#, "all").unwrap()["event_name"], "Vero Event");
    }

    #[test]
    fn a_name_that_vero_would_refuse_is_cut() {
        let payload = format!(r#"{{"type":"{}","user":{{"id":1}}}}"#, "x".repeat(300));
        assert_eq!(map(&payload, "all").unwrap()["event_name"], format!("Vero X{}", "x".repeat(248)));
    }

    #[test]
    fn an_id_that_vero_would_refuse_is_kept() {
        for (id, is_taken) in [("x".repeat(254), true), ("é".repeat(254), true), ("x".repeat(255), false)] {
            for email in ["null", r#""a@b.c""#] {
                let payload = format!(r#"{{"type":"sent","user":{{"id":"{id}","email":{email}}}}}"#);
                let id_at_vero = map(&payload, "all").map(|call| call["identity"]["id"].clone());
                assert_eq!(
                    id_at_vero,
                    if is_taken {
                        Ok(id.as_str().into())
                    } else {
                        Err(DeliveryOutcome::rejected("id_too_long"))
                    }
                );
                assert_eq!(map(&payload, "none"), Err(Skip::TypeNotTracked.into()));
            }
        }
    }

    #[test]
    fn profile_events_carry_the_traits() {
        let call = map(r#"{"type":"user_created","user":{"id":1,"plan":{"a":1}}}"#, "user_created").unwrap();
        assert_eq!(call["event_name"], "User Created");
        assert_eq!(call["data"], serde_json::json!({"plan": {"a": 1}, "webhook_id": "e1"}));
    }

    #[test]
    fn only_scalars_go_into_data() {
        let payload = r#"{"type":"sent","user":{"id":1},"event":{"name":"n"},"bounce_code":5,"bounce_type":false,
            "campaign":{"name":{"a":1},"group":7,"tags":["x"],"unlisted":"y"}}"#;
        assert_eq!(
            map(payload, "all").unwrap()["data"],
            serde_json::json!({"bounce_code": "5", "bounce_type": false, "campaign_group": 7, "webhook_id": "e1"})
        );
    }

    #[test]
    fn the_address_can_be_left_out_once_an_id_is_there() {
        let of = |user: &str| {
            let payload = format!(r#"{{"type":"sent","user":{user}}}"#);
            let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
            let webhook = Webhook::read(serde_json::from_str(&payload).unwrap(), received_at);
            from_webhook(&EventId::parse("e1").unwrap(), &webhook, &Naming::default())
                .unwrap()
                .without_email()
        };
        assert!(of(r#"{"id":1}"#).is_none() && of(r#"{"email":"a@b.c"}"#).is_none());
        assert!(!of(r#"{"id":1,"email":"a@b.c"}"#).unwrap().body("t").contains("a@b.c"));
    }
}
