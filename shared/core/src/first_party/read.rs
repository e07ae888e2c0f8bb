//! From an event's JSON to what it says.

use std::borrow::Cow;

use super::call::{Call, CallType, Device, Integration, Platform, RESUBSCRIBE, Surface, UNSUBSCRIBE};
use crate::identity::{self, User, trimmed};
use crate::json::{Json, Kind, Object};
use crate::names::RELAY;
use crate::timestamp::Timestamp;

/// Why an event can be no call of Segment's spec. It is kept, and the rest of its request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no JSON object.
    #[error("an event must be a JSON object")]
    NotAnObject,
    /// It has no `type`.
    #[error("the event has no type")]
    NoType,
    /// Its `type` is none of Segment's spec.
    #[error("the event's type is none of identify, track, page, screen, group, alias")]
    UnknownType,
    /// A track without a name.
    #[error("a track needs the name of its event, as a text that is not empty")]
    NoEventName,
    /// An alias that does not say whose id changes.
    #[error("an alias needs a previousId")]
    NoPreviousId,
}

impl Invalid {
    /// A snake_case code for dead letters, logs and responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Invalid::NotAnObject => "not_an_object",
            Invalid::NoType => "no_type",
            Invalid::UnknownType => "unknown_type",
            Invalid::NoEventName => "no_event_name",
            Invalid::NoPreviousId => "no_previous_id",
        }
    }
}

/// A first-party event, taken apart.
#[derive(Debug)]
pub struct FirstParty<'a> {
    /// Its type.
    pub kind: CallType,
    /// What it asks for.
    pub call: Call<'a>,
    /// Whom it is about. The address is never one of `properties` or of a group's traits: an invited friend's must
    /// not become the user's.
    pub user: User,
    /// The sender's own id of it.
    pub message_id: Option<String>,
    /// When it happened, by the clock of `ingest`; the time of receipt where the event's own cannot be believed.
    pub time: Timestamp,
    /// What its `integrations` say of Vero.
    pub integration: Integration<'a>,
    /// It has been at Vero before: this relay, or Segment's own Vero source, made it of a webhook.
    pub came_from_vero: bool,
    /// The user's consent by category (`context.consent.categoryPreferences`).
    consent: Option<Json<'a>>,
}

impl<'a> FirstParty<'a> {
    /// Takes an event apart.
    ///
    /// # Errors
    /// [`Invalid`] tells why it is none.
    pub fn read(payload: Json<'a>, received_at: Timestamp, through_segment: bool) -> Result<Self, Invalid> {
        let mut fields = Object::parse(payload).ok_or(Invalid::NotAnObject)?;
        let kind = present(&mut fields, &["type"]).ok_or(Invalid::NoType)?;
        let kind = trimmed(kind).ok_or(Invalid::UnknownType)?;
        let kind = CallType::named(&kind).ok_or(Invalid::UnknownType)?;
        let call = read_call(kind, &mut fields)?;
        Ok(FirstParty {
            kind,
            user: read_user(kind, &mut fields),
            message_id: message_id(&mut fields),
            time: read_time(&mut fields, received_at, through_segment),
            integration: read_integration(&mut fields),
            came_from_vero: came_from_vero(&mut fields),
            consent: object(&mut fields, &["context", "consent", "categoryPreferences"]),
            call,
        })
    }

    /// Whether it can do no more than report to Vero that something happened. All else changes profiles or
    /// subscriptions, which is not for a key that every visitor of a site can read.
    pub fn is_report_only(&self) -> bool {
        matches!(self.call, Call::Track { .. } | Call::View { .. })
            && !matches!(self.integration, Integration::On { tags: Some(_) })
    }

    /// Whether the user wants no messages, or to be forgotten: who does need not agree to anything.
    pub fn is_withdrawal(&self) -> bool {
        matches!(self.call, Call::Unsubscribe | Call::Delete)
    }

    /// Whether the user has agreed to each of these categories. No word of one is no consent.
    pub fn has_consent(&self, categories: &[String]) -> bool {
        let given = self.consent.and_then(Object::parse).unwrap_or_default();
        categories.iter().all(|category| given.get(category).is_some_and(|value| value.get() == "true"))
    }
}

/// The sender's own id of an event: a text or a number.
pub fn message_id(fields: &mut Object<'_>) -> Option<String> {
    present(fields, &["messageId"]).and_then(identity::id)
}

