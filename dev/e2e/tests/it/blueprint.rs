//! The published JSON Schemas of the blueprint and of webhook endpoints say what the worker says.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_core::blueprint::Blueprint;
use relay_core::endpoints::{Endpoints, Reach};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../../events/blueprint.schema.json");
const ENDPOINTS_SCHEMA: &str = include_str!("../../../../events/endpoints.schema.json");
const ENDPOINTS: &str = include_str!("../../../../events/endpoints.json");
const SAMPLE: &str = include_str!("../../../../events/blueprint.json");

#[test]
fn schema_and_worker_agree() -> anyhow::Result<()> {
    let schema = jsonschema::draft202012::new(&serde_json::from_str(SCHEMA)?)?;
    let rule = |rule: Value| json!({"events": {"Order Completed": rule}});
    let segment = |rules: Value| json!({"version": 2, "webhooks": {"segment": rules}});
    let vero = |rules: Value| json!({"version": 2, "webhooks": {"vero_track": rules}});
    let endpoint = |rules: Value| json!({"version": 2, "webhooks": {"webhook": {"crm": rules}}});
    let webhook = |rule: Value| segment(json!({"rules": [rule]}));
    let good = [
        serde_json::from_str(SAMPLE)?,
        json!({}),
        json!({"$schema": "x", "events": {}, "allow": [], "deny": ["A"], "consent": ["ads"]}),
        json!({"allow": null}),
        rule(json!({})),
        rule(json!({"rename": "x".repeat(254), "properties": {"a": "b"}, "drop": false, "consent": []})),
        rule(json!({"rename": "unsubscribe"})),
        json!({"version": 1}),
        json!({"version": 2, "webhooks": {}}),
        segment(
            json!({"address": "omit", "omit": ["/traits/phone"], "machine_open": true, "default": {"send": false}}),
        ),
        webhook(json!({})),
        webhook(
            json!({"when": {"type": ["sent", 5, true], "/a~1b/0": {"exists": false}, "user_id": {"prefix": "eu-"}}}),
        ),
        webhook(json!({"rename": "A", "sample": 0.5, "sample_by": "event", "note": "why"})),
        webhook(
            json!({"properties": {"pick": ["a"], "omit": ["b"], "rename": {"a": "c"}, "copy": {"d": "/e"}}}),
        ),
        webhook(json!({"properties": {"set": {"a": [{}]}}, "consent": []})),
        endpoint(json!({"rules": [{"when": {"source": "segment"}, "consent": ["ads"]}]})),
        endpoint(
            json!({"address": "hash", "omit": ["/payload/ip", "/traits/phone"], "rules": [{"send": false}]}),
        ),
        vero(
            json!({"address": "keep", "omit": ["/data/plan"], "default": {"properties": {"set": {"a": 1}}}}),
        ),
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
        json!({"version": 3}),
        json!({"webhooks": {"segment": {"machine_open": true}}}),
        json!({"version": 1, "webhooks": {"segment": {"machine_open": true}}}),
        json!({"webhooks": {"segment": {"rules": []}}}),
        json!({"version": 1, "webhooks": {}}),
        json!({"version": 2, "webhooks": []}),
        json!({"version": 2, "webhooks": {"webhook": []}}),
        json!({"version": 2, "webhooks": {"webhook": {"Crm": {}}}}),
        json!({"webhooks": {"webhook": {"crm": {"address": "hash"}}}}),
        endpoint(json!([])),
        endpoint(json!({"omit": ["/data/a"]})),
        endpoint(json!({"rules": [{"sned": false}]})),
        segment(json!(["hash"])),
        segment(json!({"rules": [[]]})),
        segment(json!({"default": {"properties": []}})),
        segment(json!({"omit": ["/properties/"]})),
        webhook(json!({"when": {"/campaign/cost": 1.5}})),
        json!({"version": 2, "webhooks": {"archive": {}}}),
        segment(json!({"address": "hide"})),
        segment(json!({"omit": ["/messageId"]})),
        segment(json!({"omit": ["/context/library"]})),
        segment(json!({"default": {"when": {"type": "sent"}}})),
        vero(json!({"address": "omit"})),
        vero(json!({"omit": ["/properties/a"]})),
        vero(json!({"rules": [{"properties": {"set": {"a": []}}}]})),
        webhook(json!({"sned": false})),
        webhook(json!({"when": {"chanel": "sms"}})),
        webhook(json!({"when": {"channel": []}})),
        webhook(json!({"when": {"channel": {"prefix": "a", "exists": true}}})),
        webhook(json!({"rename": "Identified"})),
        webhook(json!({"sample": 1.01})),
        webhook(json!({"consent": ["ads"]})),
        vero(json!({"default": {"consent": ["ads"]}})),
        webhook(json!({"sample_by": "message"})),
        webhook(json!({"properties": {"copy": {"a": "b"}}})),
        webhook(json!({"properties": {"set": {"webhook_id": 1}}})),
        webhook(json!({"properties": {"rename": {"a": " "}}})),
    ];
    for (documents, expected) in [(&good[..], true), (&bad[..], false)] {
        for document in documents {
            let parsed = Blueprint::parse(&document.to_string());
            assert_eq!(parsed.is_ok(), expected, "worker: {document}: {parsed:?}");
            assert_eq!(schema.is_valid(document), expected, "schema: {document}");
        }
    }
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events"))? {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rules-")) {
            let document: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
            assert!(schema.is_valid(&document), "{}", path.display());
        }
    }
    Ok(())
}

