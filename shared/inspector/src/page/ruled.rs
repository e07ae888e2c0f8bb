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
