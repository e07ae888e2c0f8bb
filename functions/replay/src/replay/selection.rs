//! Which rows of the archive are wanted, and for which destinations.

use std::collections::{HashMap, HashSet};

use relay_core::archive::Archived;
use relay_core::envelope::Envelope;

use super::parts::NameSet;
use super::request::ReplayRequest;
use crate::id_hash::IdHash;

/// Ids of a request, each with the destinations that it is to go to.
#[derive(Debug, Default)]
pub struct SelectedIds(HashMap<IdHash, NameSet>);

impl SelectedIds {
    pub fn add(&mut self, id: &str, parts: NameSet) {
        let entry = self.0.entry(IdHash::of(id)).or_default();
        *entry = entry.or(parts);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug)]
pub struct Selection<'r> {
    request: &'r ReplayRequest,
    types: Option<HashSet<&'r str>>,
    users: Option<HashSet<&'r str>>,
    addresses: HashSet<String>,
    /// `None`: all.
    ids: Option<SelectedIds>,
}

impl<'r> Selection<'r> {
    /// `ids`: `None` for all.
    pub fn new(request: &'r ReplayRequest, ids: Option<SelectedIds>) -> Self {
        let set = |names: &'r Option<Vec<String>>| -> Option<HashSet<&'r str>> {
            names.as_ref().map(|names| names.iter().map(String::as_str).collect())
        };
        Selection {
            request,
            types: set(&request.types),
            users: set(&request.users),
            addresses: request.users.iter().flatten().map(|user| user.to_lowercase()).collect(),
            ids,
        }
    }

    /// Where an archived event is to go.
    pub fn destinations(&self, row: &Archived<'_>, envelope: &Envelope<'_>) -> NameSet {
        let ReplayRequest { from, to, destinations, .. } = self.request;
        let is_in_range = (*from..*to).contains(&envelope.received_at);
        if !is_in_range || !self.is_of_type(row) || !self.is_of_user(row) {
            return NameSet::default();
        }
        let selected = match &self.ids {
            None => destinations.all(),
            Some(SelectedIds(ids)) => ids.get(&IdHash::of(envelope.id.as_str())).copied().unwrap_or_default(),
        };
        selected.and(destinations.of_source(envelope.source))
    }

    fn is_of_type(&self, row: &Archived<'_>) -> bool {
        let Some(types) = &self.types else { return true };
        row.kind.as_deref().is_some_and(|kind| types.contains(kind))
    }

    fn is_of_user(&self, row: &Archived<'_>) -> bool {
        let Some(users) = &self.users else { return true };
        row.user_id.as_deref().is_some_and(|id| users.contains(id))
            || row.email.as_deref().is_some_and(|email| self.addresses.contains(&email.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(more: Value) -> ReplayRequest {
        let mut event =
            json!({"from": "2026-11-20", "to": "2026-11-21", "destinations": ["segment", "vero_track"]});
        for (field, value) in more.as_object().unwrap() {
            event[field] = value.clone();
        }
        ReplayRequest::parse(event.as_object().unwrap().clone(), "archive", &[]).unwrap()
    }

    fn row(id: &str, source: &str, received_at: &str) -> String {
        json!({
            "id": id, "source": source, "received_at": received_at, "type": "opened", "user_id": "12",
            "email": "Steve@Example.com", "payload": "{}",
        })
        .to_string()
    }

    fn names(request: &ReplayRequest, ids: Option<SelectedIds>, line: &str) -> Vec<String> {
        let row = Archived::parse(line).unwrap();
        let set = Selection::new(request, ids).destinations(&row, &row.envelope().unwrap());
        request.destinations.names(set)
    }

    #[test]
    fn the_range_begins_with_its_first_and_ends_before_its_last() {
        let request = request(json!({}));
        for (at, is_in) in [
            ("2026-11-19T23:59:59.999Z", false),
            ("2026-11-20T00:00:00.000Z", true),
            ("2026-11-20T23:59:59.999Z", true),
            ("2026-11-21T00:00:00.000Z", false),
        ] {
            assert_eq!(!names(&request, None, &row("e1", "vero", at)).is_empty(), is_in, "{at}");
        }
    }

    #[test]
    fn types_users_and_ids() {
        let line = row("e1", "vero", "2026-11-20T05:00:00.000Z");
        for (filter, is_in) in [
            (json!({"types": ["opened", "sent"]}), true),
            (json!({"types": ["sent"]}), false),
            (json!({"users": ["12"]}), true),
            (json!({"users": ["steve@example.COM"]}), true),
            (json!({"users": ["1", "eve@example.com"]}), false),
            (json!({"users": ["12"], "types": ["sent"]}), false),
        ] {
            assert_eq!(!names(&request(filter.clone()), None, &line).is_empty(), is_in, "{filter}");
        }
        let without_user = json!({
            "id": "e1", "source": "vero", "received_at": "2026-11-20T05:00:00.000Z", "type": null, "user_id": null,
            "email": null, "payload": "{}",
        });
        assert!(names(&request(json!({"types": ["opened"]})), None, &without_user.to_string()).is_empty());
        assert!(names(&request(json!({"users": ["12"]})), None, &without_user.to_string()).is_empty());
    }

    #[test]
    fn an_id_goes_to_the_destinations_that_name_it_and_take_it() {
        let wanted = |pairs: &[(&str, &str)]| {
            let mut wanted = SelectedIds::default();
            pairs.iter().for_each(|(id, part)| wanted.add(id, request(json!({})).destinations.named(part)));
            Some(wanted)
        };
        let at = "2026-11-20T05:00:00.000Z";
        let of = |ids, id| names(&request(json!({})), wanted(ids), &row(id, "vero", at));
        let ids = [("e1", "segment"), ("e2", "segment"), ("e2", "vero_track")];
        assert_eq!(of(&ids, "e1"), ["segment"]);
        assert_eq!(of(&ids, "e2"), ["segment", "vero_track"]);
        assert!(of(&ids, "e3").is_empty());
        assert!(of(&[("e1", "vero_tags")], "e1").is_empty(), "not asked for");
        assert_eq!(names(&request(json!({})), None, &row("e1", "segment", at)), ["vero_track"]);
    }
}
