//! What an event asks for.

use std::borrow::Cow;

use crate::json::Json;

/// The name of a track that unsubscribes, in any case but with nothing around it: Segment's own destination
/// unsubscribes whoever `Clicked unsubscribe link` (github.com/segment-boneyard/integration-vero, lib/mapper.js).
pub const UNSUBSCRIBE: &str = "unsubscribe";

/// The name of a track that takes an unsubscribe back, in any case but with nothing around it.
pub const RESUBSCRIBE: &str = "resubscribe";

/// The calls of Segment's spec, and the deletion request that its Webhooks destination passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallType {
    /// Traits of a user.
    Identify,
    /// Something happened.
    Track,
    /// A page was seen.
    Page,
    /// A screen of an app was seen.
    Screen,
    /// A user belongs to a group.
    Group,
    /// A user has another id from now on.
    Alias,
    /// A user is to be forgotten.
    Delete,
}

impl CallType {
    /// Every type, by the value of `type`.
    pub(super) const NAMED: [(&str, CallType); 7] = [
        ("identify", CallType::Identify),
        ("track", CallType::Track),
        ("page", CallType::Page),
        ("screen", CallType::Screen),
        ("group", CallType::Group),
        ("alias", CallType::Alias),
        ("delete", CallType::Delete),
    ];

    /// By the value of `type`, in any case: RudderStack's tests have `Identify` (rudder-transformer, destination Vero).
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
    }

    /// Every value of `type`, as Segment's spec has it.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(name, _)| *name)
    }

    /// The value of `type`, as Segment's spec has it.
    pub fn as_str(self) -> &'static str {
        Self::NAMED.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// What an event asks for.
#[derive(Debug)]
pub enum Call<'a> {
    /// Traits of a user.
    Identify {
        /// The traits, as a JSON object: its own or, where it has none, those of its context without the address.
        traits: Cow<'a, str>,
        /// The device that it came from, when that can be reached by push. In a box, since few have one.
        device: Option<Box<Device<'a>>>,
    },
    /// Something happened.
    Track {
        /// Its name, trimmed and not empty.
        name: Cow<'a, str>,
        /// The properties, when they are an object.
        properties: Option<Json<'a>>,
    },
    /// The user wants no more messages.
    Unsubscribe,
    /// The user wants messages again.
    Resubscribe,
    /// Something was seen.
    View {
        /// Of what kind.
        surface: Surface,
        /// Its name.
        name: Option<Json<'a>>,
        /// Its category.
        category: Option<Json<'a>>,
        /// Its address, where the properties have none.
        url: Option<Json<'a>>,
        /// The properties, when they are an object.
        properties: Option<Json<'a>>,
    },
    /// A user belongs to a group.
    Group {
        /// The group's id.
        id: Option<String>,
        /// The group's traits, when they are an object.
        traits: Option<Json<'a>>,
    },
    /// The user, whose id is the new one, had this id before.
    Alias {
        /// The old id.
        previous_id: String,
    },
    /// The user is to be forgotten.
    Delete,
}

/// A device that takes push messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Its address, not blank.
    pub token: Cow<'a, str>,
    /// Who delivers to it.
    pub platform: Platform,
    /// What its owner calls it, not blank.
    pub name: Option<Cow<'a, str>>,
}

/// The platforms that Vero pushes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Apple's.
    Ios,
    /// Google's.
    Android,
}

impl Platform {
    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        [Platform::Ios, Platform::Android]
            .into_iter()
            .find(|platform| platform.as_str().eq_ignore_ascii_case(name))
    }

    /// As Vero spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Ios => "ios",
            Platform::Android => "android",
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// A page of a site.
    Page,
    /// A screen of an app.
    Screen,
}

/// What an event's `integrations` say of Vero.
#[derive(Debug, Clone, Copy)]
pub enum Integration<'a> {
    /// Not to go there.
    Off,
    /// To go there, with the option `tags` if it is set.
    On {
        /// In one of two forms.
        tags: Option<Json<'a>>,
    },
}
