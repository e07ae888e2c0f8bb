//! A webhook as messages of Segment's HTTP Tracking API.

use crate::envelope::EventId;
use crate::json::{self, Json, Object, ObjectWriter};
use crate::names::{Layout, Naming, RELAY, TAGS_UPDATED, documented};
use crate::webhook::{Content, Properties, TRIGGER, Traits, Webhook};

/// The largest message that Segment takes, in bytes (HTTP Tracking API, "Max request size": 32 KB an event).
pub const MAX_MESSAGE_BYTES: usize = 32_000;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A webhook that does not fit into a message, even without its unlisted fields and its trigger event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event has over {MAX_MESSAGE_BYTES} bytes even when trimmed")]
pub struct TooLarge;

/// The messages that a webhook becomes, as JSON texts, in the order in which they are to be sent.
///
/// # Errors
/// [`TooLarge`]; then none of them may be sent.
pub fn messages(id: &EventId, webhook: &Webhook<'_>, naming: &Naming) -> Result<Vec<String>, TooLarge> {
    changed_messages(id, webhook, naming, &|message| message)
}

/// The same, each with a change, after which it must fit.
///
/// # Errors
/// [`TooLarge`]; then none of them may be sent.
pub(crate) fn changed_messages(
    id: &EventId,
    webhook: &Webhook<'_>,
    naming: &Naming,
    change: &dyn Fn(String) -> String,
) -> Result<Vec<String>, TooLarge> {
    let message = MessageWriter { id, webhook, naming, change };
    match &webhook.content {
        Content::Event(properties) => {
            let name = naming.event(webhook.kind.as_deref(), webhook.channel().as_deref());
            Ok(vec![message.track("", &name, properties, true)?])
        }
        Content::Created(traits) => Ok(vec![message.identify(traits)?]),
        Content::Updated { traits, only_tags, tags } => {
            let mut messages = Vec::with_capacity(2);
            if !only_tags {
                messages.push(message.identify(traits)?);
            }
            if let Some(tags) = tags {
                // What is left over goes with the first message.
                let suffix = if *only_tags { "" } else { "-tags" };
                messages.push(message.track(suffix, TAGS_UPDATED, tags, *only_tags)?);
            }
            Ok(messages)
        }
    }
}

/// What a message may be spared, least important first, until it fits.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Trim {
    Nothing,
    Rest,
    TriggerData,
}

struct MessageWriter<'w, 'a> {
    id: &'w EventId,
    webhook: &'w Webhook<'a>,
    naming: &'w Naming,
    change: &'w dyn Fn(String) -> String,
}

impl MessageWriter<'_, '_> {
    fn track(
        &self,
        suffix: &str,
        name: &str,
        properties: &Properties<'_>,
        with_rest: bool,
    ) -> Result<String, TooLarge> {
        self.fitting(|trim| {
            let mut track = self.begin("track", suffix);
            track.text("event", name);
            self.context(&mut track, |_| ());
            track.object("properties", |out| {
                for property in properties.iter() {
                    match property.name {
                        TRIGGER if trim >= Trim::TriggerData => {
                            out.raw(TRIGGER, &without_data(&property.json))
                        }
                        name => out.raw(name, &property.json),
                    }
                }
                self.leftovers(out, trim, with_rest);
            });
            track.finish()
        })
    }

    fn identify(&self, traits: &Traits<'_>) -> Result<String, TooLarge> {
        self.fitting(|trim| {
            let mut identify = self.begin("identify", "");
            self.context(&mut identify, |context| self.leftovers(context, trim, true));
            identify.object("traits", |out| traits.write(out));
            identify.finish()
        })
    }

    /// The first form of a message that fits.
    fn fitting(&self, write: impl Fn(Trim) -> String) -> Result<String, TooLarge> {
        [Trim::Nothing, Trim::Rest, Trim::TriggerData]
            .into_iter()
            .map(|trim| (self.change)(write(trim)))
            .find(|message| message.len() <= MAX_MESSAGE_BYTES)
            .ok_or(TooLarge)
    }