fn read_call<'a>(kind: CallType, fields: &mut Object<'a>) -> Result<Call<'a>, Invalid> {
    let view = |fields: &mut Object<'a>, surface| Call::View {
        surface,
        name: present(fields, &["name"]),
        category: present(fields, &["category"]),
        url: present(fields, &["context", "page", "url"]),
        properties: object(fields, &["properties"]),
    };
    Ok(match kind {
        CallType::Identify => Call::Identify { traits: read_traits(fields), device: read_device(fields) },
        CallType::Track => {
            let name = text(fields, &["event"]);
            match name.ok_or(Invalid::NoEventName)? {
                name if name.eq_ignore_ascii_case(UNSUBSCRIBE) => Call::Unsubscribe,
                name if name.eq_ignore_ascii_case(RESUBSCRIBE) => Call::Resubscribe,
                name => Call::Track { name, properties: object(fields, &["properties"]) },
            }
        }
        CallType::Page => view(fields, Surface::Page),
        CallType::Screen => view(fields, Surface::Screen),
        CallType::Group => Call::Group {
            id: present(fields, &["groupId"]).and_then(identity::id),
            traits: object(fields, &["traits"]),
        },
        CallType::Alias => {
            let previous_id = present(fields, &["previousId"]).and_then(identity::id);
            Call::Alias { previous_id: previous_id.ok_or(Invalid::NoPreviousId)? }
        }
        CallType::Delete => Call::Delete,
    })
}

/// RudderStack's JavaScript SDK has an identify's traits in its context (rudder-sdk-js, issue 439).
fn read_traits<'a>(fields: &mut Object<'a>) -> Cow<'a, str> {
    let own =
        object(fields, &["traits"]).filter(|own| !Object::parse(*own).is_some_and(|own| own.is_empty()));
    if let Some(own) = own {
        return own.get().into();
    }
    let mut traits = object(fields, &["context", "traits"]).and_then(Object::parse).unwrap_or_default();
    traits.take_all(|key, _| key == "email");
    traits.rest().map_or_else(|| "{}".into(), Cow::from)
}

/// As RudderStack's own destination does it. Of a system that Vero does not know, such as an iPad's, the type of the
/// device tells whose pushes it takes.
fn read_device<'a>(fields: &mut Object<'a>) -> Option<Box<Device<'a>>> {
    let token = text(fields, &["context", "device", "token"])?;
    let mut platform = |path: &[&str]| text(fields, path).and_then(|name| Platform::named(&name));
    let platform =
        platform(&["context", "os", "name"]).or_else(|| platform(&["context", "device", "type"]))?;
    Some(Box::new(Device { token, platform, name: text(fields, &["context", "device", "name"]) }))
}

/// An id that is an address is the address, too, where there is no other: as in Segment's own Vero destination.
fn read_user(kind: CallType, fields: &mut Object<'_>) -> User {
    let own = (kind == CallType::Identify).then(|| present(fields, &["traits", "email"])).flatten();
    let email = own.and_then(identity::email);
    let email = email.or_else(|| present(fields, &["context", "traits", "email"]).and_then(identity::email));
    let id = present(fields, &["userId"]);
    User { id: id.and_then(identity::id), email: email.or_else(|| id.and_then(identity::email)) }
}

/// Segment's formula, by our own clock: the event's time is off by as much as the sender's clock was at the moment
/// of sending (Common spec, "Timestamps"). What comes through Segment has been corrected there.
fn read_time(fields: &mut Object<'_>, received_at: Timestamp, through_segment: bool) -> Timestamp {
    let mut time = |key| present(fields, &[key]).and_then(Timestamp::from_json);
    let Some(happened_at) = time("timestamp") else { return received_at };
    // Only Segment writes `receivedAt`.
    let is_corrected = through_segment || time("receivedAt").is_some();
    let sent_at = if is_corrected { None } else { time("sentAt") };
    let corrected = sent_at.and_then(|sent_at| happened_at.by_clock(sent_at, received_at));
    let times = [corrected, Some(happened_at)].into_iter().flatten();
    times.into_iter().find(|time| time.is_believable(received_at)).unwrap_or(received_at)
}

fn read_integration<'a>(fields: &mut Object<'a>) -> Integration<'a> {
    let Some(integrations) = fields.open(&["integrations"]) else { return Integration::On { tags: None } };
    let said = |object: &Object<'a>, name| object.get_ignoring_case(name).filter(|value| !is_null(*value));
    let all_off = said(integrations, "All").is_some_and(|all| all.get() == "false");
    match said(integrations, "Vero") {
        Some(vero) if vero.get() == "false" => Integration::Off,
        Some(vero) => match Object::parse(vero) {
            Some(options) => Integration::On { tags: said(&options, "tags") },
            None if all_off && vero.get() != "true" => Integration::Off,
            None => Integration::On { tags: None },
        },
        None if all_off => Integration::Off,
        None => Integration::On { tags: None },
    }
}

