//! What must arrive at Vero of an event. Written from docs/first-party.md, not from the code that it checks.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// The form of times at Vero.
const TIME: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory][offset_minute]"
);
/// A corrected time may lie so far from now: what a run takes.
const RECENT_S: i64 = 300;

/// A request that Vero took.
#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub user_id: String,
    pub previous_id: Option<String>,
    /// Of a track.
    pub event: Option<String>,
    /// Of a page or a screen.
    pub name: Option<String>,
    pub group_id: Option<String>,
    /// Of an identify: the trait.
    pub email: Option<String>,
    /// Where it is known, `data` has it.
    pub message_id: Option<String>,
    /// In Vero's form; without it the event is of now, its sender's clock put right.
    pub created_at: Option<String>,
}

impl Event {
    /// What each client sends under this name.
    pub fn all(name: &str, with_message_ids: bool) -> Vec<Event> {
        let event = |kind: &str| Event {
            kind: kind.to_owned(),
            user_id: format!("user-{name}"),
            message_id: with_message_ids.then(|| format!("{name}-{kind}")),
            ..Event::default()
        };
        vec![
            Event { email: Some(format!("{name}@example.com")), ..event("identify") },
            Event { event: Some("Song Played".into()), ..event("track") },
            Event { name: Some("Pricing".into()), ..event("page") },
            Event { name: Some("Player".into()), ..event("screen") },
            Event { group_id: Some(format!("group-{name}")), ..event("group") },
            Event { previous_id: Some(format!("before-{name}")), ..event("alias") },
        ]
    }

    /// Whether an SDK has posted it so, to this path.
    pub fn is_in(&self, path: &str, posted: &Value) -> bool {
        let kind = posted["type"].as_str().or(path.trim_end_matches('/').rsplit('/').next());
        kind == Some(&self.kind) && posted["userId"] == self.user_id.as_str()
    }

    /// Whether a call is the one that it becomes.
    pub fn becomes(&self, Call { method, path, body }: &Call) -> bool {
        let given = |value: &Value, wanted: &Option<String>| match wanted {
            Some(wanted) => value == wanted.as_str(),
            None => true,
        };
        let user = self.user_id.as_str();
        let tracked = |name: &str| {
            body["identity"]["id"] == user
                && body["event_name"] == name
                && given(&body["data"]["segment_message_id"], &self.message_id)
        };
        match (self.kind.as_str(), method.as_str(), path.as_str()) {
            ("identify", "POST", "/api/v2/users/track") => {
                let group = &body["data"]["group"];
                body["id"] == user && given(&body["email"], &self.email) && group.is_null()
            }
            ("group", "POST", "/api/v2/users/track") => {
                body["id"] == user && given(&body["data"]["group"]["id"], &self.group_id)
            }
            ("alias", "PUT", "/api/v2/users/reidentify") => {
                given(&body["id"], &self.previous_id) && body["new_id"] == user
            }
            ("track", "POST", "/api/v2/events/track") => self.event.as_deref().is_some_and(tracked),
            ("page", "POST", "/api/v2/events/track") => {
                tracked("Viewed page") && given(&body["data"]["name"], &self.name)
            }
            ("screen", "POST", "/api/v2/events/track") => {
                tracked("Viewed screen") && given(&body["data"]["name"], &self.name)
            }
            _ => false,
        }
    }

    /// What of its properties or traits, and of a page's or a screen's own fields, is missing at Vero.
    pub fn lost_fields(&self, posted: &Value, call: &Call) -> Option<String> {
        let data = &call.body["data"];
        let data = if self.kind == "group" { &data["group"] } else { data };
        let fields =
            ["properties", "traits"].into_iter().filter_map(|name| posted[name].as_object()).flatten();
        let mut wanted: Vec<(&str, &Value)> = fields.map(|(name, value)| (name.as_str(), value)).collect();
        let own = ["name", "category"].map(|name| (name, &posted[name]));
        wanted
            .extend(own.into_iter().filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty())));
        let lost = wanted.into_iter().filter(|(name, value)| data[name] != **value).map(|(name, _)| name);
        let lost: Vec<&str> = lost.collect();
        (!lost.is_empty()).then(|| format!("{} has lost {} on its way", self.kind, lost.join(", ")))
    }

    /// What is wrong with its time at Vero.
    pub fn wrong_time(&self, call: &Call) -> Option<String> {
        let sent = call.body["extras"]["created_at"].as_str();
        if !matches!(self.kind.as_str(), "identify" | "track" | "page" | "screen") && sent.is_none() {
            return None;
        }
        let is_right = match &self.created_at {
            Some(wanted) => sent == Some(wanted),
            None => sent
                .and_then(|sent| OffsetDateTime::parse(sent, TIME).ok())
                .is_some_and(|sent| (OffsetDateTime::now_utc() - sent).whole_seconds().abs() < RECENT_S),
        };
        (!is_right).then(|| format!("{} is dated {}", self.kind, sent.unwrap_or("nothing")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_event_becomes_its_own_call() {
        let call = |method: &str, path: &str, body: Value| Call {
            method: method.into(),
            path: format!("/api/v2/{path}"),
            body,
        };
        let tracked = |name: &str, data: Value| {
            call(
                "POST",
                "events/track",
                json!({"identity": {"id": "user-x"}, "event_name": name, "data": data}),
            )
        };
        let calls = [
            call(
                "POST",
                "users/track",
                json!({"id": "user-x", "email": "x@example.com", "data": {"plan": "pro"}}),
            ),
            tracked("Song Played", json!({"segment_message_id": "x-track"})),
            tracked("Viewed page", json!({"segment_message_id": "x-page", "name": "Pricing"})),
            tracked("Viewed screen", json!({"segment_message_id": "x-screen", "name": "Player"})),
            call("POST", "users/track", json!({"id": "user-x", "data": {"group": {"id": "group-x"}}})),
            call("PUT", "users/reidentify", json!({"id": "before-x", "new_id": "user-x"})),
        ];
        for (number, event) in Event::all("x", true).iter().enumerate() {
            let becomes: Vec<bool> = calls.iter().map(|call| event.becomes(call)).collect();
            let only: Vec<bool> = (0..calls.len()).map(|other| other == number).collect();
            assert_eq!(becomes, only, "{event:?}");
        }
    }

    #[test]
    fn a_time_is_of_now_or_as_sent() {
        let dated = |sent: &str| Call {
            method: "POST".into(),
            path: "/api/v2/events/track".into(),
            body: json!({"extras": {"created_at": sent}}),
        };
        let now = OffsetDateTime::now_utc().format(TIME).unwrap();
        let track = Event { kind: "track".into(), ..Event::default() };
        assert_eq!(track.wrong_time(&dated(&now)), None);
        assert!(track.wrong_time(&dated("2026-03-01T10:00:02+0000")).is_some());
        let sent = Event { created_at: Some("2026-03-01T10:00:02+0000".into()), ..track };
        assert_eq!(sent.wrong_time(&dated("2026-03-01T10:00:02+0000")), None);
        assert!(sent.wrong_time(&dated(&now)).is_some());
    }
}