    fn begin(&self, call: &str, suffix: &str) -> ObjectWriter {
        let user = &self.webhook.user;
        let mut message = ObjectWriter::new();
        message.text("type", call);
        message.text("messageId", &["vr-", self.id.as_str(), suffix].concat());
        match (&user.id, &user.email) {
            (Some(id), _) => message.text("userId", id),
            // Vero's own Segment source does the same (Segment's page of the Vero source).
            (None, Some(email)) => message.text("anonymousId", email),
            (None, None) => message.text("anonymousId", self.id.as_str()),
        }
        message.text("timestamp", &self.webhook.time.iso());
        // Segment's own Vero destination would turn `Email Unsubscribed` into an unsubscribe call, and every
        // other relayed event into a new event in Vero.
        message.raw("integrations", r#"{"Vero":false}"#);
        message
    }

    fn context(&self, message: &mut ObjectWriter, more: impl FnOnce(&mut ObjectWriter)) {
        message.object("context", |context| {
            if let Some(email) = &self.webhook.user.email {
                context.object("traits", |traits| traits.text("email", email));
            }
            if let Some(user_agent) = self.webhook.user_agent() {
                context.text("userAgent", &user_agent);
            }
            for (key, name) in [("integration", "Vero"), ("library", RELAY)] {
                context.object(key, |out| {
                    out.text("name", name);
                    out.text("version", VERSION);
                });
            }
            more(context);
        });
    }

    fn leftovers(&self, out: &mut ObjectWriter, trim: Trim, with_rest: bool) {
        if with_rest && trim == Trim::Nothing {
            // A name of the operator's may stand for several types: then the type itself goes along.
            let kind = self.webhook.kind.as_deref().filter(|_| self.webhook.is_type_used).filter(|kind| {
                self.naming.is_renamed(kind)
                    && documented(kind).is_some_and(|row| row.layout == Layout::Message)
            });
            match (kind, &self.webhook.rest) {
                (None, None) => (),
                (None, Some(rest)) => out.raw("vero", rest),
                (Some(kind), rest) => out.object("vero", |vero| {
                    vero.text("type", kind);
                    vero.append(rest.as_deref().unwrap_or("{}"));
                }),
            }
        }
        if trim > Trim::Nothing {
            out.raw("truncated", "true");
        }
    }
}

/// A trigger event without the customer's data.
fn without_data(trigger_event: &str) -> String {
    let Some(mut event) = Object::parse(Json::written(trigger_event)) else {
        return trigger_event.to_owned();
    };
    event.take_all(|key, _| key == "data");
    event.rest().unwrap_or_else(|| "{}".to_owned())
}

/// The head of a batch request's body; the messages follow, separated by commas.
const BATCH_HEAD: &str = r#"{"batch":["#;

/// Bytes of a batch request's body besides its messages, their commas included once a message.
pub(crate) const BATCH_FRAME: usize = BATCH_HEAD.len() + r#"],"sentAt":"2026-11-21T05:04:03.123Z"}"#.len();

/// The most bytes of one batch request before compression. Segment takes 500 KB; its SDKs stay below 475,000.
pub const MAX_BATCH_BYTES: usize = 475_000;

/// The most messages of one batch request: of more, Segment answers 200 and drops them all.
pub const MAX_BATCH_MESSAGES: usize = 2_500;

/// A batch request's body. `sent_at` is the clock at this very attempt: Segment corrects every timestamp by the
/// difference between it and the receipt (Common spec, "Timestamps").
pub fn batch_body<'m>(messages: impl Iterator<Item = &'m str>, sent_at: &str) -> String {
    let mut body = BATCH_HEAD.to_owned();
    for (index, message) in messages.enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(message);
    }
    body.push_str("],\"sentAt\":");
    body.push_str(&json::quote(sent_at));
    body.push('}');
    body
}

