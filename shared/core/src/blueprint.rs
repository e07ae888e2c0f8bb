//! The blueprint: how first-party events are named at Vero, and which of them go there at all; and the [`crate::rules`] for
//! webhooks, and for all that goes to endpoints.
//!
//! A user's document stands over the default preset: what it does not say of an event holds on. Its JSON Schema is `events/blueprint.schema.json`.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::document::{self, DocumentError};
use crate::first_party::{RESUBSCRIBE, UNSUBSCRIBE};
use crate::identity::is_too_long;
use crate::names::normalised;

use crate::rules::{AfterRules, WebhookRules};

/// The property of every event that holds the sender's own id of it.
pub const MESSAGE_ID: &str = "segment_message_id";

/// Events that Vero makes itself and that nobody can rename or delete there (Vero 2.0, "Events overview").
const RESERVED_EVENTS: [&str; 2] = ["Identified", "Visited site"];

/// The default preset, which is that of the connector that Vero's customers know (Datafly Signal, "Vero", Event
/// Mapping). Its row for page calls is the name `Viewed page`, by which the blueprint knows them.
const PRESET: [(&str, &str); 6] = [
    ("Signed Up", "Signed up"),
    ("Products Searched", "Searched products"),
    ("Product Viewed", "Viewed product"),
    ("Product Added", "Added to cart"),
    ("Checkout Started", "Started checkout"),
    ("Order Completed", "Completed order"),
];

/// Of these the preset renames the property `url`, too.
const WITH_PRODUCT_URL: [&str; 2] = ["Product Viewed", "Product Added"];

/// The whole document.
///
/// ```
/// use relay_core::blueprint::Blueprint;
///
/// let blueprint = Blueprint::parse(r#"{"events":{"Signed Up":{"drop":true}}}"#)?;
/// assert!(blueprint.rule("Signed Up").is_err());
/// // The default preset holds on for what the document does not speak of.
/// let (name, _) = blueprint.rule("Order Completed")?;
/// assert_eq!(name, "Completed order");
/// assert_eq!(blueprint.rule("Anything else")?.0, "Anything else");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blueprint {
    /// By the event's name, to the letter; pages and screens are `Viewed page` and `Viewed screen`.
    events: BTreeMap<String, Rule>,
    /// If set, no event goes but these.
    allow: Option<HashSet<String>>,
    /// These events do not go.
    deny: HashSet<String>,
    /// Categories of consent that every call needs, unsubscribes and deletions excepted.
    consent: Vec<String>,
    /// What is done with webhooks.
    webhooks: WebhookRules,
    /// The version of the document's form; 2 has `webhooks`.
    version: Version,
    /// For editors.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
}

/// The version of a document's form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
enum Version {
    /// First-party events alone.
    #[default]
    One,
    /// Webhooks, too.
    Two,
}

impl TryFrom<u8> for Version {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, &'static str> {
        match number {
            1 => Ok(Version::One),
            2 => Ok(Version::Two),
            _ => Err("an unknown version, expected 1 or 2"),
        }
    }
}

/// What is done with events of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Their name at Vero.
    pub rename: Option<String>,
    /// Their properties' names at Vero; a name that an event has already is left alone.
    pub properties: BTreeMap<String, String>,
    /// They do not go.
    pub drop: bool,
    /// Categories of consent that they need, besides those of the whole document.
    pub consent: Vec<String>,
}

/// Why an event does not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Filtered {
    /// Its rule says `drop`.
    #[error("the blueprint drops the event")]
    Dropped,
    /// By `allow` or `deny`.
    #[error("the blueprint does not allow the event")]
    NotAllowed,
}

impl Default for Blueprint {
    fn default() -> Self {
        let rule = |(name, rename): (&str, &str)| {
            let product_url =
                WITH_PRODUCT_URL.contains(&name).then(|| ("url".to_owned(), "product_url".to_owned()));
            let properties = product_url.into_iter().collect();
            (name.to_owned(), Rule { rename: Some(rename.to_owned()), properties, ..Rule::default() })
        };
        Blueprint {
            events: PRESET.into_iter().map(rule).collect(),
            allow: None,
            deny: HashSet::new(),
            consent: Vec::new(),
            webhooks: WebhookRules::default(),
            version: Version::default(),
            _schema: None,
        }
    }
}

