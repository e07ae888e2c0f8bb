//! Event names: what each webhook type is called at the destinations, and which names are our own.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::identity::is_too_long;

/// This relay's name in Segment's `context.library` and in Vero's `extras.source`, by which it recognises its own
/// events when they come back.
pub const RELAY: &str = "vero-relay";

/// How a webhook's fields are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// What became of a message: `user`, `campaign` and fields of its own.
    Message,
    /// A new profile: its fields in `user` or, in older payloads, at top level.
    UserCreated,
    /// A changed profile: `changes`, with tags under `_tags`.
    UserUpdated,
}

/// A webhook type that Vero documents.
#[derive(Debug, PartialEq, Eq)]
pub struct WebhookType {
    /// The value of `type`.
    pub name: &'static str,
    /// The event's name. `Email` gives way to the channel's name.
    pub event: &'static str,
    /// Where its fields are.
    pub layout: Layout,
}

/// Every type that Vero documents (help.getvero.com, "Setting up reporting webhooks"). The names of `sent`, `delivered`,
/// `opened`, `clicked`, `bounced`, `unsubscribed` and `complained` are those of Segment's own Vero source. A new type is
/// one row here; CONTRIBUTING.md has the other steps.
pub const WEBHOOK_TYPES: [WebhookType; 12] = [
    row("sent", "Email Sent", Layout::Message),
    row("delivered", "Email Delivered", Layout::Message),
    row("opened", "Email Opened", Layout::Message),
    row("clicked", "Email Link Clicked", Layout::Message),
    row("bounced", "Email Bounced", Layout::Message),
    row("unsubscribed", "Email Unsubscribed", Layout::Message),
    row("complained", "Email Marked as Spam", Layout::Message),
    row("failed", "Email Failed", Layout::Message),
    row("converted", "Email Converted", Layout::Message),
    row("resubscribed", "Email Resubscribed", Layout::Message),
    row("user_created", "User Created", Layout::UserCreated),
    row("user_updated", "User Updated", Layout::UserUpdated),
];

const fn row(name: &'static str, event: &'static str, layout: Layout) -> WebhookType {
    WebhookType { name, event, layout }
}

/// The name of the event that carries a profile's changed tags.
pub const TAGS_UPDATED: &str = "User Tags Updated";

/// The word in a name that gives way to the channel.
const EMAIL: &str = "Email";

/// Channels that a relayed event's name may begin with, for recognising such a name when it comes back. A
/// closed list, not any word: `Payment Failed` is a customer's own event, not our `failed` by channel "payment".
const CHANNELS: [&str; 20] = [
    EMAIL,
    "SMS",
    "Push",
    "MMS",
    "RCS",
    "App Push",
    "Browser Push",
    "Mobile Push",
    "Web Push",
    "Telegram",
    "Viber",
    "Voice",
    "Messenger",
    "In App",
    "In App Message",
    "Push Notification",
    "Text Message",
    "Web",
    "Webhook",
    "WhatsApp",
];

/// Finds a documented type by the value of `type`.
pub fn documented(name: &str) -> Option<&'static WebhookType> {
    WEBHOOK_TYPES.iter().find(|row| row.name == name)
}

/// Which webhook types go to Vero Track (`VERO_TRACK_TYPES`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackTypes {
    /// All of them, unknown ones too.
    All,
    /// These; none if empty.
    These(Vec<String>),
}

impl Default for TrackTypes {
    /// The message types: a profile's change, sent to Vero, would come back as a webhook.
    fn default() -> Self {
        let messages = WEBHOOK_TYPES.iter().filter(|row| row.layout == Layout::Message);
        TrackTypes::These(messages.map(|row| row.name.to_owned()).collect())
    }
}

impl TrackTypes {
    /// Parses `all`, `none`, or types separated by commas.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let types: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        match types[..] {
            [one] if one.eq_ignore_ascii_case("all") => Ok(TrackTypes::All),
            [one] if one.eq_ignore_ascii_case("none") => Ok(TrackTypes::These(Vec::new())),
            [] => Err("it names no type"),
            _ if types.iter().any(|name| matches!(*name, "all" | "none")) => {
                Err("`all` and `none` stand alone")
            }
            _ => Ok(TrackTypes::These(types.into_iter().map(str::to_owned).collect())),
        }
    }

    fn contains(&self, kind: Option<&str>) -> bool {
        match self {
            TrackTypes::All => true,
            TrackTypes::These(types) => kind.is_some_and(|kind| types.iter().any(|name| name == kind)),
        }
    }
}

/// A webhook type's event names of the operator's own (`EVENT_NAMES`), used as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventNames(BTreeMap<String, String>);

