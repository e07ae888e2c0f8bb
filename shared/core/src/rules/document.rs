//! The part of a blueprint with the rules for webhooks and for endpoints, as a user writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::condition::{Field, Path, Test};
use super::sample::{Sample, SampleBy};
use super::shape::{OWN, Shape};
use crate::blueprint::mistake_in_name;
use crate::destinations::is_endpoint_name;
use crate::document::DocumentError;

/// What is done with webhooks, at each destination.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookRules {
    /// At Segment.
    #[serde(deserialize_with = "unless_empty")]
    pub(super) segment: Option<DestinationRules>,
    /// At Vero Track.
    #[serde(deserialize_with = "unless_empty")]
    pub(super) vero_track: Option<DestinationRules>,
    /// At webhook endpoints, by their names.
    pub(super) webhook: BTreeMap<String, DestinationRules>,
}

/// Rules that say nothing are none, so that a destination without any costs nothing.
fn unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DestinationRules>, D::Error> {
    let rules = DestinationRules::deserialize(deserializer)?;
    Ok((rules != DestinationRules::default()).then_some(rules))
}

/// What is done with events at one destination.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DestinationRules {
    /// What it gets in the place of addresses.
    pub(super) address: AddressPolicy,
    /// What of a message goes, whatever the rule.
    pub(super) omit: Vec<Path>,
    /// Opens that a machine may have made say so.
    pub(super) machine_open: bool,
    /// The first whose conditions hold is the one.
    pub(super) rules: Vec<Rule>,
    /// For events that no rule is for.
    pub(super) default: Rule,
}

/// What a destination gets in the place of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressPolicy {
    /// The address.
    #[default]
    Keep,
    /// Its HMAC.
    Hash,
    /// Nothing.
    Omit,
}

/// One rule: which events it is for, and what is done with them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// All of it must hold.
    pub(super) when: BTreeMap<Field, Test>,
    /// Whether they are sent at all.
    pub(super) send: bool,
    /// The event's name.
    pub(super) rename: Option<String>,
    /// The form of its properties.
    pub(super) properties: Shape,
    /// Categories of consent that a first-party event needs.
    pub(super) consent: Vec<String>,
    /// Which share is sent.
    pub(super) sample: Option<Sample>,
    /// Of what that is a share.
    pub(super) sample_by: SampleBy,
    /// For people.
    pub(super) note: Option<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            when: BTreeMap::new(),
            send: true,
            rename: None,
            properties: Shape::default(),
            consent: Vec::new(),
            sample: None,
            sample_by: SampleBy::default(),
            note: None,
        }
    }
}

/// What a destination is called in a document, and what of it may be changed.
pub(super) struct Scope {
    pub(super) name: Cow<'static, str>,
    /// Where the fields are that may go.
    contents: &'static [&'static str],
    /// Vero's `data` has no lists and no objects (Track API reference).
    takes_scalars_alone: bool,
    /// It knows its users by them.
    needs_addresses: bool,
    /// Its rules hold for first-party events, too. On their way to Vero these go by the blueprint's `events`.
    pub(super) takes_first_party: bool,
}

const SEGMENT: Scope = Scope {
    name: Cow::Borrowed("segment"),
    contents: &["properties", "traits", "context"],
    takes_scalars_alone: false,
    needs_addresses: false,
    takes_first_party: false,
};
const VERO_TRACK: Scope = Scope {
    name: Cow::Borrowed("vero_track"),
    contents: &["data"],
    takes_scalars_alone: true,
    needs_addresses: true,
    takes_first_party: false,
};

/// An endpoint gets either form.
const ENDPOINT_CONTENTS: [&str; 4] = ["payload", "properties", "traits", "context"];

/// By these an event of ours is known when it comes back.
const MARKS: [&str; 2] = ["library", "integration"];

impl WebhookRules {
    pub(super) fn destinations(&self) -> impl Iterator<Item = (Scope, &DestinationRules)> {
        let all = [(SEGMENT, &self.segment), (VERO_TRACK, &self.vero_track)];
        let all = all.into_iter().filter_map(|(scope, rules)| Some((scope, rules.as_ref()?)));
        all.chain(self.webhook.iter().map(|(name, rules)| {
            let name = format!("webhook.{name}").into();
            let scope = Scope { name, contents: &ENDPOINT_CONTENTS, takes_first_party: true, ..SEGMENT };
            (scope, rules)
        }))
    }