#[test]
fn each_wish_in_the_docs_is_its_file() -> anyhow::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let docs = std::fs::read_to_string(format!("{root}/docs/rules.md"))?;
    let wishes = docs.split("\n### ").filter(|wish| wish.contains("](../events/rules-"));
    let mut count = 0;
    for wish in wishes {
        let (_, after) = wish.split_once("](../").context("no link")?;
        let (file, rest) = after.split_once(')').context("no end of the link")?;
        let block =
            rest.split("```").nth(1).and_then(|block| block.strip_prefix("json")).context("no block")?;
        let mut file: Value = serde_json::from_str(&std::fs::read_to_string(format!("{root}/{file}"))?)?;
        file.as_object_mut().context("no object")?.remove("$schema");
        assert_eq!(serde_json::from_str::<Value>(block)?, file);
        count += 1;
    }
    let files = std::fs::read_dir(format!("{root}/events"))?.filter_map(Result::ok);
    let rules = files.filter(|file| file.file_name().to_string_lossy().starts_with("rules-"));
    assert_eq!((count, rules.count()), (10, 10));
    Ok(())
}

#[test]
fn each_document_in_the_docs_can_be_used() -> anyhow::Result<()> {
    let schema = jsonschema::draft202012::new(&serde_json::from_str(SCHEMA)?)?;
    for (page, count) in [("rules", 11), ("endpoints", 2), ("first-party", 1)] {
        let docs = format!("{}/../../docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_to_string(docs)?;
        let blocks = docs.split("```json").skip(1).filter_map(|block| block.split("```").next());
        let documents: Vec<&str> =
            blocks.filter(|block| block.contains("\"version\"") || block.contains("\"deny\"")).collect();
        assert_eq!(documents.len(), count, "{page}");
        for document in documents {
            assert!(Blueprint::parse(document)?.oddities().is_empty(), "{page}: {document}");
            assert!(schema.is_valid(&serde_json::from_str(document)?), "{page}: {document}");
        }
    }
    Ok(())
}

#[test]
fn schema_and_worker_agree_about_endpoints() -> anyhow::Result<()> {
    let schema = jsonschema::draft202012::new(&serde_json::from_str(ENDPOINTS_SCHEMA)?)?;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let with = |fields: Value| {
        let mut crm = json!({"url": "https://example.com/a?b=c", "secrets": [secret]});
        crm.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"$schema": "x", "crm": crm})
    };
    // So many bytes, which are as many letters in base64 as they need.
    let secret_of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    let good = [
        with(json!({"secrets": [secret_of(24), secret_of(25)]})),
        with(json!({"secrets": [secret_of(26), secret_of(62)]})),
        with(json!({"secrets": [secret_of(63), secret_of(64)]})),
        with(json!({"url": "HTTPS://example.com"})),
        serde_json::from_str(ENDPOINTS)?,
        json!({}),
        with(json!({})),
        with(json!({"secrets": [secret, secret], "headers": {"x-a_1": "B c"}, "payload": "segment"})),
        with(json!({"sources": ["segment"], "max_events": 100, "max_bytes": 6_000_000})),
        with(json!({"url": "https://example.com"})),
        with(json!({"url": "http://127.0.0.1:8080/x"})),
    ];
    let bad = [
        json!([]),
        json!({"crm": []}),
        json!({"crm": {"url": "https://example.com"}}),
        json!({"Crm": with(json!({}))["crm"]}),
        with(json!({"urll": 1})),
        with(json!({"url": "ftp://example.com"})),
        with(json!({"url": "https://user@example.com"})),
        with(json!({"url": "https://example.com#a"})),
        with(json!({"secrets": []})),
        with(json!({"secrets": [secret, secret, secret]})),
        with(json!({"secrets": ["whsec_short"]})),
        with(json!({"secrets": [secret_of(23)]})),
        with(json!({"secrets": [secret_of(65)]})),
        with(json!({"secrets": [secret_of(66)]})),
        with(json!({"secrets": [secret_of(64).trim_end_matches('=')]})),
        with(json!({"secrets": secret})),
        with(json!({"headers": {"Authorization": "x"}})),
        with(json!({"headers": {"webhook-id": "x"}})),
        with(json!({"headers": {"transfer-encoding": "x"}})),
        with(json!({"headers": {"x": "a\nb"}})),
        with(json!({"payload": "xml"})),
        with(json!({"sources": []})),
        with(json!({"sources": ["vro"]})),
        with(json!({"max_events": 0})),
        with(json!({"max_events": 101})),
        with(json!({"max_bytes": 999})),
    ];
    for (documents, expected) in [(&good[..], true), (&bad[..], false)] {
        for document in documents {
            let parsed = Endpoints::parse(&document.to_string(), Reach::Anywhere);
            assert_eq!(parsed.is_ok(), expected, "worker: {document}: {parsed:?}");
            assert_eq!(schema.is_valid(document), expected, "schema: {document}");
        }
    }
    Ok(())
}