/// Our own events say so in `context.library`; `context.integration` is the mark of any source that is made of
/// Vero's webhooks, Segment's own among them.
fn came_from_vero(fields: &mut Object<'_>) -> bool {
    let mut name = |of| present(fields, &["context", of, "name"]).and_then(trimmed);
    name("library").is_some_and(|name| name == RELAY)
        || name("integration").is_some_and(|name| name.eq_ignore_ascii_case("Vero"))
}

/// The value at a path; SDKs send nulls for what is missing.
fn present<'a>(fields: &mut Object<'a>, path: &[&str]) -> Option<Json<'a>> {
    fields.peek(path).filter(|value| !is_null(*value))
}

/// The text at a path, trimmed and not blank.
fn text<'a>(fields: &mut Object<'a>, path: &[&str]) -> Option<Cow<'a, str>> {
    fields.peek(path).and_then(trimmed).filter(|text| !text.is_empty())
}

fn object<'a>(fields: &mut Object<'a>, path: &[&str]) -> Option<Json<'a>> {
    fields.peek(path).filter(|value| value.kind() == Kind::Object)
}

fn is_null(value: Json<'_>) -> bool {
    value.kind() == Kind::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at<'a>(json: &'a str, through_segment: bool) -> Result<FirstParty<'a>, Invalid> {
        let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        FirstParty::read(serde_json::from_str(json).unwrap(), received_at, through_segment)
    }

    fn read(json: &str) -> FirstParty<'_> {
        read_at(json, false).unwrap()
    }

    #[test]
    fn invalid_events_have_their_reason() {
        for (json, reason) in [
            ("[]", "not_an_object"),
            ("{}", "no_type"),
            (r#"{"type":null}"#, "no_type"),
            (r#"{"type":5}"#, "unknown_type"),
            (r#"{"type":"tracks","event":"x"}"#, "unknown_type"),
            (r#"{"type":"track"}"#, "no_event_name"),
            (r#"{"type":"track","event":" "}"#, "no_event_name"),
            (r#"{"type":"track","event":5}"#, "no_event_name"),
            (r#"{"type":"alias","userId":"u"}"#, "no_previous_id"),
        ] {
            assert_eq!(read_at(json, false).err().map(Invalid::as_str), Some(reason), "{json}");
        }
        for (_, kind) in CallType::NAMED {
            let name = kind.as_str();
            for name in [
                name.to_owned(),
                name.to_uppercase(),
                format!(" {}{} ", name[..1].to_uppercase(), &name[1..]),
            ] {
                let json = format!(r#"{{"type":"{name}","event":"e","previousId":1}}"#);
                assert_eq!(read_at(&json, false).map(|event| event.kind), Ok(kind), "{json}");
            }
        }
    }

    #[test]
    fn the_address_is_the_user_s_own() {
        for (json, email) in [
            (
                r#"{"type":"identify","traits":{"email":"a@b.c"},"context":{"traits":{"email":"d@e.f"}}}"#,
                "a@b.c",
            ),
            (
                r#"{"type":"identify","traits":{"email":"no"},"context":{"traits":{"email":"d@e.f"}}}"#,
                "d@e.f",
            ),
            (r#"{"type":"track","event":"e","context":{"traits":{"email":" d@e.f "}}}"#, "d@e.f"),
            (r#"{"type":"track","event":"Invited","properties":{"email":"friend@b.c"}}"#, ""),
            (r#"{"type":"group","traits":{"email":"group@b.c"}}"#, ""),
            (r#"{"type":"page","userId":" a@b.c "}"#, "a@b.c"),
            (r#"{"type":"page","userId":"a@b.c","context":{"traits":{"email":"d@e.f"}}}"#, "d@e.f"),
            (r#"{"type":"page","userId":"a@b.c","context":{"traits":{"email":"no"}}}"#, "a@b.c"),
            (r#"{"type":"page","userId":"a@b"}"#, ""),
        ] {
            assert_eq!(read(json).user.email.unwrap_or_default(), email, "{json}");
        }
        let id = |id: &str| read(&format!(r#"{{"type":"page","userId":{id}}}"#)).user.id.unwrap_or_default();
        assert_eq!(
            (&*id("12345678901234567890"), &*id("\" u \""), &*id("null")),
            ("12345678901234567890", "u", "")
        );
    }

    #[test]
    fn traits_are_the_event_s_own_or_those_of_its_context() {
        let traits = |fields: &str| match read(&format!(r#"{{"type":"identify"{fields}}}"#)).call {
            Call::Identify { traits, .. } => traits.into_owned(),
            other => panic!("{other:?}"),
        };
        let context = r#","context":{"traits":{"a" : 1.0,"email":"a@b.c","b":{"email":"kept"}}}"#;
        let of_context = r#"{"a":1.0,"b":{"email":"kept"}}"#;
        for (own, expected) in [
            ("", of_context),
            (r#","traits":null"#, of_context),
            (r#","traits":[1]"#, of_context),
            (r#","traits":{ }"#, of_context),
            (r#","traits":{"email":"d@e.f"}"#, r#"{"email":"d@e.f"}"#),
            (r#","traits":{"n":1.00}"#, r#"{"n":1.00}"#),
        ] {
            assert_eq!(traits(&format!("{own}{context}")), expected, "{own}");
        }
        for nothing in
            ["", r#","traits":{}"#, r#","context":{"traits":{"email":"a@b.c"}}"#, r#","context":5"#]
        {
            assert_eq!(traits(nothing), "{}", "{nothing}");
        }
    }

    #[test]
    fn a_device_is_known_as_a_whole_or_not_at_all() {
        let device = |context: &str| match read(&format!(r#"{{"type":"identify","context":{{{context}}}}}"#))
            .call
        {
            Call::Identify { device, .. } => device.map(|device| {
                format!("{} {} {}", device.token, device.platform.as_str(), device.name.unwrap_or("-".into()))
            }),
            other => panic!("{other:?}"),
        };
        for (context, expected) in [
            (r#""device":{"token":"t","name":"Pixel"},"os":{"name":"Android"}"#, Some("t android Pixel")),
            (r#""device":{"token":" t ","name":null},"os":{"name":"iOS"}"#, Some("t ios -")),
            (r#""device":{"token":"t","type":"ios","name":""},"os":{"version":"17"}"#, Some("t ios -")),
            (r#""device":{"token":"t","type":"android"},"os":{"name":"IOS"}"#, Some("t ios -")),
            (r#""device":{"token":"t","type":"ios"},"os":{"name":"iPadOS"}"#, Some("t ios -")),
            (r#""device":{"token":"t"},"os":{"name":"iPadOS"}"#, None),
            (r#""device":{"token":"t","type":"watchos"},"os":{"name":"watchOS"}"#, None),
            (r#""device":{"token":"t","type":"web"}"#, None),
            (r#""device":{"token":"t"}"#, None),
            (r#""device":{"token":""},"os":{"name":"ios"}"#, None),
            (r#""device":{"token":5},"os":{"name":"ios"}"#, None),
            (r#""device":{"name":"Pixel"},"os":{"name":"ios"}"#, None),
            (r#""device":"t","os":"ios""#, None),
        ] {
            assert_eq!(device(context).as_deref(), expected, "{context}");
        }
    }

    #[test]
    fn only_the_whole_name_is_a_wish_of_the_user() {
        let call = |name: &str| {
            let json = format!(r#"{{"type":"track","event":"{name}"}}"#);
            match read(&json).call {
                Call::Unsubscribe => "unsubscribe",
                Call::Resubscribe => "resubscribe",
                _ => "event",
            }
        };
        for name in ["unsubscribe", "Unsubscribe", " UNSUBSCRIBE "] {
            assert_eq!(call(name), "unsubscribe", "{name}");
        }
        assert_eq!(call("Resubscribe"), "resubscribe");
        for name in ["Unsubscribed", "Email Unsubscribed", "Clicked unsubscribe link", "un_subscribe"] {
            assert_eq!(call(name), "event", "{name}");
        }
    }

    #[test]
    fn times_are_corrected_by_the_sender_s_clock_unless_segment_did_it() {
        let time = |fields: &str, through_segment| {
            let json = format!(r#"{{"type":"page",{fields}}}"#);
            read_at(&json, through_segment).unwrap().time.iso()
        };
        let late_by_an_hour = r#""timestamp":"2026-11-21T04:00:00Z","sentAt":"2026-11-21T04:04:03.123Z""#;
        assert_eq!(time(late_by_an_hour, false), "2026-11-21T05:00:00.000Z");
        assert_eq!(time(late_by_an_hour, true), "2026-11-21T04:00:00.000Z");
        let from_segment = format!(r#"{late_by_an_hour},"receivedAt":"2026-11-21T04:04:04Z""#);
        assert_eq!(time(&from_segment, false), "2026-11-21T04:00:00.000Z");
        let nanoseconds = r#""timestamp":"2026-11-21T06:00:00.123456789+02:00","sentAt":null"#;
        assert_eq!(time(nanoseconds, false), "2026-11-21T04:00:00.123Z");
        // A sender's clock that is an hour behind, whose formatter prints a second of 60.
        let rounded = r#""timestamp":"2026-11-21T03:59:60.000Z","sentAt":"2026-11-21T04:04:60.000Z""#;
        assert_eq!(time(rounded, false), "2026-11-21T04:59:03.123Z");
        let swift = r#""timestamp":"2026-11-21T04:00:27.029:Z","sentAt":"2026-11-21T05:04:03.123:Z""#;
        assert_eq!(time(swift, false), "2026-11-21T04:00:27.029Z");
        for unbelievable in [r#""timestamp":"1999-01-01T00:00:00Z""#, r#""timestamp":"soon""#, r#""a":1"#] {
            assert_eq!(time(unbelievable, false), "2026-11-21T05:04:03.123Z");
        }
        let nonsense = r#""timestamp":"2026-11-21T04:00:00Z","sentAt":"1970-01-01T00:00:00Z""#;
        assert_eq!(time(nonsense, false), "2026-11-21T04:00:00.000Z");
    }

    #[test]
    fn integrations_decide_in_any_case() {
        let integration = |integrations: &str| {
            let json = format!(r#"{{"type":"page","integrations":{integrations}}}"#);
            match read(&json).integration {
                Integration::Off => "off",
                Integration::On { tags: None } => "deliver",
                Integration::On { tags: Some(_) } => "tags",
            }
        };
        for (integrations, expected) in [
            ("null", "deliver"),
            ("{}", "deliver"),
            (r#"{"All":true}"#, "deliver"),
            (r#"{"All":false}"#, "off"),
            (r#"{"all":false}"#, "off"),
            (r#"{"All":false,"Vero":true}"#, "deliver"),
            (r#"{"All":false,"Vero":null}"#, "off"),
            (r#"{"All":false,"Vero":"yes"}"#, "off"),
            (r#"{"All":false,"VERO":{}}"#, "deliver"),
            (r#"{"Vero":false}"#, "off"),
            (r#"{"vero":{"tags":{"add":["a"]}}}"#, "tags"),
            (r#"{"Vero":{"tags":null}}"#, "deliver"),
        ] {
            assert_eq!(integration(integrations), expected, "{integrations}");
        }
    }

    #[test]
    fn what_came_from_vero_is_recognised() {
        for (context, expected) in [
            (r#"{"library":{"name":"vero-relay"}}"#, true),
            (r#"{"integration":{"name":"Vero","version":"1"}}"#, true),
            (r#"{"library":{"name":"analytics.js"},"integration":null}"#, false),
            ("{}", false),
        ] {
            let json = format!(r#"{{"type":"page","context":{context}}}"#);
            assert_eq!(read(&json).came_from_vero, expected, "{context}");
        }
    }

    #[test]
    fn no_word_is_no_consent() {
        let json = r#"{"type":"page","context":{"consent":{"categoryPreferences":{"a":true,"b":false}}}}"#;
        let has = |categories: &[&str]| {
            read(json).has_consent(&categories.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
        };
        assert!(has(&[]) && has(&["a"]));
        assert!(!has(&["b"]) && !has(&["a", "b"]) && !has(&["c"]));
        assert!(!read(r#"{"type":"page"}"#).has_consent(&["a".to_owned()]));
    }

    #[test]
    fn a_public_key_only_reports() {
        for (json, expected) in [
            (r#"{"type":"track","event":"e"}"#, true),
            (r#"{"type":"page"}"#, true),
            (r#"{"type":"screen","integrations":{"Vero":{}}}"#, true),
            (r#"{"type":"track","event":"Unsubscribe"}"#, false),
            (r#"{"type":"identify"}"#, false),
            (r#"{"type":"page","integrations":{"Vero":{"tags":{"add":["unsubscribed"]}}}}"#, false),
            (r#"{"type":"delete"}"#, false),
        ] {
            assert_eq!(read(json).is_report_only(), expected, "{json}");
        }
    }
}