impl Blueprint {
    /// Reads a user's document.
    ///
    /// # Errors
    /// The first [`DocumentError`] in it.
    pub fn parse(json: &str) -> Result<Self, DocumentError> {
        let document = document::parse(json)?;
        let has_webhooks = document.get("webhooks").is_some();
        let rules = document["events"].as_object().into_iter().flatten();
        let rules = rules.map(|(name, rule)| (format!("events.{name}"), rule));
        let all = [(".".to_owned(), &document)].into_iter().chain(rules).chain(webhook_objects(&document));
        document::require_objects(all)?;
        let mut blueprint: Blueprint = document::read(document)?;
        if has_webhooks && blueprint.version == Version::One {
            return Err(DocumentError::new("version", "must be 2 in a document with `webhooks`"));
        }
        blueprint.check()?;
        for (name, preset) in Blueprint::default().events {
            let rule = blueprint.events.entry(name).or_default();
            rule.rename = rule.rename.take().or(preset.rename);
            for (from, to) in preset.properties {
                rule.properties.entry(from).or_insert(to);
            }
        }
        Ok(blueprint)
    }

    /// The name at Vero, and the rule, of events of this name.
    ///
    /// # Errors
    /// Why none of them goes.
    pub fn rule<'b>(&'b self, name: &'b str) -> Result<(&'b str, Option<&'b Rule>), Filtered> {
        let rule = self.events.get(name);
        if rule.is_some_and(|rule| rule.drop) {
            return Err(Filtered::Dropped);
        }
        if self.deny.contains(name) || self.allow.as_ref().is_some_and(|allow| !allow.contains(name)) {
            return Err(Filtered::NotAllowed);
        }
        Ok((rule.and_then(|rule| rule.rename.as_deref()).unwrap_or(name), rule))
    }

    /// Categories of consent that every call needs, unsubscribes and deletions excepted.
    pub fn consent(&self) -> &[String] {
        &self.consent
    }

    /// What is done with webhooks.
    pub fn webhooks(&self) -> &WebhookRules {
        &self.webhooks
    }

    /// The same document without one of the fields that hold after whichever rule.
    #[must_use]
    pub fn without(&self, field: AfterRules) -> Self {
        Blueprint { webhooks: self.webhooks.without(field), ..self.clone() }
    }

    /// What is odd about the document, but no mistake: rules that no event meets, and types that nobody documents.
    pub fn oddities(&self) -> Vec<DocumentError> {
        self.webhooks.oddities()
    }

    fn check(&self) -> Result<(), DocumentError> {
        self.webhooks.check()?;
        let mistake = |path: String, problem: &str| Err(DocumentError::new(path, problem));
        let is_call =
            |name: &str| [UNSUBSCRIBE, RESUBSCRIBE].iter().any(|call| name.trim().eq_ignore_ascii_case(call));
        const NO_EVENT: &str = "is a call of its own, which no blueprint changes";
        for (name, rule) in &self.events {
            let path = format!("events.{name}");
            if is_call(name) {
                return mistake(path, NO_EVENT);
            }
            if let Some(problem) = rule.rename.as_deref().and_then(mistake_in_name) {
                return mistake(format!("{path}.rename"), problem);
            }
            for (from, to) in &rule.properties {
                let path = format!("{path}.properties.{from}");
                if to.trim().is_empty() {
                    return mistake(path, "is empty");
                }
                if from == MESSAGE_ID || to == MESSAGE_ID {
                    return mistake(path, "segment_message_id is the relay's own property");
                }
            }
        }
        for (list, names) in [("allow", self.allow.as_ref()), ("deny", Some(&self.deny))] {
            if names.is_some_and(|names| names.iter().any(|name| is_call(name))) {
                return mistake(
                    list.to_owned(),
                    "names unsubscribe or resubscribe, which no blueprint changes",
                );
            }
        }
        Ok(())
    }
}