impl EventNames {
    /// Parses a JSON object from types to event names.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(json: &str) -> Result<Self, &'static str> {
        let names: BTreeMap<String, String> =
            serde_json::from_str(json).map_err(|_| "it is no JSON object of texts")?;
        if names.values().any(|name| name.trim().is_empty()) {
            return Err("an event name is empty");
        }
        if names.values().any(|name| is_too_long(name)) {
            return Err("an event name has over 254 characters, more than Vero takes");
        }
        Ok(EventNames(names))
    }
}

/// Names webhooks, picks what goes to Vero Track, and recognises what has been there before.
///
/// ```
/// use relay_core::names::{EventNames, Naming, TrackTypes};
///
/// let names = EventNames::parse(r#"{"opened":"Newsletter Opened"}"#)?;
/// let naming = Naming::new(names, TrackTypes::parse("opened,clicked")?, true);
/// assert_eq!(naming.event(Some("opened"), Some("sms")), "Newsletter Opened");
/// // Without a name of the operator's, the channel stands in the place of `Email`.
/// assert_eq!(naming.event(Some("clicked"), Some("sms")), "SMS Link Clicked");
/// assert_eq!(naming.event(Some("of_tomorrow"), None), "Vero Of Tomorrow");
/// assert!(!naming.is_tracked(Some("sent")));
/// // A campaign that is set off by an event of ours would go round in circles.
/// assert!(naming.is_own("newsletter_opened", None));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone)]
pub struct Naming {
    names: EventNames,
    track_types: TrackTypes,
    /// Normalised names that this relay sends to Vero; `None`: loops are not looked for.
    own: Option<HashSet<String>>,
}

impl Default for Naming {
    fn default() -> Self {
        Naming::new(EventNames::default(), TrackTypes::default(), true)
    }
}

impl Naming {
    /// From the operator's choices; `suppress_loops` is the variable `SUPPRESS_LOOPS`.
    pub fn new(names: EventNames, track_types: TrackTypes, suppress_loops: bool) -> Self {
        let mut naming = Naming { names, track_types, own: None };
        naming.own = suppress_loops.then(|| naming.names_sent_to_vero().collect());
        naming
    }

    /// The event's name: the operator's, else the documented type's with its channel, else `Vero` and the type.
    pub fn event(&self, kind: Option<&str>, channel: Option<&str>) -> Cow<'_, str> {
        let Some(kind) = kind else { return "Vero Event".into() };
        match (self.names.0.get(kind), documented(kind)) {
            (Some(name), _) => name.into(),
            (None, Some(row)) => with_channel(row.event, channel),
            (None, None) => match title_case(kind) {
                title if title.is_empty() => "Vero Event".into(),
                title => format!("Vero {title}").into(),
            },
        }
    }

    /// Whether the operator gave this type a name of their own.
    pub fn is_renamed(&self, kind: &str) -> bool {
        self.names.0.contains_key(kind)
    }

    /// Whether webhooks of this type go to Vero Track.
    pub fn is_tracked(&self, kind: Option<&str>) -> bool {
        self.track_types.contains(kind)
    }

    /// Whether what came from here is looked for (`SUPPRESS_LOOPS`).
    pub fn looks_for_loops(&self) -> bool {
        self.own.is_some()
    }

    /// Whether a campaign's trigger event is one that this relay sent to Vero: then an event of that campaign,
    /// sent to Vero again, could set the campaign off again.
    pub fn is_own(&self, trigger_event: &str, channel: Option<&str>) -> bool {
        let Some(own) = &self.own else { return false };
        let is_of_unknown_type = self.track_types == TrackTypes::All && begins_with_vero(trigger_event);
        let trigger_event = normalised(trigger_event);
        is_of_unknown_type
            || own.contains(&trigger_event)
            || self.tracked_types().any(|kind| normalised(&self.event(Some(kind), channel)) == trigger_event)
    }

    fn tracked_types(&self) -> impl Iterator<Item = &str> {
        let listed: Vec<&str> = match &self.track_types {
            TrackTypes::All => {
                let documented = WEBHOOK_TYPES.iter().map(|row| row.name);
                documented.chain(self.names.0.keys().map(String::as_str)).collect()
            }
            TrackTypes::These(types) => types.iter().map(String::as_str).collect(),
        };
        listed.into_iter()
    }

    fn names_sent_to_vero(&self) -> impl Iterator<Item = String> {
        self.tracked_types()
            .flat_map(|kind| CHANNELS.map(|channel| normalised(&self.event(Some(kind), Some(channel)))))
    }
}

