//! A first-party event as requests of Vero's API.

use std::time::Duration;

use super::request::{Endpoint, Skip, VeroRequest, extras, fitting, known, one_of, with_id};
use super::tags::{Tags, read_tags};
use crate::blueprint::{Blueprint, Filtered, MESSAGE_ID};
use crate::delivery::DeliveryOutcome;
use crate::envelope::EventId;
use crate::first_party::{Call, Device, FirstParty, Integration, Surface};
use crate::identity::{User, VERO_TEXT_LIMIT};
use crate::json::{Json, Object, ObjectWriter};

/// A resubscribe that could not be delivered for so long may have been taken back meanwhile. An unsubscribe never grows
/// stale.
const STALE: Duration = Duration::from_secs(15 * 60);

/// What the operator has decided for first-party events.
#[derive(Debug, Clone, Default)]
pub struct FirstPartySettings {
    /// Names, properties and filters.
    pub blueprint: Blueprint,
    /// Deletion requests are carried out (`FORWARD_DELETES`), and not only kept.
    pub forward_deletes: bool,
}

/// What is to be sent for one event: its request, and then its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VeroRequests {
    /// The event's own.
    pub request: VeroRequest,
    /// Goes out only when the request has been accepted: a tag never comes before its user.
    pub tags: Tags,
    /// The ids and addresses of whom the request is about, of an alias both ids: their requests keep their order.
    pub users: Vec<String>,
    /// The ids and addresses of whom the tags are about.
    pub tagged: Vec<String>,
}

/// What is to be done for an event: the same at every attempt, since Vero drops a repeated event by its name,
/// identity and data (Track API reference, "Deduplication"). `age` is the time since its receipt, 0 once its request has been
/// accepted.
///
/// # Errors
/// What becomes of the event when nothing is sent: it is skipped or rejected.
pub fn from_event(
    id: &EventId,
    event: &FirstParty<'_>,
    rules: &FirstPartySettings,
    age: Duration,
) -> Result<VeroRequests, DeliveryOutcome> {
    let has_id = event.user.id.is_some();
    let tags = match event.call {
        // Somebody waits for a deletion: it is carried out by its id, whatever else the event says, or kept.
        Call::Delete if rules.forward_deletes && has_id => None,
        Call::Delete => return Err(DeliveryOutcome::rejected("delete_request")),
        _ => admit(event, &rules.blueprint)?,
    };
    if matches!(event.call, Call::Resubscribe) && age > STALE {
        return Err(DeliveryOutcome::rejected("stale_consent"));
    }
    let user = known(&event.user)?;
    let mut users = keys(&user);
    if let Call::Alias { previous_id } = &event.call {
        fitting(previous_id)?;
        users.extend(keys(&with_id(previous_id)));
    }
    let tags = read_tags(tags, &user);
    let tagged = match &tags {
        Tags::Edit(request) => keys(&request.user),
        Tags::None | Tags::Malformed => Vec::new(),
    };
    let request = request(id, event, user, &rules.blueprint)?;
    Ok(VeroRequests { request, tags, users, tagged })
}

/// By what requests about one user are recognised. Of an address the case does not matter, be it sent as the id.
fn keys(user: &User) -> Vec<String> {
    let key = |text: &String| if text.contains('@') { text.to_lowercase() } else { text.clone() };
    user.id.iter().chain(&user.email).map(key).collect()
}

/// Whether an event is to go to Vero at all, and with which tags.
fn admit<'a>(event: &FirstParty<'a>, blueprint: &Blueprint) -> Result<Option<Json<'a>>, Skip> {
    if event.came_from_vero {
        return Err(Skip::Loop);
    }
    let Integration::On { tags } = event.integration else { return Err(Skip::IntegrationOff) };
    if !event.is_withdrawal() && !event.has_consent(blueprint.consent()) {
        return Err(Skip::NoConsent);
    }
    Ok(tags)
}