/// What must be an object in the part for webhooks, where it is there.
fn webhook_objects<'v>(document: &'v Value) -> Vec<(String, &'v Value)> {
    let Some(webhooks) = document.get("webhooks") else { return Vec::new() };
    let mut objects = vec![("webhooks".to_owned(), webhooks)];
    let fields = |top: &str, object: &'v Value| -> Vec<(String, &'v Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields.map(|(name, field)| (format!("{top}.{name}"), field)).collect()
    };
    let (endpoints, destinations): (Vec<_>, Vec<_>) =
        fields("webhooks", webhooks).into_iter().partition(|(path, _)| path == "webhooks.webhook");
    let of_endpoints = endpoints.iter().flat_map(|(top, endpoints)| fields(top, endpoints));
    let destinations: Vec<_> = destinations.into_iter().chain(of_endpoints).collect();
    objects.extend(endpoints);
    for (top, destination) in destinations {
        let rules = destination["rules"].as_array().into_iter().flatten().enumerate();
        let mut rules: Vec<(String, &Value)> =
            rules.map(|(place, rule)| (format!("{top}.rules[{place}]"), rule)).collect();
        rules.extend(destination.get("default").map(|default| (format!("{top}.default"), default)));
        for (path, rule) in &rules {
            objects.extend(rule.get("properties").map(|shape| (format!("{path}.properties"), shape)));
        }
        objects.push((top, destination));
        objects.extend(rules);
    }
    objects
}

