//! Which events a rule is for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::event::RuledEvent;
use crate::json::{Json, Kind, Object};

/// What of an event is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Field {
    /// The event's type.
    Type,
    /// Whence it came, as its envelope says.
    Source,
    /// The user's id.
    UserId,
    /// A property, by its name at Segment.
    Property(String),
    /// Any path of the payload as it was received.
    Path(Path),
}

/// The names of what is looked at most, and the properties that they stand for.
const NAMED: [(&str, &str); 6] = [
    ("channel", "campaign_channel"),
    ("campaign_id", "campaign_id"),
    ("campaign_name", "campaign_name"),
    ("campaign_group", "campaign_group"),
    ("campaign_tag", "campaign_tags"),
    ("campaign_type", "campaign_type"),
];

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match &*name {
            "type" => Ok(Field::Type),
            "source" => Ok(Field::Source),
            "user_id" => Ok(Field::UserId),
            _ if name.starts_with('/') => Ok(Field::Path(Path::try_from(name)?)),
            _ => match NAMED.iter().find(|(known, _)| *known == name) {
                Some((_, property)) => Ok(Field::Property((*property).to_owned())),
                None => {
                    let names = NAMED.map(|(name, _)| format!("`{name}`")).join(", ");
                    Err(format!(
                        "an unknown field, expected one of `type`, `source`, `user_id`, {names}, or a path such as `/campaign/locale`"
                    ))
                }
            },
        }
    }
}

/// A path in a JSON object, from its top, as JSON Pointer writes it (RFC 6901); not into lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Path(Vec<String>);

impl TryFrom<String> for Path {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let keys = text.strip_prefix('/').filter(|keys| !keys.is_empty());
        let keys = keys.filter(|keys| !keys.split('/').any(str::is_empty));
        let keys = keys.ok_or("no path, expected a path such as `/campaign/locale`")?;
        Ok(Path(keys.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl Path {
    pub fn keys(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    pub fn find<'a>(&self, object: &mut Object<'a>) -> Option<Json<'a>> {
        object.peek(&self.keys())
    }

    pub fn take_from(&self, object: &mut Object<'_>) {
        let keys = self.keys();
        let Some((key, parents)) = keys.split_last() else { return };
        // All of equal keys, and on the way all but the one that counts.
        for depth in 0..parents.len() {
            if let Some(parent) = object.open(&parents[..depth]) {
                parent.keep_last(parents[depth]);
            }
        }
        if let Some(parent) = object.open(parents) {
            parent.take_all(|name, _| name == *key);
        }
    }
}

/// What must hold of it. Of a list it must hold of one element.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Test {
    /// It is one of these texts; numbers and booleans are compared as they are spelled.
    OneOf(Vec<String>),
    /// It begins so.
    Prefix(String),
    /// It is there, and not null; or it is not.
    Exists(bool),
}

const TEST: &str = "no test, expected a text, a whole number, a boolean, a list of these, {\"prefix\": …} or {\"exists\": …}";

impl TryFrom<Value> for Test {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        let scalar = |value: &Value| match value {
            Value::String(text) => Some(text.trim().to_owned()),
            // Of another number the spelling is not known any more.
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(value.to_string()),
            Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        match &value {
            Value::Array(values) if !values.is_empty() => {
                values.iter().map(scalar).collect::<Option<_>>().map(Test::OneOf).ok_or(TEST)
            }
            Value::Object(fields) if fields.len() == 1 => {
                match (fields.get("prefix"), fields.get("exists")) {
                    (Some(Value::String(prefix)), _) => Ok(Test::Prefix(prefix.clone())),
                    (_, Some(Value::Bool(exists))) => Ok(Test::Exists(*exists)),
                    _ => Err(TEST),
                }
            }
            value => scalar(value).map(|text| Test::OneOf(vec![text])).ok_or(TEST),
        }
    }
}

impl Test {
    /// Whether it holds of a text.
    pub fn holds_of(&self, text: &str) -> bool {
        match self {
            Test::OneOf(texts) => texts.iter().any(|one| one == text),
            Test::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Test::Exists(exists) => *exists,
        }
    }

    fn holds(&self, value: Option<Json<'_>>) -> bool {
        let value = value.filter(|value| value.kind() != Kind::Null);
        match (self, value) {
            (Test::Exists(exists), value) => value.is_some() == *exists,
            (_, None) => false,
            (_, Some(value)) if value.kind() == Kind::Array => {
                let elements: Vec<Json<'_>> = serde_json::from_str(value.get()).unwrap_or_default();
                elements.into_iter().any(|element| text(element).is_some_and(|text| self.holds_of(&text)))
            }
            (_, Some(value)) => text(value).is_some_and(|text| self.holds_of(&text)),
        }
    }

    /// The texts of which it is one; none for other tests.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Test::OneOf(texts) => &texts[..],
            Test::Prefix(_) | Test::Exists(_) => &[],
        };
        texts.iter().map(String::as_str)
    }

    /// Whether no value passes it: they have no white space around them.
    pub fn never_holds(&self) -> bool {
        matches!(self, Test::Prefix(prefix) if prefix.trim_start() != prefix)
    }

    /// Whether it holds wherever the other one does.
    pub fn follows_from(&self, other: &Test) -> bool {
        match (self, other) {
            (Test::OneOf(all), Test::OneOf(some)) => some.iter().all(|text| all.contains(text)),
            (Test::Prefix(_), Test::OneOf(texts)) => texts.iter().all(|text| self.holds_of(text)),
            (Test::Prefix(prefix), Test::Prefix(longer)) => longer.starts_with(prefix.as_str()),
            (Test::Exists(true), other) => *other != Test::Exists(false),
            (Test::Exists(false), Test::Exists(false)) => true,
            _ => false,
        }
    }
}

/// A scalar as text, without white space around it.
fn text(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::Text => crate::identity::trimmed(value),
        Kind::Number | Kind::Boolean => Some(value.get().into()),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

/// Whether a test holds of an event. The payload is taken apart when a path is looked at, once.
pub fn holds<'a>(
    field: &Field,
    test: &Test,
    event: RuledEvent<'_, 'a>,
    payload: &mut Option<Object<'a>>,
) -> bool {
    let of_text = |text: Option<&str>| match text {
        Some(text) => test.holds_of(text),
        None => *test == Test::Exists(false),
    };
    match field {
        Field::Type => {
            let (kind, asked) = event.kinds();
            of_text(kind) || asked.is_some_and(|asked| test.holds_of(asked))
        }
        Field::Source => test.holds_of(event.envelope().source.as_str()),
        Field::UserId => of_text(event.user().id.as_deref()),
        Field::Property(name) => test.holds(event.property(name)),
        Field::Path(path) => {
            let parse = || event.payload().and_then(Object::parse).unwrap_or_default();
            test.holds(path.find(payload.get_or_insert_with(parse)))
        }
    }
}
