//! Every event of `events/` as each destination is sent it: reviewed snapshots.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p relay-core --test it`, and read the diff.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use relay_core::delivery::DeliveryOutcome;
use relay_core::envelope::EventId;
use relay_core::first_party::FirstParty;
use relay_core::mapping::vero_track::{FirstPartySettings, Tags, VeroRequest};
use relay_core::mapping::{segment, vero_track};
use relay_core::names::Naming;
use relay_core::timestamp::Timestamp;
use relay_core::webhook::Webhook;
use serde_json::{Value, json};

fn id() -> EventId {
    EventId::parse("01935f3a-0000-7000-8000-000000000001").unwrap()
}

fn received_at() -> Timestamp {
    Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap()
}

#[test]
fn every_sample_at_both_destinations() {
    let naming = Naming::default();
    insta::glob!("../../../../events", "vero-*.json", |path| {
        let payload = std::fs::read_to_string(path).unwrap();
        let webhook = Webhook::read(serde_json::from_str(&payload).unwrap(), received_at());
        let segment: Vec<Value> = segment::messages(&id(), &webhook, &naming)
            .unwrap()
            .iter()
            .map(|message| serde_json::from_str(message).unwrap())
            .collect();
        let vero_track = match vero_track::from_webhook(&id(), &webhook, &naming) {
            Ok(call) => serde_json::from_str(&call.body("the-auth-token")).unwrap(),
            Err(DeliveryOutcome::Skipped(reason)) => json!({"skipped": reason}),
            Err(DeliveryOutcome::Rejected(error)) => json!({"dead": error.reason}),
            Err(other) => panic!("{other:?}"),
        };
        insta::assert_json_snapshot!(json!({"segment": segment, "vero_track": vero_track}));
    });
}

#[test]
fn every_first_party_sample_at_vero() {
    let request = |call: &VeroRequest| {
        let method = if call.endpoint.is_put() { "PUT" } else { "POST" };
        let body: Value = serde_json::from_str(&call.body("the-auth-token")).unwrap();
        json!({"request": format!("{method} {}", call.endpoint.path()), "body": body})
    };
    insta::glob!("../../../../events", "segment-*.json", |path| {
        let payload = std::fs::read_to_string(path).unwrap();
        let event = FirstParty::read(serde_json::from_str(&payload).unwrap(), received_at(), true).unwrap();
        let written =
            match vero_track::from_event(&id(), &event, &FirstPartySettings::default(), Duration::ZERO) {
                Ok(requests) => {
                    let tags = match &requests.tags {
                        Tags::Edit(call) => Some(request(call)),
                        Tags::None | Tags::Malformed => None,
                    };
                    Value::from_iter([Some(request(&requests.request)), tags].into_iter().flatten())
                }
                Err(DeliveryOutcome::Skipped(reason)) => json!({"skipped": reason}),
                Err(DeliveryOutcome::Rejected(error)) => json!({"dead": error.reason}),
                Err(other) => panic!("{other:?}"),
            };
        insta::assert_json_snapshot!(written);
    });
}