/// What is wrong with an event's name at Vero.
pub(crate) fn mistake_in_name(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        return Some("is empty");
    }
    if is_too_long(name) {
        return Some("has over 254 characters, more than Vero takes");
    }
    let is_reserved = RESERVED_EVENTS.iter().any(|reserved| normalised(reserved) == normalised(name));
    is_reserved.then_some("is an event that Vero keeps for itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(blueprint: &Blueprint, name: &str) -> String {
        blueprint.rule(name).map_or_else(|filtered| format!("{filtered:?}"), |(name, _)| name.to_owned())
    }

    #[test]
    fn the_preset_has_its_rows() {
        let preset = Blueprint::default();
        for (name, expected) in [
            ("Signed Up", "Signed up"),
            ("Products Searched", "Searched products"),
            ("Product Viewed", "Viewed product"),
            ("Product Added", "Added to cart"),
            ("Checkout Started", "Started checkout"),
            ("Order Completed", "Completed order"),
            ("Something Else", "Something else"),
        ] {
            assert!(renamed(&preset, name).eq_ignore_ascii_case(expected), "{name}");
        }
        let (_, rule) = preset.rule("Product Added").unwrap();
        assert_eq!(rule.unwrap().properties["url"], "product_url");
    }

    #[test]
    fn a_document_stands_over_the_preset() {
        let document = r#"{"events":{"Signed Up":{"rename":"Signed Up"},"Order Completed":{"rename":"Bought"},
            "Product Viewed":{"consent":["ads"]},"Product Added":{"properties":{"url":"link"}},"Ping":{"drop":true}},
            "deny":["Secret"]}"#;
        let blueprint = Blueprint::parse(document).unwrap();
        for (name, expected) in [
            ("Signed Up", "Signed Up"),
            ("Order Completed", "Bought"),
            ("Product Viewed", "Viewed product"),
            ("Product Added", "Added to cart"),
            ("Checkout Started", "Started checkout"),
            ("Ping", "Dropped"),
            ("Secret", "NotAllowed"),
            ("Anything", "Anything"),
        ] {
            assert_eq!(renamed(&blueprint, name), expected);
        }
        let url = |name| blueprint.rule(name).unwrap().1.unwrap().properties["url"].clone();
        assert_eq!((&*url("Product Viewed"), &*url("Product Added")), ("product_url", "link"));
        // As it was before: an upgrade must not stop a worker.
        let twice = Blueprint::parse(r#"{"deny":["A"],"deny":["B"]}"#).unwrap();
        assert_eq!((&*renamed(&twice, "A"), &*renamed(&twice, "B")), ("A", "NotAllowed"));
        let only = Blueprint::parse(r#"{"version":1,"allow":["Signed Up"]}"#).unwrap();
        assert_eq!(
            (&*renamed(&only, "Signed Up"), &*renamed(&only, "Viewed page")),
            ("Signed up", "NotAllowed")
        );
    }

    #[test]
    fn a_mistake_has_its_place() {
        let segment = |fields: &str| format!(r#"{{"version":2,"webhooks":{{"segment":{{{fields}}}}}}}"#);
        let rule = |fields: &str| segment(&format!(r#""rules":[{{{fields}}}]"#));
        let long = format!(r#"{{"events":{{"A":{{"rename":"{}"}}}}}}"#, "x".repeat(255));
        for (document, path, problem) in [
            ("", ".", "no JSON"),
            ("{} x", ".", "no JSON"),
            ("[]", ".", "no object"),
            (r#"{"events":[]}"#, "events", "expected an object"),
            (r#"{"events":{"A":[]}}"#, "events.A", "no object"),
            (r#"{"evnts":{}}"#, "evnts", "expected one of `events`"),
            (r#"{"ana@example.org":{}}"#, "(a place whose name is not shown)", "expected one of `events`"),
            (r#"{"events":{"ana@example.org":5}}"#, "(a place whose name is not shown)", "no object"),
            (r#"{"consent":"ana@example.org"}"#, "consent", "expected a list"),
            (r#"{"deny":"a, expected ana@example.org"}"#, "deny", "expected a list"),
            (r#"{"events":{"Signed Up":{"rename":5}}}"#, "events.Signed Up.rename", "expected a text"),
            (r#"{"events":{"A":{"renam":"B"}}}"#, "events.A.renam", "expected one of"),
            (r#"{"events":{"A":{"rename":" "}}}"#, "events.A.rename", "is empty"),
            (&long, "events.A.rename", "over 254"),
            (r#"{"events":{"A":{"rename":"visited_SITE"}}}"#, "events.A.rename", "keeps for itself"),
            (r#"{"events":{"A":{"properties":{"a":""}}}}"#, "events.A.properties.a", "is empty"),
            (
                r#"{"events":{"A":{"properties":{"a":"segment_message_id"}}}}"#,
                "events.A.properties.a",
                "own property",
            ),
            (r#"{"events":{"A":{"consent":["x",1]}}}"#, "events.A.consent[1]", "expected a text"),
            (r#"{"events":{"Unsubscribe":{"drop":true}}}"#, "events.Unsubscribe", "call of its own"),
            (r#"{"allow":["resubscribe"]}"#, "allow", "no blueprint changes"),
            (r#"{"consent":"x"}"#, "consent", "expected a list"),
            (r#"{"version":3}"#, "version", "expected 1 or 2"),
            (r#"{"webhooks":{"segment":{"machine_open":true}}}"#, "version", "must be 2"),
            (r#"{"version":1,"webhooks":{}}"#, "version", "must be 2"),
            (
                r#"{"version":2,"webhooks":{"segmnt":{}}}"#,
                "webhooks.segmnt",
                "expected one of `segment`, `vero_track`, `webhook`",
            ),
            (r#"{"version":2,"webhooks":[]}"#, "webhooks", "no object"),
            (r#"{"version":2,"webhooks":{"webhook":[]}}"#, "webhooks.webhook", "no object"),
            (r#"{"version":2,"webhooks":{"webhook":{"crm":[]}}}"#, "webhooks.webhook.crm", "no object"),
            (
                r#"{"version":2,"webhooks":{"webhook":{"Crm":{}}}}"#,
                "webhooks.webhook.Crm",
                "no name of an endpoint",
            ),
            (
                r#"{"version":2,"webhooks":{"webhook":{"crm":{"rules":[{"sned":1}]}}}}"#,
                "webhooks.webhook.crm.rules[0].sned",
                "expected one of `when`",
            ),
            (r#"{"version":2,"webhooks":{"segment":["hash"]}}"#, "webhooks.segment", "no object"),
            (&segment(r#""rules":[[]]"#), "webhooks.segment.rules[0]", "no object"),
            (&segment(r#""default":{"properties":[]}"#), "webhooks.segment.default.properties", "no object"),
            (
                &rule(r#""when":{"/campaign/cost":1.5}"#),
                "webhooks.segment.rules[0].when./campaign/cost",
                "a whole number",
            ),
            (&rule(r#""sned":false"#), "webhooks.segment.rules[0].sned", "expected one of `when`, `send`"),
            (
                &rule(r#""when":{"chanel":"sms"}"#),
                "webhooks.segment.rules[0].when.chanel",
                "expected one of `type`",
            ),
            (&rule(r#""when":{"/":"sms"}"#), "webhooks.segment.rules[0].when./", "expected a path"),
            (
                &rule(r#""when":{"/event/data/ana@example.org":1.5}"#),
                "(a place whose name is not shown)",
                "a whole number",
            ),
            (&rule(r#""when":{"channel":[]}"#), "webhooks.segment.rules[0].when.channel", "expected a text"),
            (
                &rule(r#""when":{"channel":{"suffix":"s"}}"#),
                "webhooks.segment.rules[0].when.channel",
                "expected a text",
            ),
            (
                &rule(r#""when":{"channel":{"prefix":"s","exists":true}}"#),
                "webhooks.segment.rules[0].when.channel",
                "expected a text",
            ),
            (
                &rule(r#""consent":["ads"]"#),
                "webhooks.segment.rules[0].consent",
                "says nothing about consent",
            ),
            (
                r#"{"version":2,"webhooks":{"vero_track":{"default":{"consent":["ads"]}}}}"#,
                "webhooks.vero_track.default.consent",
                "name its path in `when`",
            ),
            (&rule(r#""sample":"20%""#), "webhooks.segment.rules[0].sample", "from 0 to 1"),
            (&rule(r#""sample":1.5"#), "webhooks.segment.rules[0].sample", "from 0 to 1"),
            (&rule(r#""rename":"Visited site""#), "webhooks.segment.rules[0].rename", "keeps for itself"),
            (
                &rule(r#""properties":{"copy":{"a":"b"}}"#),
                "webhooks.segment.rules[0].properties.copy.a",
                "a path such as",
            ),
            (
                &rule(r#""properties":{"set":{"webhook_id":1}}"#),
                "webhooks.segment.rules[0].properties.set",
                "relay's own",
            ),
            (
                &rule(r#""properties":{"omit":["webhook_id"]}"#),
                "webhooks.segment.rules[0].properties",
                "relay's own",
            ),
            (&segment(r#""omit":["/messageId"]"#), "webhooks.segment.omit[0]", "/properties/…"),
            (&segment(r#""omit":["/properties"]"#), "webhooks.segment.omit[0]", "/properties/…"),
            (&segment(r#""omit":["/type/of"]"#), "webhooks.segment.omit[0]", "/properties/…"),
            (&segment(r#""omit":["/context/library/name"]"#), "webhooks.segment.omit[0]", "knows its events"),
            (
                &segment(r#""default":{"when":{"type":"sent"}}"#),
                "webhooks.segment.default.when",
                "no place here",
            ),
            (
                r#"{"version":2,"webhooks":{"vero_track":{"address":"hash"}}}"#,
                "webhooks.vero_track.address",
                "by their addresses",
            ),
            (
                r#"{"version":2,"webhooks":{"vero_track":{"default":{"properties":{"set":{"a":[1]}}}}}}"#,
                "webhooks.vero_track.default.properties.set.a",
                "a text, a number or a boolean",
            ),
        ] {
            let mistake = Blueprint::parse(document).err().unwrap_or_else(|| panic!("{document}"));
            assert_eq!(mistake.path, path, "{document}: {mistake}");
            assert!(mistake.problem.contains(problem), "{document}: {mistake}");
            assert!(!mistake.to_string().contains('@'), "{mistake}");
        }
    }
}
