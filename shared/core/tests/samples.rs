//! Every webhook of `events/` as each destination is told of it: reviewed snapshots.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p relay-core --test samples`, and read the diff.

use relay_core::envelope::EventId;
use relay_core::mapping::{segment, vero_track};
use relay_core::names::Naming;
use relay_core::timestamp::Timestamp;
use relay_core::webhook::Webhook;
use serde_json::{Value, json};

#[test]
fn every_sample_at_both_destinations() {
    let id = EventId::parse("01935f3a-0000-7000-8000-000000000001").unwrap();
    let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
    let naming = Naming::default();
    insta::glob!("../../../events", "vero-*.json", |path| {
        let payload = std::fs::read_to_string(path).unwrap();
        let webhook = Webhook::read(serde_json::from_str(&payload).unwrap(), received_at);
        let segment: Vec<Value> = segment::messages(&id, &webhook, &naming)
            .unwrap()
            .iter()
            .map(|message| serde_json::from_str(message).unwrap())
            .collect();
        let vero_track = match vero_track::call(&id, &webhook, &naming) {
            Ok(call) => serde_json::from_str(&call.body("the-auth-token")).unwrap(),
            Err(skip) => json!({"skipped": skip.as_str()}),
        };
        insta::assert_json_snapshot!(json!({"segment": segment, "vero_track": vero_track}));
    });
}
