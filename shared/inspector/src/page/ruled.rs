//! What an event's requests would be without the rules, and so who changed a field.

use std::collections::BTreeMap;

use relay_core::blueprint::Blueprint;
use relay_core::envelope::Envelope;
use relay_core::rules::AfterRules;
use serde_json::Value;

use crate::links;
use crate::model::mapping::{Rules, requests, rules};
use crate::model::state::Stack;

/// An event's requests, each with its name.
type Requests = Vec<(String, Value)>;

/// What the rules of the blueprint do to an event.
#[derive(Default)]
pub(super) struct Ruled {
    pub(super) by_part: BTreeMap<String, Rules>,
    /// Without any rule.
    plain: Requests,
    /// By the rules, but without one of the fields that hold after them.
    without: Vec<(AfterRules, Requests)>,
    /// By the rules alone, without any of these fields.
    without_all: Requests,
}

/// One request, of which the rules may have changed something.
#[derive(Clone, Copy)]
pub(crate) struct RuledRequest<'r> {
    ruled: &'r Ruled,
    name: &'r str,
    rules: &'r Rules,
    /// What it would be without any rule.
    pub(super) plain: &'r Value,
}

impl Ruled {
    pub(super) fn of(envelope: &Envelope<'_>, stack: &Stack, blueprint: &Blueprint) -> Self {
        let by_part = rules(envelope, stack, blueprint);
        if by_part.is_empty() {
            return Ruled::default();
        }
        let by = |blueprint: &Blueprint| requests(envelope, stack, blueprint);
        let without = AfterRules::ALL.map(|field| (field, by(&blueprint.without(field))));
        let by_rules_alone =
            AfterRules::ALL.into_iter().fold(blueprint.clone(), |rules, field| rules.without(field));
        let plain = by(&Blueprint::default());
        Ruled { by_part, plain, without: without.into(), without_all: by(&by_rules_alone) }
    }

    /// A request of a part that has rules.
    pub(super) fn request<'r>(&'r self, part: &str, name: &'r str) -> Option<RuledRequest<'r>> {
        let (rules, plain) = (self.by_part.get(part)?, named(&self.plain, name)?);
        Some(RuledRequest { ruled: self, name, rules, plain })
    }
}

impl RuledRequest<'_> {
    /// Who changed a field to this value, or left it out: what of the document would have to go for it to be as before.
    pub(super) fn author(self, pointer: &str, value: Option<&Value>) -> Option<String> {
        let plain = self.plain.pointer(pointer);
        if plain == value {
            return None;
        }
        let restores = |requests: &Requests| {
            named(requests, self.name).is_some_and(|request| request.pointer(pointer) == plain)
        };
        let one = self.ruled.without.iter().find(|(_, requests)| restores(requests)).map(|(field, _)| *field);
        // Two of them may do the same to a field: it has gone by `omit`, else it is an address.
        let two = || restores(&self.ruled.without_all).then_some(AfterRules::Omit);
        Some(match one.or_else(two) {
            Some(field) => format!("{}.{}", self.rules.destination, field.name()),
            None => self.rules.rule.clone(),
        })
    }

    /// The fields that it would have had without the rules, by who left them out.
    pub(super) fn left_out(self, request: &Value) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pointer in links::fields(self.plain) {
            if request.pointer(&pointer).is_none()
                && let Some(author) = self.author(&pointer, None)
            {
                all.entry(author).or_default().push(pointer);
            }
        }
        all
    }
}

fn named<'r>(requests: &'r Requests, name: &str) -> Option<&'r Value> {
    requests.iter().find(|(own, _)| own == name).map(|(_, request)| request)
}

#[cfg(test)]
mod tests {
    use super::super::event::whole;
    use super::super::rows::View;
    use super::*;
    use crate::model::time::At;

    /// The page of an event that goes by a blueprint to Segment and to an endpoint.
    fn ruled(source: &str, payload: &str, document: &str) -> String {
        let envelope = format!(
            r#"{{"version":1,"id":"e1","source":"{source}","through_segment":true,"received_at":"2026-11-21T05:04:03.123Z","payload":{payload}}}"#
        );
        let on = [("SegmentWriteKeyParameter", "/s"), ("WebhookEndpoints", "crm")];
        let parameters = on.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let stack = Stack { parameters, ..Stack::default() };
        let feed = crate::feed::Feed::default();
        feed.change("e1", |event| {
            event.evidence.envelope = Some(envelope);
            event.evidence.blueprint = Blueprint::parse(document).unwrap();
            true
        });
        let view = View { stack: &stack, now: At::from_ms(0), shows_addresses: true, is_workbench: false };
        whole(&feed.event("e1").unwrap(), &view).into_string()
    }

