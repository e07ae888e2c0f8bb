//! A webhook of Vero's, read once for every destination.
//!
//! Vero documents twelve types and has changed their fields over the years, so nothing is required here: what
//! can be used is used, and every other field goes along under its own name.

use std::borrow::Cow;

use crate::identity::{self, User, trimmed};
use crate::json::{self, FieldPath, Json, Kind, Object, ObjectWriter};
use crate::names::{self, Layout};
use crate::timestamp::Timestamp;

/// A webhook, taken apart.
#[derive(Debug)]
pub struct Webhook<'a> {
    /// Its type, by [`kind`].
    pub kind: Option<Cow<'a, str>>,
    /// `type` has been used up, since the event's name tells it. An `action` in its place never is.
    pub is_type_used: bool,
    /// Whom it is about.
    pub user: User,
    /// Its own time where that can be believed, else the time of receipt.
    pub time: Timestamp,
    /// What it says.
    pub content: Content<'a>,
    /// Every field that was not used, as one JSON object under the original paths.
    pub rest: Option<String>,
}

/// What a webhook says.
#[derive(Debug)]
pub enum Content<'a> {
    /// Something happened: properties of an event.
    Event(Properties<'a>),
    /// A profile is new: its traits.
    Created(Traits<'a>),
    /// A profile changed.
    Updated {
        /// The changed traits, and the address.
        traits: Traits<'a>,
        /// Nothing but tags changed, so that there is nothing to identify with.
        only_tags: bool,
        /// Tags added and removed.
        tags: Option<Properties<'a>>,
    },
}

/// The listed properties of an event, named as Segment's email specification names them.
#[derive(Debug, Default)]
pub struct Properties<'a>(Vec<Property<'a>>);

/// One property: its name and its value as JSON.
#[derive(Debug)]
pub struct Property<'a> {
    /// The name.
    pub name: &'static str,
    /// The value, as JSON text.
    pub json: Cow<'a, str>,
    /// Text, number or boolean: what Vero's `data` takes.
    pub is_scalar: bool,
}

/// The traits of a profile, as pairs of JSON texts.
#[derive(Debug, Default)]
pub struct Traits<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// How a source becomes a property.
#[derive(Clone, Copy)]
enum As {
    /// A text or a number, always sent as text; anything else is no id.
    Id,
    /// A text, trimmed; anything else as it came.
    Text,
    /// As it came.
    Raw,
}

/// Each listed property with the places where it may stand; the first that is not null wins.
const LISTED: [(&str, As, &[FieldPath]); 21] = [
    ("email_id", As::Id, &[&["message_id"], &["campaign", "message_id"]]),
    ("email_subject", As::Text, &[&["campaign", "subject"], &["campaign", "email_subject"]]),
    ("campaign_id", As::Id, &[&["campaign", "id"]]),
    ("campaign_name", As::Text, &[&["campaign", "name"], &["campaign", "campaign_title"]]),
    ("campaign_type", As::Text, &[&["campaign", "type"]]),
    ("campaign_group", As::Text, &[&["campaign", "group"]]),
    ("campaign_channel", As::Text, &[CHANNEL]),
    ("campaign_trigger_event", As::Text, &[TRIGGER_EVENT]),
    ("campaign_permalink", As::Text, &[&["campaign", "permalink"]]),
    ("campaign_variation", As::Text, &[&["campaign", "variation"], &["campaign", "variation_name"]]),
    ("campaign_locale", As::Text, &[&["campaign", "locale"]]),
    ("campaign_series", As::Text, &[&["campaign", "series_title"]]),
    ("campaign_template", As::Text, &[&["campaign", "template"]]),
    ("campaign_tags", As::Text, &[&["campaign", "tags"]]),
    ("sent_to", As::Text, &[&["campaign", "sent_to"]]),
    ("user_agent", As::Text, &[&["user_agent"]]),
    ("bounce_type", As::Text, &[&["bounce_type"]]),
    ("bounce_code", As::Id, &[&["bounce_code"]]),
    ("bounce_message", As::Text, &[&["bounce_message"]]),
    ("sender_ip", As::Text, &[&["sender_ip"]]),
    (TRIGGER, As::Raw, &[&["event"]]),
];

