//! One request of Vero's API, and why none is made.

use crate::delivery::{DeliveryOutcome, Target};
use crate::identity::{User, is_too_long};
use crate::json::{Json, Object, ObjectWriter};
use crate::names::RELAY;
use crate::timestamp::Timestamp;

/// Why an event is not sent to Vero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Its type is not among `VERO_TRACK_TYPES`.
    TypeNotTracked,
    /// It was at Vero before, or its campaign was set off by an event of ours.
    Loop,
    /// It names nobody: Vero refuses a request without an id or an address.
    NoIdentity,
    /// Its `integrations` say so.
    IntegrationOff,
    /// The blueprint drops it.
    Dropped,
    /// It is outside of the share that a rule sends.
    NotSampled,
    /// The blueprint's `allow` or `deny` keeps it back.
    NotAllowed,
    /// The user has not agreed to a category that the blueprint asks for.
    NoConsent,
}

impl Skip {
    /// A snake_case code for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::TypeNotTracked => "type_not_tracked",
            Skip::Loop => "loop",
            Skip::NoIdentity => "no_identity",
            Skip::IntegrationOff => "integration_off",
            Skip::Dropped => "dropped",
            Skip::NotSampled => "not_sampled",
            Skip::NotAllowed => "not_allowed",
            Skip::NoConsent => "no_consent",
        }
    }
}

impl From<Skip> for DeliveryOutcome {
    fn from(skip: Skip) -> Self {
        DeliveryOutcome::Skipped(skip.as_str())
    }
}

/// Whom a request is about, when Vero takes one about them. An id that is too long is not left out for an address: the
/// address alone is another user to Vero.
pub(super) fn known(user: &User) -> Result<User, DeliveryOutcome> {
    user.id.as_deref().map_or(Ok(()), fitting)?;
    if *user == User::default() { Err(Skip::NoIdentity.into()) } else { Ok(user.clone()) }
}

/// Vero would refuse an id that is too long.
pub(super) fn fitting(id: &str) -> Result<(), DeliveryOutcome> {
    if is_too_long(id) { Err(DeliveryOutcome::rejected("id_too_long")) } else { Ok(()) }
}

/// The endpoints of Vero's API that are used here (Track API reference; methods and paths as in Vero's own clients).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// An event of a user.
    EventsTrack,
    /// A user's properties.
    UsersTrack,
    /// No more messages.
    Unsubscribe,
    /// Messages again.
    Resubscribe,
    /// Another id.
    Reidentify,
    /// Tags.
    EditTags,
    /// Never to be undone.
    Delete,
}

impl Endpoint {
    /// The path below the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::EventsTrack => "/api/v2/events/track",
            Endpoint::UsersTrack => "/api/v2/users/track",
            Endpoint::Unsubscribe => "/api/v2/users/unsubscribe",
            Endpoint::Resubscribe => "/api/v2/users/resubscribe",
            Endpoint::Reidentify => "/api/v2/users/reidentify",
            Endpoint::EditTags => "/api/v2/users/tags/edit",
            Endpoint::Delete => "/api/v2/users/delete",
        }
    }

    /// Called by `PUT`, not by `POST`.
    pub fn is_put(self) -> bool {
        matches!(self, Endpoint::Reidentify | Endpoint::EditTags)
    }

    /// How a 404 or 405 is to be understood: a user that is named in a request may not be there.
    pub fn target(self) -> Target {
        match self {
            Endpoint::EventsTrack => Target::Endpoint,
            _ => Target::User,
        }
    }
}

/// What a request says of its user's consent to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Messages again.
    Given,
    /// No more messages, by whichever endpoint.
    Withdrawn,
}

/// One request of Vero's API, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VeroRequest {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Whom it is about: an id, an address, or both; each of a length that Vero takes.
    pub(super) user: User,
    /// The fields that follow, as a JSON object.
    pub(super) fields: String,
    pub(super) consent: Option<Consent>,
}

impl VeroRequest {
    pub(super) fn new(endpoint: Endpoint, user: User, fields: ObjectWriter) -> Self {
        let consent = match endpoint {
            Endpoint::Resubscribe => Some(Consent::Given),
            // A deletion takes the subscription along (Vero, "How unsubscribes are managed").
            Endpoint::Unsubscribe | Endpoint::Delete => Some(Consent::Withdrawn),
            _ => None,
        };
        VeroRequest { endpoint, user, fields: fields.finish(), consent }
    }

    /// The same request with its fields changed.
    pub(crate) fn with_fields(self, change: impl FnOnce(Object<'_>) -> String) -> Self {
        // They are of our own making, and so an object.
        let fields = change(Object::parse(Json::written(&self.fields)).unwrap_or_default());
        VeroRequest { fields, ..self }
    }

    /// What it says of its user's consent to messages, if anything.
    pub fn consent(&self) -> Option<Consent> {
        self.consent
    }

    /// The request's body.
    pub fn body(&self, auth_token: &str) -> String {
        let mut body = ObjectWriter::new();
        body.text("auth_token", auth_token);
        let identity = |out: &mut ObjectWriter| {
            for (key, value) in [("id", &self.user.id), ("email", &self.user.email)] {
                if let Some(value) = value {
                    out.text(key, value);
                }
            }
        };
        match self.endpoint {
            Endpoint::EventsTrack => body.object("identity", identity),
            _ => identity(&mut body),
        }
        body.append(&self.fields);
        body.finish()
    }

    /// The same request without the address, when there is an id besides: Vero answers 400 to an address that it
    /// does not believe, and loses nothing that the profile does not have.
    pub fn without_email(&self) -> Option<VeroRequest> {
        let User { id: Some(id), email: Some(_) } = &self.user else { return None };
        Some(VeroRequest { user: User { id: Some(id.clone()), email: None }, ..self.clone() })
    }
}

/// When it happened, and that it comes from here. Vero compares the time of a profile's change with its last one,
/// and keeps the later.
pub(super) fn extras(out: &mut ObjectWriter, time: Timestamp) {
    out.object("extras", |extras| {
        extras.text("source", RELAY);
        extras.text("created_at", &time.vero());
    });
}

/// Vero wants either, not both, where it is not about a channel (github.com/getvero/vero-php, client.php).
pub(super) fn one_of(user: User) -> User {
    match user.id {
        Some(id) => with_id(&id),
        None => user,
    }
}

pub(super) fn with_id(id: &str) -> User {
    User { id: Some(id.to_owned()), email: None }
}
