//! What the pure core does with webhooks: read, map, plan, write.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, bail};
use relay_core::archive;
use relay_core::blueprint::Blueprint;
use relay_core::envelope::{Envelope, Payload};
use relay_core::mapping::segment::{batch_body, plan_batches};
use relay_core::names::Naming;
use relay_core::rules::{AddressKey, RuledWebhook};
use relay_core::webhook::Webhook;

const SENT_AT: &str = "2026-11-21T05:04:03.123Z";

#[derive(Clone, Copy, Debug)]
pub struct To {
    pub segment: bool,
    pub vero: bool,
    pub archive: bool,
}

impl To {
    /// To Segment and nowhere else.
    pub const SEGMENT: Self = To { segment: true, vero: false, archive: false };
    /// To all destinations.
    pub const EVERYWHERE: Self = To { segment: true, vero: true, archive: true };
}

/// What `benches/core.rs` measures, each with [`COUNT`] webhooks: a name, and where they go.
pub const BENCHES: [(&str, To); 2] = [("segment", To::SEGMENT), ("everywhere", To::EVERYWHERE)];

/// What webhooks are mapped by.
#[derive(Debug, Default)]
pub struct Settings {
    naming: Naming,
    blueprint: Blueprint,
}

impl Settings {
    /// By ten rules.
    ///
    /// # Errors
    /// If there is a mistake in them.
    pub fn with_ten_rules() -> Result<Self> {
        Ok(Settings { blueprint: Blueprint::parse(TEN_RULES)?, ..Settings::default() })
    }
}

/// Ten rules for Segment, of which the last is for some of the samples.
const TEN_RULES: &str = r#"{"version":2,"webhooks":{"segment":{"rules":[
    {"when":{"type":"of_tomorrow"},"send":false},
    {"when":{"channel":"whatsapp"},"send":false},
    {"when":{"campaign_tag":"test"},"send":false},
    {"when":{"campaign_name":{"prefix":"[Test]"}},"send":false},
    {"when":{"campaign_group":"EU news"},"rename":"EU News"},
    {"when":{"user_id":{"prefix":"staff-"}},"sample":0.1},
    {"when":{"campaign_id":["1","2","3"]},"rename":"Welcome"},
    {"when":{"type":["sent","delivered"],"channel":"sms","campaign_type":"newsletter"},"send":false},
    {"when":{"/campaign/locale":"de-DE"},"rename":"Auf Deutsch"},
    {"when":{"type":"clicked"},"rename":"Clicked","properties":{"omit":["user_agent"]}}
]}}}"#;

/// How many webhooks one round of a bench takes through.
pub const COUNT: usize = 1_000;

/// Every sample of `events/`, over and over, as ingest queues them.
///
/// # Errors
/// If the samples cannot be read.
pub fn envelopes(count: usize) -> Result<Vec<String>> {
    let mut samples = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vero-")) {
            samples.push(fs::read_to_string(&path)?.trim().to_owned());
        }
    }
    samples.sort();
    let envelope = |(number, sample): (usize, &String)| {
        format!(
            r#"{{"version":1,"id":"01935f3a-0000-7000-8000-{number:012}","source":"vero","received_at":"{SENT_AT}","payload":{sample}}}"#
        )
    };
    Ok((0..count).zip(samples.iter().cycle()).map(envelope).collect())
}

/// An envelope and the webhook in it.
///
/// # Errors
/// If it is none.
pub fn read(envelope: &str) -> Result<(Envelope<'_>, Webhook<'_>)> {
    let envelope = Envelope::parse(envelope)?;
    let Payload::Object(payload) = envelope.payload else { bail!("a sample that is no object") };
    let webhook = Webhook::read(payload, envelope.received_at);
    Ok((envelope, webhook))
}

/// Does all of it; the answer is the bytes of Segment's messages, and the requests that they make.
///
/// # Errors
/// If one is no webhook.
pub fn run(envelopes: &[String], to: To, settings: &Settings) -> Result<(usize, usize)> {
    let (naming, rules, key) = (&settings.naming, settings.blueprint.webhooks(), AddressKey::default());
    let mut messages = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let (envelope, webhook) = read(envelope)?;
        let event = RuledWebhook { envelope: &envelope, webhook: &webhook };
        if to.segment
            && let Ok(mapped) = rules.to_segment(event, naming, &key)
        {
            messages.push(mapped);
        }
        if to.vero
            && let Ok(call) = rules.to_vero(event, naming)
        {
            black_box(call.body("token"));
        }
        if to.archive {
            black_box(archive::row(&envelope, &(&webhook).into()));
        }
    }
    let bytes = |event: &Vec<String>| event.iter().map(String::len).sum::<usize>();
    let ends = plan_batches(messages.iter().map(|event| (event.len(), bytes(event))));
    let mut start = 0;
    for end in &ends {
        black_box(batch_body(messages[start..*end].iter().flatten().map(String::as_str), SENT_AT));
        start = *end;
    }
    Ok((messages.iter().map(bytes).sum(), ends.len()))
}
