//! An event as a webhook endpoint gets it.

use sha2::{Digest, Sha256};

use crate::delivery::DeliveryOutcome;
use crate::endpoints::{Endpoint, Form};
use crate::envelope::Envelope;
use crate::json::{Json, Object, ObjectWriter};
use crate::mapping::segment::{BATCH_FRAME, batch_body};
use crate::mapping::vero_track::Skip;
use crate::names::Naming;
use crate::rules::{AddressKey, RuledEvent, WebhookRules};

/// An event as an endpoint gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointEvent {
    /// By which the endpoint knows it again: no two events have the same, and no retry has another.
    pub id: String,
    /// JSON objects, which go in one request: one, or in Segment's form as many as Segment gets.
    pub messages: Vec<String>,
}

impl EndpointEvent {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.len() + 1).sum()
    }
}

impl Form {
    /// What an endpoint gets of an event, by the rules that there are for it under `name`.
    ///
    /// # Errors
    /// What becomes of the event when nothing is sent.
    pub fn of_event(
        self,
        name: &str,
        event: RuledEvent<'_, '_>,
        rules: &WebhookRules,
        naming: &Naming,
        key: &AddressKey,
    ) -> Result<EndpointEvent, DeliveryOutcome> {
        if let RuledEvent::FirstParty { event, .. } = event
            && naming.looks_for_loops()
            && event.came_from_vero
        {
            // The endpoint has it as a webhook.
            return Err(Skip::Loop.into());
        }
        let mut messages = match self {
            Form::Received => vec![rules.received_at_endpoint(name, event, key)?],
            Form::Segment => rules.segment_at_endpoint(name, event, naming, key)?,
        };
        let envelope = event.envelope();
        let id = match event {
            RuledEvent::Webhook(_) => envelope.id.as_str().to_owned(),
            RuledEvent::FirstParty { .. } => id_of_first_party(envelope, &messages.concat()),
        };
        if self == Form::Received {
            messages.iter_mut().for_each(|payload| *payload = received(envelope, &id, payload));
        }
        Ok(EndpointEvent { id, messages })
    }
}

impl Endpoint {
    /// Splits events into requests, in order; the result holds the index after each request's last event.
    pub fn plan(&self, events: &[EndpointEvent]) -> Vec<usize> {
        let mut ends = Vec::new();
        // A comma is counted for the last one, too.
        let frame = match self.form {
            Form::Received => "[]".len() - 1,
            Form::Segment => BATCH_FRAME - 1,
        };
        let (mut begin, mut bytes) = (0, frame);
        for (index, event) in events.iter().enumerate() {
            let is_full = index - begin == self.max_events || bytes + event.bytes() > self.max_bytes;
            if index > begin && is_full {
                ends.push(index);
                (begin, bytes) = (index, frame);
            }
            bytes += event.bytes();
        }
        ends.extend((!events.is_empty()).then_some(events.len()));
        ends
    }

    /// The body of a request with these events. `sent_at` is the time of this very try.
    pub fn body(&self, events: &[EndpointEvent], sent_at: &str) -> String {
        let messages = || events.iter().flat_map(|event| &event.messages).map(String::as_str);
        match self.form {
            Form::Segment => batch_body(messages(), sent_at),
            Form::Received if self.max_events == 1 => messages().collect(),
            Form::Received => {
                let messages: Vec<&str> = messages().collect();
                format!("[{}]", messages.join(","))
            }
        }
    }
}

/// The id of a request with these events: that of the event, or what all of theirs make.
pub fn request_id(events: &[EndpointEvent]) -> String {
    match events {
        [event] => event.id.clone(),
        events => {
            let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
            format!("batch-{}", digest(&ids.join(" ")))
        }
    }
}

fn received(envelope: &Envelope<'_>, id: &str, payload: &str) -> String {
    let mut message = ObjectWriter::new();
    message.text("id", id);
    message.text("source", envelope.source.as_str());
    message.text("received_at", &envelope.received_at.iso());
    message.raw("payload", payload);
    message.finish()
}

/// Several mappings of one Webhooks destination may share a messageId, of which the event's id is made. They are different
/// events, and a receiver that goes by the id would drop all but one. So what the receiver gets is a part of the id, but
/// for the time of sending, which is another at a sender's retry. Never what it does not get: whoever has a list of
/// addresses could find the one by the digest.
fn id_of_first_party(envelope: &Envelope<'_>, payload: &str) -> String {
    let mut fields = Object::parse(Json::written(payload)).unwrap_or_default();
    fields.take(&["sentAt"]);
    let said = fields.rest().unwrap_or_default();
    format!("{}-{}", envelope.id.as_str(), &digest(&said)[..8])
}

/// 128 bits of the SHA-256, in hex.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