/// The properties of `User Tags Updated`.
const TAGS: [(&str, As, &[FieldPath]); 2] = [
    ("tags_added", As::Raw, &[&["changes", "_tags", "add"]]),
    ("tags_removed", As::Raw, &[&["changes", "_tags", "remove"]]),
];

const CHANNEL: FieldPath = &["campaign", "channel"];
const TRIGGER_EVENT: FieldPath = &["campaign", "trigger-event"];

/// The property that holds the customer's own event, with its data.
pub const TRIGGER: &str = "trigger_event";

impl<'a> Webhook<'a> {
    /// Takes a webhook apart. Never fails: a payload that is no object reads as one without fields.
    pub fn read(payload: Json<'a>, received_at: Timestamp) -> Self {
        let mut fields = Object::parse(payload).unwrap_or_default();
        let kind = kind(fields.get("type"), fields.get("action"));
        let documented = kind.as_deref().and_then(names::documented);
        let is_type_used = documented.is_some() && fields.get("type").and_then(own_type).is_some();
        if is_type_used {
            fields.take(&["type"]);
        }
        let time = take_time(&mut fields, kind.as_deref(), received_at).unwrap_or(received_at);
        let layout = documented.map_or(Layout::Message, |row| row.layout);
        let mut user = take_user(&mut fields);
        if layout != Layout::Message {
            // user_updated repeats both at top level, and older payloads may have them only there.
            user.id = user.id.or_else(|| take_id(&mut fields, &["id"]));
            user.email = user.email.or_else(|| take_email(&mut fields, &["email"]));
        }
        let content = match layout {
            Layout::Message => Content::Event(Properties::take(&mut fields, &LISTED)),
            Layout::UserCreated => {
                Content::Created(Traits::of_new_profile(&mut fields, kind.as_deref(), user.email.as_deref()))
            }
            Layout::UserUpdated => read_update(&mut fields, user.email.as_deref()),
        };
        Webhook { kind, is_type_used, user, time, content, rest: fields.rest().filter(|rest| rest != "{}") }
    }

    /// The message's channel, such as `email` or `sms`.
    pub fn channel(&self) -> Option<Cow<'_, str>> {
        self.property("campaign_channel")
    }

    /// The name of the event that set the campaign off.
    pub fn trigger_event(&self) -> Option<Cow<'_, str>> {
        self.property("campaign_trigger_event")
    }

    /// The reader's user agent.
    pub fn user_agent(&self) -> Option<Cow<'_, str>> {
        self.property("user_agent")
    }

    /// The id of the message that it is about.
    pub fn message_id(&self) -> Option<Cow<'_, str>> {
        self.property("email_id")
    }

    /// The id of the campaign that the message belongs to.
    pub fn campaign_id(&self) -> Option<Cow<'_, str>> {
        self.property("campaign_id")
    }

    /// Whether it is about what happened, and not about a profile.
    pub fn is_event(&self) -> bool {
        matches!(self.content, Content::Event(_))
    }

    /// A listed property, by its name at Segment.
    pub fn property_json(&self, name: &str) -> Option<Json<'_>> {
        let Content::Event(properties) = &self.content else { return None };
        let property = properties.iter().find(|property| property.name == name)?;
        Some(Json::written(&property.json))
    }

    fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        self.property_json(name)?.as_str()
    }
}