fn request(
    id: &EventId,
    event: &FirstParty<'_>,
    user: User,
    blueprint: &Blueprint,
) -> Result<VeroRequest, Skip> {
    let mut fields = ObjectWriter::new();
    let (endpoint, user) = match &event.call {
        Call::Track { name, properties } => {
            write_event(&mut fields, id, event, blueprint, name, parsed(*properties))?;
            (Endpoint::EventsTrack, user)
        }
        Call::View { surface, name, category, url, properties } => {
            let mut data = parsed(*properties);
            let url = url.filter(|_| data.get("url").is_none());
            for (key, value) in [("name", *name), ("category", *category), ("url", url)] {
                if let Some(value) = value {
                    data.set(key, value);
                }
            }
            write_event(&mut fields, id, event, blueprint, surface.event(), data)?;
            (Endpoint::EventsTrack, user)
        }
        Call::Identify { traits, device } => {
            fields.raw("data", traits);
            if let Some(device) = device {
                fields.raw("channels", &channels(device));
            }
            (Endpoint::UsersTrack, user)
        }
        Call::Group { id, traits } => {
            // Segment's own destination calls `/users/edit`, which does not work (segment-docs, pull request 6323).
            fields.object("data", |data| {
                data.object("group", |group| write_group(group, id.as_deref(), parsed(*traits)));
            });
            (Endpoint::UsersTrack, one_of(user))
        }
        Call::Unsubscribe => (Endpoint::Unsubscribe, one_of(user)),
        Call::Resubscribe => (Endpoint::Resubscribe, one_of(user)),
        Call::Delete => (Endpoint::Delete, one_of(user)),
        Call::Alias { previous_id } => {
            fields.text("new_id", &user.id.ok_or(Skip::NoIdentity)?);
            (Endpoint::Reidentify, with_id(previous_id))
        }
    };
    if matches!(endpoint, Endpoint::EventsTrack | Endpoint::UsersTrack) {
        extras(&mut fields, event.time);
    }
    Ok(VeroRequest::new(endpoint, user, fields))
}

/// The name and the data of something that happened, as the blueprint has them.
fn write_event(
    fields: &mut ObjectWriter,
    id: &EventId,
    event: &FirstParty<'_>,
    blueprint: &Blueprint,
    name: &str,
    mut data: Object<'_>,
) -> Result<(), Skip> {
    let (name, rule) = blueprint.rule(name)?;
    if let Some(rule) = rule {
        if !event.has_consent(&rule.consent) {
            return Err(Skip::NoConsent);
        }
        rule.properties.iter().for_each(|(from, to)| data.rename(from, to));
    }
    data.take_all(|key, _| key == MESSAGE_ID);
    fields.text("event_name", &name.chars().take(VERO_TEXT_LIMIT - 1).collect::<String>());
    fields.object("data", |out| {
        out.append(&data.rest().unwrap_or_default());
        out.text(MESSAGE_ID, event.message_id.as_deref().unwrap_or(id.as_str()));
    });
    Ok(())
}

/// A group's traits. The call's own id stands over one among them.
fn write_group(group: &mut ObjectWriter, id: Option<&str>, mut traits: Object<'_>) {
    if let Some(id) = id {
        traits.take_all(|key, _| key == "id");
        group.text("id", id);
    }
    group.append(&traits.rest().unwrap_or_default());
}

/// A user's channels, flat, as in Vero's push guide and its JavaScript SDK.
fn channels(device: &Device<'_>) -> String {
    let mut channel = ObjectWriter::new();
    channel.text("type", "push");
    channel.text("address", &device.token);
    channel.text("platform", device.platform.as_str());
    if let Some(name) = &device.name {
        channel.text("device", name);
    }
    ["[", &channel.finish(), "]"].concat()
}

impl Surface {
    /// The name of the event at Vero, and in a blueprint.
    fn event(self) -> &'static str {
        match self {
            Surface::Page => "Viewed page",
            Surface::Screen => "Viewed screen",
        }
    }
}

impl From<Filtered> for Skip {
    fn from(filtered: Filtered) -> Self {
        match filtered {
            Filtered::Dropped => Skip::Dropped,
            Filtered::NotAllowed => Skip::NotAllowed,
        }
    }
}