/// Puts a channel in the place of `Email`.
fn with_channel(name: &'static str, channel: Option<&str>) -> Cow<'static, str> {
    match channel.map(title_case).as_deref() {
        None | Some("" | EMAIL) => name.into(),
        Some("Sms") => name.replacen(EMAIL, "SMS", 1).into(),
        Some(channel) => name.replacen(EMAIL, channel, 1).into(),
    }
}

/// `link_previewed` becomes `Link Previewed`.
fn title_case(text: &str) -> String {
    let mut title = String::with_capacity(text.len());
    for word in
        text.split(|c: char| c.is_whitespace() || matches!(c, '_' | '-')).filter(|word| !word.is_empty())
    {
        if !title.is_empty() {
            title.push(' ');
        }
        let mut letters = word.chars();
        title.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        title.extend(letters.flat_map(char::to_lowercase));
    }
    title
}

/// `Vero Link Previewed`, `vero_link_previewed`, but not `Veronica Joined`.
fn begins_with_vero(name: &str) -> bool {
    let name = name.trim();
    let (head, rest) = name.split_at_checked(4).unwrap_or((name, ""));
    head.eq_ignore_ascii_case("vero") && rest.starts_with(|c: char| !c.is_lowercase())
}

/// A name as Vero compares it: names that differ in case, spaces, underscores and dashes alone are the same event
/// (developers.getvero.com, "The event object").
pub(crate) fn normalised(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_and_unknown_types() {
        let naming = Naming::default();
        for (kind, channel, expected) in [
            ("sent", None, "Email Sent"),
            ("sent", Some("email"), "Email Sent"),
            ("sent", Some(" EMAIL "), "Email Sent"),
            ("sent", Some(" "), "Email Sent"),
            ("sent", Some("sms"), "SMS Sent"),
            ("opened", Some("push"), "Push Opened"),
            ("clicked", Some("in-app"), "In App Link Clicked"),
            ("complained", Some("sms"), "SMS Marked as Spam"),
            ("link_previewed", Some("sms"), "Vero Link Previewed"),
            ("Some-OTHER thing", None, "Vero Some Other Thing"),
            ("___", None, "Vero Event"),
            ("sent", Some("-"), "Email Sent"),
        ] {
            assert_eq!(naming.event(Some(kind), channel), expected);
        }
        assert_eq!(naming.event(None, Some("sms")), "Vero Event");
    }

    #[test]
    fn own_names_win_and_are_not_rewritten() {
        let names = EventNames::parse(r#"{"sent":"Email out","link_previewed":"Previewed"}"#).unwrap();
        let naming = Naming::new(names, TrackTypes::All, true);
        assert_eq!(naming.event(Some("sent"), Some("sms")), "Email out");
        assert_eq!(naming.event(Some("link_previewed"), None), "Previewed");
        assert!(naming.is_own("email_OUT", None));
        assert!(naming.is_own("previewed", None));
        assert!(!naming.is_own("Email Sent", None));
    }

    #[test]
    fn faulty_choices_are_explained() {
        for json in ["", "[]", r#"{"sent":1}"#, r#"{"sent":" "}"#, r#"{"sent":"a"} x"#] {
            assert!(EventNames::parse(json).is_err(), "{json}");
        }
        assert!(EventNames::parse(&format!(r#"{{"sent":"{}"}}"#, "x".repeat(255))).is_err());
        for list in ["all,sent", "none,sent", ","] {
            assert!(TrackTypes::parse(list).is_err(), "{list}");
        }
        assert_eq!(
            TrackTypes::parse(" sent , new_type ").unwrap(),
            TrackTypes::These(vec!["sent".into(), "new_type".into()])
        );
        assert_eq!(TrackTypes::parse("none").unwrap(), TrackTypes::These(vec![]));
    }

    #[test]
    fn a_name_of_ours_is_recognised_in_any_dress() {
        let naming = Naming::default();
        for own in [
            "Email Opened",
            "email_opened",
            "EMAIL-OPENED",
            "sms sent",
            "Push Marked As Spam",
            "In-App Opened",
        ] {
            assert!(naming.is_own(own, None), "{own}");
        }
        assert!(naming.is_own("Carrier Pigeon Sent", Some("carrier_pigeon")));
        for theirs in ["Payment Failed", "purchased item", "Sent", "Vero Link Previewed", "User Created", ""]
        {
            assert!(!naming.is_own(theirs, Some("email")), "{theirs}");
        }
    }

    #[test]
    fn what_is_not_sent_to_vero_cannot_come_back() {
        let only_sent = Naming::new(EventNames::default(), TrackTypes::parse("sent").unwrap(), true);
        assert!(only_sent.is_own("Email Sent", None));
        assert!(!only_sent.is_own("Email Opened", None));
        let all = Naming::new(EventNames::default(), TrackTypes::All, true);
        assert!(!all.is_own("Veronica Joined", None) && !all.is_own("Vero", None));
        assert!(all.is_own("vero link previewed", None) && all.is_own("user created", None));
        let off = Naming::new(EventNames::default(), TrackTypes::All, false);
        assert!(!off.is_own("Email Sent", None));
    }
}