    /// The first mistake that the types do not rule out.
    pub(crate) fn check(&self) -> Result<(), DocumentError> {
        for (scope, rules) in self.destinations() {
            rules.check(&scope)?;
        }
        match self.webhook.keys().find(|name| !is_endpoint_name(name)) {
            Some(name) => mistake(format!("webhooks.webhook.{name}"), "is no name of an endpoint"),
            None => Ok(()),
        }
    }

    /// The rules for a destination, as the document names it.
    pub(super) fn named(&self, name: &str) -> Option<&DestinationRules> {
        self.destinations().find(|(scope, _)| scope.name == name).map(|(_, rules)| rules)
    }

    /// The names of the endpoints that there are rules for.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.webhook.keys().map(String::as_str)
    }

    /// Where it says that addresses are hashed, which takes a secret.
    pub fn hashes_at(&self) -> Option<String> {
        let hashing = self.destinations().find(|(_, rules)| rules.address == AddressPolicy::Hash);
        hashing.map(|(scope, _)| format!("webhooks.{}.address", scope.name))
    }
}

impl DestinationRules {
    fn check(&self, scope: &Scope) -> Result<(), DocumentError> {
        let top = format!("webhooks.{}", scope.name);
        if scope.needs_addresses && self.address != AddressPolicy::Keep {
            return mistake(
                format!("{top}.address"),
                "must be `keep`: Vero knows its users by their addresses",
            );
        }
        if !self.default.when.is_empty() {
            return mistake(
                format!("{top}.default.when"),
                "has no place here: the default is for all others",
            );
        }
        for (place, path) in self.omit.iter().enumerate() {
            let place = format!("{top}.omit[{place}]");
            let keys = path.keys();
            let is_inside = keys.len() > 1 && scope.contents.contains(&keys[0]);
            if !is_inside {
                let contents: Vec<String> = scope.contents.iter().map(|name| format!("/{name}/…")).collect();
                return mistake(place, &format!("is no path of what may go: {}", contents.join(", ")));
            }
            if keys[0] == "context" && MARKS.contains(&keys[1]) || OWN.contains(&keys[1]) {
                return mistake(place, "is a mark of the relay's own, by which it knows its events");
            }
        }
        for (place, rule) in self.rules.iter().enumerate() {
            rule.check(scope, &format!("{top}.rules[{place}]"))?;
        }
        self.default.check(scope, &format!("{top}.default"))
    }
}

impl Rule {
    fn check(&self, scope: &Scope, top: &str) -> Result<(), DocumentError> {
        if !scope.takes_first_party && !self.consent.is_empty() {
            let problem = "has no place here: a webhook says nothing about consent. If your own event that set it off \
                carries it, name its path in `when`. For first-party events `consent` stands in the rules of an endpoint, and for Vero \
                at the document's top";
            return mistake(format!("{top}.consent"), problem);
        }
        if let Some(problem) = self.rename.as_deref().and_then(mistake_in_name) {
            return mistake(format!("{top}.rename"), problem);
        }
        let top = format!("{top}.properties");
        for (part, name) in self.properties.names() {
            if name.trim().is_empty() {
                return mistake(format!("{top}.{part}"), "gives a property an empty name");
            }
            if OWN.contains(&name) {
                return mistake(format!("{top}.{part}"), "takes a name of the relay's own");
            }
        }
        if self.properties.omit.iter().chain(self.properties.rename.keys()).any(|name| OWN.contains(&&**name))
        {
            return mistake(top, "changes a property of the relay's own");
        }
        let constants = self.properties.set.iter();
        if let Some((name, _)) =
            { constants }.find(|(_, constant)| scope.takes_scalars_alone && !constant.is_scalar)
        {
            return mistake(
                format!("{top}.set.{name}"),
                "must be a text, a number or a boolean: Vero takes no other",
            );
        }
        Ok(())
    }
}

fn mistake(path: String, problem: &str) -> Result<(), DocumentError> {
    Err(DocumentError::new(path, problem))
}