fn parsed(object: Option<Json<'_>>) -> Object<'_> {
    object.and_then(Object::parse).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::request::Consent;
    use super::*;
    use crate::delivery::Target;
    use crate::timestamp::Timestamp;
    use serde_json::{Value, json};

    fn mapped_by(rules: &FirstPartySettings, event: &str) -> Result<VeroRequests, DeliveryOutcome> {
        let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        let event = FirstParty::read(serde_json::from_str(event).unwrap(), received_at, false).unwrap();
        from_event(&EventId::parse("e1").unwrap(), &event, rules, Duration::ZERO)
    }

    fn mapped(event: &str) -> Result<VeroRequests, DeliveryOutcome> {
        mapped_by(&FirstPartySettings::default(), event)
    }

    fn body(call: &VeroRequest) -> Value {
        let mut body: Value = serde_json::from_str(&call.body("t")).unwrap();
        assert_eq!(body.as_object_mut().unwrap().remove("auth_token"), Some("t".into()));
        body
    }

    fn with(blueprint: &str) -> FirstPartySettings {
        FirstPartySettings {
            blueprint: Blueprint::parse(blueprint).unwrap(),
            ..FirstPartySettings::default()
        }
    }

    #[test]
    fn what_names_nobody_or_wants_not_to_go_is_skipped() {
        for (event, skip) in [
            (r#"{"type":"track","event":"e","anonymousId":"a"}"#, Skip::NoIdentity),
            (r#"{"type":"alias","previousId":"p"}"#, Skip::NoIdentity),
            (r#"{"type":"page","userId":"u","integrations":{"Vero":false}}"#, Skip::IntegrationOff),
            (r#"{"type":"page","userId":"u","context":{"library":{"name":"vero-relay"}}}"#, Skip::Loop),
        ] {
            assert_eq!(mapped(event), Err(skip.into()), "{event}");
        }
    }

    #[test]
    fn without_an_id_the_address_goes_alone() {
        for event in [
            r#"{"type":"identify","traits":{"email":"a@b.c"}}"#,
            r#"{"type":"track","event":"Unsubscribe","context":{"traits":{"email":"a@b.c"}}}"#,
            r#"{"type":"group","groupId":"g","context":{"traits":{"email":"a@b.c"}}}"#,
        ] {
            let requests = mapped(event).unwrap();
            assert_eq!(
                (body(&requests.request).get("id"), &body(&requests.request)["email"]),
                (None, &json!("a@b.c"))
            );
            assert_eq!(requests.users, ["a@b.c"]);
        }
    }

    #[test]
    fn an_id_that_is_an_address_stays_the_id() {
        let identity = json!({"id": "a@b.c", "email": "a@b.c"});
        assert_eq!(
            body(&mapped(r#"{"type":"page","userId":"a@b.c"}"#).unwrap().request)["identity"],
            identity
        );
        let identify =
            body(&mapped(r#"{"type":"identify","userId":"a@b.c","traits":{"n":1}}"#).unwrap().request);
        assert_eq!((&identify["id"], &identify["email"]), (&identity["id"], &identity["email"]));
        for alone in [
            r#"{"type":"track","event":"unsubscribe","userId":"a@b.c"}"#,
            r#"{"type":"group","groupId":"g","userId":"a@b.c"}"#,
        ] {
            let call = body(&mapped(alone).unwrap().request);
            assert_eq!((&call["id"], call.get("email")), (&json!("a@b.c"), None), "{alone}");
        }
    }

    #[test]
    fn a_device_becomes_a_channel() {
        let identify = |device: &str| {
            let json = format!(
                r#"{{"type":"identify","userId":"u","traits":{{"a":1}},"context":{{"device":{device},"os":{{"name":"iOS"}}}}}}"#
            );
            body(&mapped(&json).unwrap().request)
        };
        let channel = json!({"type": "push", "address": "t", "platform": "ios", "device": "An \"i\""});
        let with_device = identify(r#"{"token":"t","name":"An \"i\""}"#);
        assert_eq!((&with_device["channels"], &with_device["data"]), (&json!([channel]), &json!({"a": 1})));
        assert_eq!(identify(r#"{"name":"i"}"#).get("channels"), None);
    }

    #[test]
    fn an_id_that_vero_would_refuse_is_kept() {
        let (long, fits) = ("x".repeat(255), "x".repeat(254));
        for (event, not_sent) in [
            (r#"{"type":"identify","userId":"ID"}"#, "id_too_long"),
            (r#"{"type":"page","userId":"ID","context":{"traits":{"email":"a@b.c"}}}"#, "id_too_long"),
            (r#"{"type":"track","event":"unsubscribe","userId":"ID"}"#, "id_too_long"),
            (r#"{"type":"alias","userId":"ID","previousId":"p"}"#, "id_too_long"),
            (r#"{"type":"alias","userId":"u","previousId":"ID"}"#, "id_too_long"),
            (r#"{"type":"delete","userId":"ID"}"#, "delete_request"),
        ] {
            assert_eq!(
                mapped(&event.replace("ID", &long)),
                Err(DeliveryOutcome::rejected(not_sent)),
                "{event}"
            );
            assert!(mapped(&event.replace("ID", &fits)).is_ok() != (not_sent == "delete_request"), "{event}");
        }
        let forward = FirstPartySettings { forward_deletes: true, ..FirstPartySettings::default() };
        let delete = format!(r#"{{"type":"delete","userId":"{long}"}}"#);
        assert_eq!(mapped_by(&forward, &delete), Err(DeliveryOutcome::rejected("id_too_long")));
        let off = format!(r#"{{"type":"page","userId":"{long}","integrations":{{"Vero":false}}}}"#);
        assert_eq!(mapped(&off), Err(Skip::IntegrationOff.into()));
        let tagged = format!(
            r#"{{"type":"page","userId":"u","integrations":{{"Vero":{{"tags":{{"action":"add","values":["a"],"id":"{long}"}}}}}}}}"#
        );
        assert_eq!(mapped(&tagged).unwrap().tags, Tags::Malformed);
    }

    #[test]
    fn a_user_that_is_not_there_is_no_wrong_endpoint() {
        assert_eq!(Endpoint::EventsTrack.target(), Target::Endpoint);
        for named in [Endpoint::UsersTrack, Endpoint::Unsubscribe, Endpoint::EditTags, Endpoint::Delete] {
            assert_eq!(named.target(), Target::User, "{named:?}");
        }
    }

    #[test]
    fn a_name_that_vero_would_refuse_is_cut() {
        let name = "é".repeat(300);
        let track = mapped(&format!(r#"{{"type":"track","userId":"u","event":"{name}"}}"#)).unwrap();
        assert_eq!(body(&track.request)["event_name"], "é".repeat(254));
    }

    #[test]
    fn deletions_are_carried_out_or_kept() {
        let event = r#"{"type":"delete","userId":"u","integrations":{"All":false}}"#;
        let kept = Err(DeliveryOutcome::rejected("delete_request"));
        assert_eq!(mapped(event), kept);
        let forward = FirstPartySettings { forward_deletes: true, ..FirstPartySettings::default() };
        let call = mapped_by(&forward, event).unwrap().request;
        assert_eq!((call.endpoint, body(&call)), (Endpoint::Delete, json!({"id": "u"})));
        assert_eq!(mapped_by(&forward, r#"{"type":"delete","anonymousId":"a"}"#), kept);
    }

    #[test]
    fn an_old_wish_for_messages_is_not_acted_upon() {
        let age = |event: &str, seconds| {
            let received_at = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
            let json = format!(r#"{{"type":"track","userId":"u","event":"{event}"}}"#);
            let event = FirstParty::read(serde_json::from_str(&json).unwrap(), received_at, false).unwrap();
            from_event(
                &EventId::parse("e1").unwrap(),
                &event,
                &FirstPartySettings::default(),
                Duration::from_secs(seconds),
            )
            .err()
        };
        assert_eq!(age("Resubscribe", 900), None);
        assert_eq!(age("Resubscribe", 901), Some(DeliveryOutcome::rejected("stale_consent")));
        assert_eq!(age("Unsubscribe", 80_000), None);
        let not_for_vero = r#"Resubscribe","integrations":{"All":false},"x":""#;
        assert_eq!(age(not_for_vero, 901), Some(Skip::IntegrationOff.into()));
    }

    #[test]
    fn the_blueprint_decides_on_events_and_on_nothing_else() {
        let rules = with(
            r#"{"events":{"Viewed page":{"rename":"Saw","properties":{"name":"title","path":"url"}},"A":{"drop":true},
            "B":{"consent":["ads"]}},"deny":["C"]}"#,
        );
        let page = r#"{"type":"page","userId":"u","messageId":"m","name":"Home",
            "properties":{"path":"/","title":"kept","segment_message_id":"theirs"}}"#;
        let page = body(&mapped_by(&rules, page).unwrap().request);
        assert_eq!(page["event_name"], "Saw");
        assert_eq!(
            page["data"],
            json!({"url": "/", "title": "kept", "name": "Home", "segment_message_id": "m"})
        );
        let skip = |event: &str, context: &str| {
            let json = format!(r#"{{"type":"track","userId":"u","event":"{event}","context":{context}}}"#);
            mapped_by(&rules, &json).err()
        };
        assert_eq!(skip("A", "{}"), Some(Skip::Dropped.into()));
        assert_eq!(skip("C", "{}"), Some(Skip::NotAllowed.into()));
        assert_eq!(skip("B", "{}"), Some(Skip::NoConsent.into()));
        assert_eq!(skip("B", r#"{"consent":{"categoryPreferences":{"ads":true}}}"#), None);
        let only = with(r#"{"allow":["X"],"consent":["ads"]}"#);
        let unsubscribe = r#"{"type":"track","userId":"u","event":"unsubscribe"}"#;
        assert!(mapped_by(&only, unsubscribe).is_ok());
        assert_eq!(mapped_by(&only, r#"{"type":"identify","userId":"u"}"#), Err(Skip::NoConsent.into()));
    }

    #[test]
    fn a_user_is_known_by_id_and_by_address() {
        let users = |event: &str| mapped(event).unwrap().users;
        let event =
            r#"{"type":"track","userId":"u","event":"Resubscribe","context":{"traits":{"email":"A@b.C"}}}"#;
        assert_eq!(users(event), ["u", "a@b.c"]);
        let by_address = r#"{"type":"track","event":"Unsubscribe","context":{"traits":{"email":"a@B.c"}}}"#;
        assert_eq!(users(by_address), ["a@b.c"]);
        assert!(users(r#"{"type":"page","userId":"A@b.c"}"#).contains(&"a@b.c".to_owned()));
        assert_eq!(users(r#"{"type":"page","userId":"aB"}"#), ["aB"], "ids are as they are");
    }

    #[test]
    fn consent_has_several_forms() {
        let call = |event: &str| {
            let rules = FirstPartySettings { forward_deletes: true, ..FirstPartySettings::default() };
            mapped_by(&rules, event).unwrap().request.consent()
        };
        let track = |name: &str| format!(r#"{{"type":"track","userId":"u","event":"{name}"}}"#);
        assert_eq!(call(&track("Resubscribe")), Some(Consent::Given));
        assert_eq!(call(&track("unsubscribe")), Some(Consent::Withdrawn));
        assert_eq!(call(&track("Unsubscribed")), None);
        assert_eq!(call(r#"{"type":"delete","userId":"u"}"#), Some(Consent::Withdrawn));
        let tags = |tags: &str| {
            let json =
                format!(r#"{{"type":"page","userId":"u","integrations":{{"Vero":{{"tags":{tags}}}}}}}"#);
            let Tags::Edit(call) = mapped(&json).unwrap().tags else { panic!("{tags}") };
            call.consent()
        };
        for withdrawn in [
            r#"{"action":"add","values":["vip","unsubscribed"]}"#,
            r#"{"action":"ADD","values":["Unsubscribed"]}"#,
            r#"{"add":[" UNSUBSCRIBED\n"],"remove":["vip"]}"#,
        ] {
            assert_eq!(tags(withdrawn), Some(Consent::Withdrawn), "{withdrawn}");
        }
        for other in [
            r#"{"action":"remove","values":["unsubscribed"]}"#,
            r#"{"add":["vip"],"remove":["unsubscribed"]}"#,
            r#"{"add":["unsubscribed-2025"]}"#,
        ] {
            assert_eq!(tags(other), None, "{other}");
        }
    }

    #[test]
    fn some_events_are_about_two_users() {
        let tagged = r#"{"type":"page","userId":"a","integrations":{"Vero":{"tags":{"action":"add","values":["v"],"id":"b"}}}}"#;
        let requests = mapped(tagged).unwrap();
        assert_eq!((requests.users, requests.tagged), (vec!["a".to_owned()], vec!["b".to_owned()]));
        let requests = mapped(r#"{"type":"alias","previousId":"old","userId":"new"}"#).unwrap();
        assert_eq!(requests.users, ["new", "old"]);
        assert_eq!(body(&requests.request), json!({"id": "old", "new_id": "new"}));
    }

    #[test]
    fn tags_in_both_forms() {
        let tags = |tags: &str| {
            let json =
                format!(r#"{{"type":"page","userId":"u","integrations":{{"vero":{{"tags":{tags}}}}}}}"#);
            mapped(&json).unwrap().tags
        };
        for (form, expected) in [
            (r#"{"action":"add","values":["a","b"]}"#, json!({"id": "u", "add": ["a", "b"]})),
            (r#"{"action":"Remove","values":["a"],"id":7}"#, json!({"id": "7", "remove": ["a"]})),
            (r#"{"add":["a"],"remove":["b"]}"#, json!({"id": "u", "add": ["a"], "remove": ["b"]})),
            (r#"{"add":[],"remove":["b"]}"#, json!({"id": "u", "remove": ["b"]})),
        ] {
            let Tags::Edit(call) = tags(form) else { panic!("{form}") };
            assert_eq!((call.endpoint, body(&call)), (Endpoint::EditTags, expected));
        }
        for nothing in ["null", r#"{"add":[],"remove":[]}"#, r#"{"action":"add","values":[]}"#] {
            assert_eq!(tags(nothing), Tags::None, "{nothing}");
        }
        for malformed in [
            "[]",
            "{}",
            r#""a""#,
            r#"{"action":"set","values":["a"]}"#,
            r#"{"action":"add"}"#,
            r#"{"values":["a"]}"#,
            r#"{"action":"add","values":"a"}"#,
            r#"{"add":[1]}"#,
            r#"{"add":{"a":1}}"#,
        ] {
            assert_eq!(tags(malformed), Tags::Malformed, "{malformed}");
        }
    }
}
