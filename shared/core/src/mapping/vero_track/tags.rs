//! The tags that an event gives its user.

use super::request::{Consent, Endpoint, VeroRequest, one_of, with_id};
use crate::identity::{self, User, is_too_long};
use crate::json::{Json, Kind, Object, ObjectWriter};

/// Who has this tag gets no messages (Vero, "How unsubscribes are managed in Vero 2.0").
const UNSUBSCRIBED_TAG: &str = "unsubscribed";

/// What an event says of its user's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// Nothing.
    None,
    /// Which to add or to remove.
    Edit(VeroRequest),
    /// Nothing that can be understood, or for nobody whom Vero takes.
    Malformed,
}

/// Understands the option `tags` in Segment's form, `{action, values, id?}`, and in RudderStack's, `{add, remove}`.
pub(super) fn read_tags(tags: Option<Json<'_>>, user: &User) -> Tags {
    let Some(tags) = tags else { return Tags::None };
    let Some(form) = Object::parse(tags) else { return Tags::Malformed };
    let said = |key: &str| form.get(key).filter(|value| value.kind() != Kind::Null);
    let lists = match (said("action").map(Json::as_str), said("values")) {
        (None, None) => [("add", said("add")), ("remove", said("remove"))],
        (Some(Some(action)), values @ Some(_)) => match action.trim().to_ascii_lowercase().as_str() {
            "add" => [("add", values), ("remove", None)],
            "remove" => [("add", None), ("remove", values)],
            _ => return Tags::Malformed,
        },
        _ => return Tags::Malformed,
    };
    if lists.iter().all(|(_, list)| list.is_none()) {
        return Tags::Malformed;
    }
    let mut fields = ObjectWriter::new();
    let mut withdraws = false;
    for (key, list) in lists {
        let Some(list) = list else { continue };
        let texts: Option<Vec<Json<'_>>> = serde_json::from_str(list.get()).ok();
        match texts.filter(|texts| texts.iter().all(|text| text.kind() == Kind::Text)) {
            Some(texts) if texts.is_empty() => (),
            Some(texts) => {
                withdraws |= key == "add" && texts.into_iter().any(is_unsubscribed_tag);
                fields.raw(key, list.get());
            }
            None => return Tags::Malformed,
        }
    }
    if fields.is_empty() {
        return Tags::None;
    }
    let user = match said("id").and_then(identity::id) {
        Some(id) if is_too_long(&id) => return Tags::Malformed,
        Some(id) => with_id(&id),
        None => one_of(user.clone()),
    };
    let consent = withdraws.then_some(Consent::Withdrawn);
    Tags::Edit(VeroRequest { consent, ..VeroRequest::new(Endpoint::EditTags, user, fields) })
}

/// Nobody says how Vero compares tags: what may be the tag counts as it.
fn is_unsubscribed_tag(tag: Json<'_>) -> bool {
    identity::trimmed(tag).is_some_and(|tag| tag.eq_ignore_ascii_case(UNSUBSCRIBED_TAG))
}
