//! The published JSON Schema of the blueprint says what the worker says.

use relay_core::blueprint::Blueprint;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../../events/blueprint.schema.json");
const SAMPLE: &str = include_str!("../../../../events/blueprint.json");

#[test]
fn schema_and_worker_agree() -> anyhow::Result<()> {
    let schema = jsonschema::draft202012::new(&serde_json::from_str(SCHEMA)?)?;
    let rule = |rule: Value| json!({"events": {"Order Completed": rule}});
    let good = [
        serde_json::from_str(SAMPLE)?,
        json!({}),
        json!({"$schema": "x", "events": {}, "allow": [], "deny": ["A"], "consent": ["ads"]}),
        json!({"allow": null}),
        rule(json!({})),
        rule(json!({"rename": "x".repeat(254), "properties": {"a": "b"}, "drop": false, "consent": []})),
        rule(json!({"rename": "unsubscribe"})),
    ];
    let bad = [
        json!([]),
        json!({"evnts": {}}),
        json!({"events": []}),
        json!({"events": {"A": []}}),
        json!({"events": {"unSubscribe ": {}}}),
        json!({"allow": ["Resubscribe"]}),
        json!({"deny": "A"}),
        json!({"consent": [1]}),
        rule(json!({"renam": "B"})),
        rule(json!({"rename": 5})),
        rule(json!({"rename": " "})),
        rule(json!({"rename": "x".repeat(255)})),
        rule(json!({"rename": "Visited_SITE"})),
        rule(json!({"rename": "Identified"})),
        rule(json!({"drop": "yes"})),
        rule(json!({"properties": {"a": ""}})),
        rule(json!({"properties": {"a": "segment_message_id"}})),
        rule(json!({"properties": {"segment_message_id": "a"}})),
    ];
    for (documents, expected) in [(&good[..], true), (&bad[..], false)] {
        for document in documents {
            let parsed = Blueprint::parse(&document.to_string());
            assert_eq!(parsed.is_ok(), expected, "worker: {document}: {parsed:?}");
            assert_eq!(schema.is_valid(document), expected, "schema: {document}");
        }
    }
    Ok(())
}