    #[test]
    fn a_field_that_a_rule_changed_names_the_rule() {
        let envelope = r#"{"version":1,"id":"e1","source":"vero","received_at":"2026-11-21T05:04:03.123Z","payload":{"type":"opened","user":{"id":1,"email":"a@example.org"},"campaign":{"id":5,"channel":"email"}}}"#;
        let document = r#"{"version":2,"webhooks":{"segment":{"address":"hash","rules":[
            {"when":{"type":"sent"}},
            {"when":{"type":"opened"},"note":"ours","properties":{"set":{"team":"growth"},"omit":["campaign_id"]}}]},
            "vero_track":{"default":{"send":false}}}}"#;
        let on = [("SegmentWriteKeyParameter", "/s"), ("VeroAuthTokenParameter", "/v")];
        let parameters = on.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let stack = Stack { parameters, ..Stack::default() };
        let feed = crate::feed::Feed::default();
        feed.change("e1", |event| {
            event.evidence.envelope = Some(envelope.to_owned());
            event.evidence.blueprint = Blueprint::parse(document).unwrap();
            true
        });
        let page = |shows_addresses| {
            let view = View { stack: &stack, now: At::from_ms(0), shows_addresses, is_workbench: false };
            whole(&feed.event("e1").unwrap(), &view).into_string()
        };
        let leaves: Vec<String> = page(true).split("data-path=").map(str::to_owned).collect();
        let note = |path: &str| {
            let leaf = leaves.iter().find(|leaf| leaf.starts_with(&format!("\"segment/0#{path}\""))).unwrap();
            leaf.split("class=\"note\"").nth(1).map(str::to_owned).unwrap_or_default()
        };
        assert!(note("/properties/team").contains("by webhooks.segment.rules[1] (ours)"));
        assert!(note("/context/traits/email").contains("by webhooks.segment.address"));
        assert_eq!(note("/properties/campaign_channel"), "");
        assert!(page(true).contains(
            "Left out by <bdi>webhooks.segment.rules[1] (ours)</bdi>: <bdi>/properties/campaign_id"
        ));
        assert!(page(true).contains("Kept back by <bdi>webhooks.vero_track.default</bdi>"));
        assert!(!page(false).contains("webhooks.segment"), "nothing of an event that may not be shown");
    }

    #[test]
    fn what_holds_after_the_rules_is_told_from_them() {
        let opened =
            r#"{"type":"opened","user_agent":"Mozilla/5.0","user":{"id":1,"email":"a@example.org"}}"#;
        let document = r#"{"version":2,"webhooks":{"segment":{"omit":["/context/userAgent"],"address":"omit",
            "machine_open":true,"default":{"rename":"Mail Read"}}}}"#;
        let page = ruled("vero", opened, document);
        for told in [
            "<bdi>webhooks.segment.default</bdi> renames it; otherwise it is <b><bdi>Email Opened</bdi></b>",
            "Left out by <bdi>webhooks.segment.omit</bdi>: <bdi>/context/userAgent</bdi>",
            "Left out by <bdi>webhooks.segment.address</bdi>: <bdi>/context/traits/email</bdi>",
            "by webhooks.segment.machine_open",
        ] {
            assert!(page.contains(told), "{told}: {page}");
        }
        let twice = r#"{"version":2,"webhooks":{"segment":{"omit":["/context/traits"],"address":"omit"}}}"#;
        let page = ruled("vero", opened, twice);
        assert!(
            page.contains("Left out by <bdi>webhooks.segment.omit</bdi>: <bdi>/context/traits/email"),
            "{page}"
        );
        let track =
            r#"{"type":"track","event":"E","userId":"u","a":1,"properties":{"to":"a@example.org","plan":1}}"#;
        let document = r#"{"version":2,"webhooks":{"webhook":{"crm":{"omit":["/payload/a"],"address":"hash","rules":[
                {"when":{"type":"track"},"properties":{"omit":["plan"]}}]}}}}"#;
        let page = ruled("segment", track, document);
        assert!(
            page.contains("Left out by <bdi>webhooks.webhook.crm.omit</bdi>: <bdi>/payload/a</bdi>"),
            "{page}"
        );
        assert!(
            page.contains(
                "Left out by <bdi>webhooks.webhook.crm.rules[0]</bdi>: <bdi>/payload/properties/plan</bdi>"
            ),
            "{page}"
        );
        assert!(page.contains("by webhooks.webhook.crm.address"), "{page}");
    }

    #[test]
    fn an_event_without_consent_is_kept_back_by_the_rule_that_asks_for_it() {
        let document = r#"{"version":2,"webhooks":{"webhook":{"crm":{"rules":[{"consent":["ads"]}]}}}}"#;
        let page = ruled("segment", r#"{"type":"page","userId":"u"}"#, document);
        assert!(page.contains("Kept back by <bdi>webhooks.webhook.crm.rules[0]</bdi>"), "{page}");
    }
}
