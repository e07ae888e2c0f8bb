//! The form of an event's properties at a destination.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::condition::Path;
use crate::json::{Json, Kind, Object};

/// What is done with properties, in this order.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// Only these stay.
    pub pick: Option<BTreeSet<String>>,
    /// These go.
    pub omit: BTreeSet<String>,
    /// From a name to another; a name that is there already is left alone.
    pub rename: BTreeMap<String, String>,
    /// From a path of the payload as it was received.
    pub copy: BTreeMap<String, Path>,
    /// Constants.
    pub set: BTreeMap<String, Constant>,
}

/// A JSON value, and its text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub struct Constant {
    pub text: String,
    pub is_scalar: bool,
}

impl From<Value> for Constant {
    fn from(value: Value) -> Self {
        Constant {
            text: value.to_string(),
            is_scalar: !value.is_object() && !value.is_array() && !value.is_null(),
        }
    }
}

/// Properties of the relay's own, which no rule touches: Vero tells two webhooks apart by `webhook_id`.
pub const OWN: [&str; 1] = ["webhook_id"];

impl Shape {
    pub fn is_empty(&self) -> bool {
        *self == Shape::default()
    }

    /// Whether it gives properties that an event may not have.
    pub fn adds(&self) -> bool {
        !self.copy.is_empty() || !self.set.is_empty()
    }

    /// Every name that a property is given, and where in the document.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let renamed = self.rename.values().map(|name| ("rename", name.as_str()));
        let copied = self.copy.keys().map(|name| ("copy", name.as_str()));
        renamed.chain(copied).chain(self.set.keys().map(|name| ("set", name.as_str())))
    }

    /// Changes properties, or traits.
    pub fn apply<'a>(&'a self, properties: &mut Object<'a>, payload: Option<Json<'a>>, scalars_alone: bool) {
        let stays =
            |key: &str| self.pick.as_ref().is_none_or(|pick| pick.contains(key)) && !self.omit.contains(key);
        properties.take_all(|key, _| !OWN.contains(&key) && !stays(key));
        for (from, to) in &self.rename {
            properties.rename(from, to);
        }
        if !self.copy.is_empty() {
            let mut payload = payload.and_then(Object::parse).unwrap_or_default();
            for (name, path) in &self.copy {
                let is_taken = |value: &Json<'_>| match value.kind() {
                    Kind::Null => false,
                    Kind::Array | Kind::Object => !scalars_alone,
                    Kind::Text | Kind::Number | Kind::Boolean => true,
                };
                if let Some(value) = path.find(&mut payload).filter(is_taken) {
                    properties.set(name, value);
                }
            }
        }
        for (name, constant) in &self.set {
            properties.set(name, Json::written(&constant.text));
        }
    }
}