/// Splits events into as few requests as Segment's limits allow, in order. `sizes` are, for each event, its
/// messages' count and bytes; the result holds the index after each request's last event.
pub fn plan_batches(sizes: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut messages, mut bytes, mut end) = (0, BATCH_FRAME, 0);
    for (index, (more, more_bytes)) in sizes.enumerate() {
        let more_bytes = more_bytes + more; // a comma each
        if index > 0 && (messages + more > MAX_BATCH_MESSAGES || bytes + more_bytes > MAX_BATCH_BYTES) {
            ends.push(index);
            (messages, bytes) = (0, BATCH_FRAME);
        }
        messages += more;
        bytes += more_bytes;
        end = index + 1;
    }
    if end > 0 {
        ends.push(end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{EventNames, TrackTypes};
    use crate::timestamp::Timestamp;

    fn map(payload: &str) -> Result<Vec<serde_json::Value>, TooLarge> {
        let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        let webhook = Webhook::read(serde_json::from_str(payload).unwrap(), received_at);
        let messages = messages(&EventId::parse("e1").unwrap(), &webhook, &Naming::default())?;
        Ok(messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect())
    }

    #[test]
    fn without_a_user_the_event_itself_is_anonymous() {
        let message = &map("{}").unwrap()[0];
        assert_eq!(message["anonymousId"], "e1");
        assert_eq!(message["event"], "Vero Event");
        assert_eq!(message["timestamp"], "2026-11-21T05:04:03.123Z");
        assert_eq!(message.get("userId"), None);
    }

    #[test]
    fn a_type_with_a_name_of_the_operator_s_goes_along_itself() {
        let names = EventNames::parse(r#"{"sent":"Mail","opened":"Mail"}"#).unwrap();
        let naming = Naming::new(names, TrackTypes::default(), true);
        let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        for (payload, vero) in [
            (r#"{"type":"sent"}"#, serde_json::json!({"type": "sent"})),
            (r#"{"type":"opened","a":1}"#, serde_json::json!({"type": "opened", "a": 1})),
            (r#"{"type":5,"action":"opened"}"#, serde_json::json!({"type": 5, "action": "opened"})),
        ] {
            let webhook = Webhook::read(serde_json::from_str(payload).unwrap(), received_at);
            let message = messages(&EventId::parse("e1").unwrap(), &webhook, &naming).unwrap().remove(0);
            let message: serde_json::Value = serde_json::from_str(&message).unwrap();
            assert_eq!((&message["event"], &message["properties"]["vero"]), (&"Mail".into(), &vero));
        }
    }

    #[test]
    fn tags_alone_make_no_identify() {
        let messages =
            map(r#"{"type":"user_updated","user":{"id":1},"changes":{"_tags":{"add":["a"],"x":1}}}"#)
                .unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (&messages[0]["messageId"], &messages[0]["event"]),
            (&"vr-e1".into(), &TAGS_UPDATED.into())
        );
        assert_eq!(
            messages[0]["properties"],
            serde_json::json!({"tags_added": ["a"], "vero": {"changes": {"_tags": {"x": 1}}}})
        );
    }

    #[test]
    fn tags_beside_traits_make_two_messages() {
        let messages =
            map(r#"{"type":"user_updated","user":{"id":1,"email":"a@b.c"},"changes":{"_tags":{"remove":[]},"n":1.0}}"#)
                .unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0]["traits"], serde_json::json!({"email": "a@b.c", "n": 1.0}));
        assert_eq!(messages[1]["messageId"], "vr-e1-tags");
        assert_eq!(messages[1]["properties"], serde_json::json!({"tags_removed": []}));
    }

    #[test]
    fn an_update_without_changes_identifies_by_the_address_alone() {
        for changes in ["", r#","changes":{}"#, r#","changes":[]"#, r#","changes":null"#] {
            let messages =
                map(&format!(r#"{{"type":"user_updated","user":{{"id":1,"email":"a@b.c"}}{changes}}}"#))
                    .unwrap();
            assert_eq!(messages.len(), 1, "{changes}");
            assert_eq!(messages[0]["type"], "identify");
            assert_eq!(messages[0]["traits"], serde_json::json!({"email": "a@b.c"}));
        }
    }

    #[test]
    fn a_large_event_loses_its_rest_first_and_its_trigger_data_next() {
        let x = "x".repeat(20_000);
        let message =
            &map(&format!(r#"{{"type":"sent","a":"{x}","b":"{x}","event":{{"name":"n","data":1}}}}"#))
                .unwrap()[0];
        assert_eq!(
            message["properties"],
            serde_json::json!({"trigger_event": {"name": "n", "data": 1}, "truncated": true})
        );
        let message =
            &map(&format!(r#"{{"type":"sent","a":1,"event":{{"name":"n","data":["{x}","{x}"]}}}}"#)).unwrap()
                [0];
        assert_eq!(
            message["properties"],
            serde_json::json!({"trigger_event": {"name": "n"}, "truncated": true})
        );
        let too_large = format!(r#"{{"type":"sent","bounce_message":"{x}{x}"}}"#);
        assert_eq!(map(&too_large), Err(TooLarge));
    }

    #[test]
    fn batches_keep_to_both_limits() {
        assert_eq!(plan_batches(std::iter::empty()), Vec::<usize>::new());
        assert_eq!(plan_batches([(1, 10)].into_iter()), [1]);
        assert_eq!(plan_batches(std::iter::repeat_n((1, 10), 5_001)), [2_500, 5_000, 5_001]);
        assert_eq!(plan_batches(std::iter::repeat_n((2, 10), 1_251)), [1_250, 1_251]);
        // A comma for each message, and not a byte more.
        let room = MAX_BATCH_BYTES - BATCH_FRAME;
        assert_eq!(plan_batches([(2, room - 10), (2, 6)].into_iter()), [2]);
        assert_eq!(plan_batches([(2, room - 10), (2, 7)].into_iter()), [1, 2]);
        assert_eq!(plan_batches([(1, MAX_BATCH_BYTES), (1, 1)].into_iter()), [1, 2]);
        assert_eq!(batch_body(std::iter::empty(), "2026-11-21T05:04:03.123Z").len(), BATCH_FRAME);
        assert_eq!(batch_body(["{}", "[]"].into_iter(), "now"), r#"{"batch":[{},[]],"sentAt":"now"}"#);
        let messages = vec!["x".repeat(31_999); 40];
        let ends = plan_batches(messages.iter().map(|message| (1, message.len())));
        let mut start = 0;
        for end in ends {
            let body =
                batch_body(messages[start..end].iter().map(String::as_str), "2026-11-21T05:04:03.123Z");
            assert!(body.len() <= MAX_BATCH_BYTES && (end == 40 || body.len() + 32_000 > MAX_BATCH_BYTES));
            start = end;
        }
        assert_eq!(start, 40);
    }
}