impl<'a> Properties<'a> {
    fn take(fields: &mut Object<'a>, listed: &[(&'static str, As, &[FieldPath])]) -> Self {
        let take = |(name, form, sources): &(&'static str, As, &[FieldPath])| {
            let source =
                sources.iter().find(|path| fields.peek(path).is_some_and(|value| form.takes(value)))?;
            let value = fields.take(source)?;
            let is_scalar = matches!(value.kind(), Kind::Text | Kind::Number | Kind::Boolean);
            Some(Property { name, json: form.write(value), is_scalar })
        };
        Properties(listed.iter().filter_map(take).collect())
    }

    /// In the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &Property<'a>> {
        self.0.iter()
    }
}

impl As {
    fn takes(self, value: Json<'_>) -> bool {
        match self {
            As::Id => matches!(value.kind(), Kind::Text | Kind::Number),
            As::Text | As::Raw => value.kind() != Kind::Null,
        }
    }

    fn write(self, value: Json<'_>) -> Cow<'_, str> {
        match (self, value.kind()) {
            (As::Raw, _) => value.get().into(),
            (As::Id, Kind::Number) => ["\"", value.get(), "\""].concat().into(),
            (_, Kind::Text) => retrimmed(value),
            _ => value.get().into(),
        }
    }
}

impl<'a> Traits<'a> {
    /// The fields of `user` without the id; in older payloads, where `user` has nothing but id and address,
    /// those at top level.
    fn of_new_profile(fields: &mut Object<'a>, kind: Option<&str>, email: Option<&str>) -> Self {
        let mut traits = Traits::default();
        traits.push_email(email);
        let has_email = !traits.0.is_empty();
        let is_trait = |key: &str| key != "id" && !(key == "email" && has_email);
        let mut own = Vec::new();
        if let Some(user) = fields.open(&["user"]) {
            own = user.take_all(|key, _| is_trait(key));
        }
        if own.is_empty() {
            own = fields.take_all(|key, value| {
                let repeats_type = key == "action" && value.as_str().as_deref() == kind;
                is_trait(key) && key != "user" && !repeats_type
            });
        }
        traits.0.extend(own.into_iter().map(|(key, value)| (key, value.get().into())));
        traits
    }

    fn push_email(&mut self, email: Option<&str>) {
        self.0.extend(email.map(|email| ("\"email\"".into(), json::quote(email).into())));
    }

    /// Writes the traits into an object.
    pub fn write(&self, out: &mut ObjectWriter) {
        for (key, value) in &self.0 {
            out.raw_json_key(key, value);
        }
    }
}

/// The type that a webhook's `type` and `action` tell: `type` where it is a text that is not blank, else an `action` that
/// is a documented type, as a `user_updated` of 2018 has it (github.com/snowplow/snowplow, pull request 3688).
pub fn kind<'a>(kind: Option<Json<'a>>, action: Option<Json<'a>>) -> Option<Cow<'a, str>> {
    let documented = || action.and_then(trimmed).filter(|action| names::documented(action).is_some());
    kind.and_then(own_type).or_else(documented)
}

fn own_type(kind: Json<'_>) -> Option<Cow<'_, str>> {
    trimmed(kind).filter(|kind| !kind.is_empty())
}

fn read_update<'a>(fields: &mut Object<'a>, email: Option<&str>) -> Content<'a> {
    let (mut has_tags, mut has_email) = (false, false);
    let mut changed = Vec::new();
    if let Some(changes) = fields.open(&["changes"]) {
        has_tags = changes.get("_tags").is_some_and(|tags| tags.kind() != Kind::Null);
        has_email = changes.get("email").is_some();
        changed = changes.take_all(|key, _| key != "_tags");
    }
    let mut traits = Traits::default();
    if !has_email {
        traits.push_email(email);
    }
    let only_tags = has_tags && changed.is_empty();
    traits.0.extend(changed.into_iter().map(|(key, value)| (key, value.get().into())));
    let tags = has_tags.then(|| Properties::take(fields, &TAGS));
    Content::Updated { traits, only_tags, tags }
}

/// Takes `<type>_at` when it can be believed.
fn take_time(fields: &mut Object<'_>, kind: Option<&str>, received_at: Timestamp) -> Option<Timestamp> {
    let key = format!("{}_at", kind?);
    let time = Timestamp::from_json(fields.get(&key)?)?;
    time.is_believable(received_at).then(|| {
        fields.take(&[&key]);
        time
    })
}

fn take_user(fields: &mut Object<'_>) -> User {
    match fields.open(&["user"]) {
        Some(user) => User { id: take_id(user, &["id"]), email: take_email(user, &["email"]) },
        None => User::default(),
    }
}

fn take_id(fields: &mut Object<'_>, path: &[&str]) -> Option<String> {
    let id = identity::id(fields.peek(path)?)?;
    fields.take(path);
    Some(id)
}

fn take_email(fields: &mut Object<'_>, path: &[&str]) -> Option<String> {
    let email = identity::email(fields.peek(path)?)?;
    fields.take(path);
    Some(email)
}

/// A text's JSON, trimmed; as it came where there is nothing to trim.
fn retrimmed(value: Json<'_>) -> Cow<'_, str> {
    match value.as_str() {
        Some(text) if text.trim().len() < text.len() => json::quote(text.trim()).into(),
        _ => value.get().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Timestamp {
        Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap()
    }

    fn user(json: &str) -> (User, Option<String>) {
        let json = format!(r#"{{"type":"sent","user":{json}}}"#);
        let webhook = Webhook::read(serde_json::from_str(&json).unwrap(), received());
        (webhook.user, webhook.rest)
    }

    #[test]
    fn ids_and_addresses() {
        for (json, id, email) in [
            (r#"{"id":123,"email":"a@b.c"}"#, Some("123"), Some("a@b.c")),
            (r#"{"id":12345678901234567890}"#, Some("12345678901234567890"), None),
            (r#"{"id":0}"#, Some("0"), None),
            (r#"{"id":1.50}"#, Some("1.50"), None),
            (r#"{"id":" x ","email":" a@b.c "}"#, Some("x"), Some("a@b.c")),
        ] {
            let (user, rest) = user(json);
            assert_eq!((user.id.as_deref(), user.email.as_deref()), (id, email), "{json}");
            assert_eq!(rest, None, "{json}");
        }
    }

    #[test]
    fn a_documented_action_stands_in_for_a_missing_type() {
        for (json, kind, rest) in [
            (r#"{"action":"sent"}"#, Some("sent"), Some(r#"{"action":"sent"}"#)),
            (r#"{"action":" sent ","type":null}"#, Some("sent"), Some(r#"{"action":" sent ","type":null}"#)),
            (r#"{"action":"sent","type":5}"#, Some("sent"), Some(r#"{"action":"sent","type":5}"#)),
            (r#"{"action":"sent","type":" "}"#, Some("sent"), Some(r#"{"action":"sent","type":" "}"#)),
            (r#"{"action":"sent","type":"opened"}"#, Some("opened"), Some(r#"{"action":"sent"}"#)),
            (r#"{"action":"sent","type":"new"}"#, Some("new"), Some(r#"{"action":"sent","type":"new"}"#)),
            (r#"{"action":"sent","sent_at":1795237440}"#, Some("sent"), Some(r#"{"action":"sent"}"#)),
            (r#"{"action":"Sent"}"#, None, Some(r#"{"action":"Sent"}"#)),
            (r#"{"action":"new"}"#, None, Some(r#"{"action":"new"}"#)),
            (r#"{"action":["sent"]}"#, None, Some(r#"{"action":["sent"]}"#)),
            (r#"{"type":"sent"}"#, Some("sent"), None),
        ] {
            let webhook = Webhook::read(serde_json::from_str(json).unwrap(), received());
            assert_eq!((webhook.kind.as_deref(), webhook.rest.as_deref()), (kind, rest), "{json}");
        }
        let profile = r#"{"action":"user_created","user":{"id":1},"plan":"a"}"#;
        let webhook = Webhook::read(serde_json::from_str(profile).unwrap(), received());
        let Content::Created(traits) = webhook.content else { panic!("{:?}", webhook.content) };
        assert_eq!(traits.0, [(r#""plan""#.into(), r#""a""#.into())]);
        assert_eq!(webhook.rest.as_deref(), Some(r#"{"action":"user_created"}"#));
    }

    #[test]
    fn a_profile_s_id_and_address_may_be_at_top_level() {
        for (kind, id, email) in [
            ("user_created", Some("5"), Some("a@b.c")),
            ("user_updated", Some("5"), Some("a@b.c")),
            ("sent", None, None),
        ] {
            let json = format!(r#"{{"type":"{kind}","id":5,"email":"a@b.c"}}"#);
            let webhook = Webhook::read(serde_json::from_str(&json).unwrap(), received());
            assert_eq!((webhook.user.id.as_deref(), webhook.user.email.as_deref()), (id, email), "{kind}");
            assert_eq!(webhook.is_event(), kind == "sent");
        }
    }

    #[test]
    fn a_new_profile_has_every_field_but_its_id_and_an_address_twice() {
        for (json, traits) in [
            (r#"{"user":{"id":true,"email":"none","plan":"a"}}"#, r#"{"email":"none","plan":"a"}"#),
            (
                r#"{"user":{"id":1,"email":"a@b.c"},"id":2,"email":"x","plan":"a"}"#,
                r#"{"email":"a@b.c","plan":"a"}"#,
            ),
            (r#"{"action":"signup","plan":"user_created"}"#, r#"{"action":"signup","plan":"user_created"}"#),
        ] {
            let json = json.replacen('{', r#"{"type":"user_created","#, 1);
            let webhook = Webhook::read(serde_json::from_str(&json).unwrap(), received());
            let Content::Created(found) = webhook.content else { panic!("{:?}", webhook.content) };
            let mut out = ObjectWriter::new();
            found.write(&mut out);
            assert_eq!(out.finish(), traits, "{json}");
        }
    }

    #[test]
    fn texts_are_trimmed_and_nothing_else_is_spelled_anew() {
        for (campaign, name) in [
            (r#"" May ""#, r#""May""#),
            (r#""\u004day""#, r#""\u004day""#),
            (r#"" \u004day""#, r#""May""#),
            ("1.50", "1.50"),
        ] {
            let json = format!(r#"{{"type":"sent","campaign":{{"name":{campaign}}},"event":" e "}}"#);
            let webhook = Webhook::read(serde_json::from_str(&json).unwrap(), received());
            assert_eq!(webhook.property_json("campaign_name").map(Json::get), Some(name), "{campaign}");
            assert_eq!(webhook.property_json(TRIGGER).map(Json::get), Some(r#"" e ""#));
        }
    }

    #[test]
    fn what_is_no_id_or_address_goes_along() {
        for id in ["null", "\" \"", "true", "{}", "[1]"] {
            let (user, rest) = user(&format!(r#"{{"id":{id}}}"#));
            assert_eq!(user, User::default());
            assert_eq!(rest.unwrap(), format!(r#"{{"user":{{"id":{id}}}}}"#));
        }
        let long = format!("{}@b.c", "a".repeat(251));
        for email in ["a", "a@b", "a@b@c.d", "a b@c.d", "@b.c", "", long.as_str()] {
            let (user, rest) = user(&format!(r#"{{"email":"{email}"}}"#));
            assert_eq!(user, User::default(), "{email}");
            assert_eq!(rest.unwrap(), format!(r#"{{"user":{{"email":"{email}"}}}}"#));
        }
        for not_object in ["\"steve\"", "[]", "null", "5"] {
            assert_eq!(user(not_object), (User::default(), Some(format!(r#"{{"user":{not_object}}}"#))));
        }
    }
}
