//! What an event's requests would be without the rules.

use std::collections::BTreeMap;

use relay_core::blueprint::Blueprint;
use relay_core::envelope::Envelope;
use serde_json::Value;

use super::json::Before;
use crate::links;
use crate::model::mapping::{Rules, requests, rules};
use crate::model::state::Stack;

/// What the rules of the blueprint do to a webhook.
#[derive(Default)]
pub(super) struct Ruled {
    pub(super) by_part: BTreeMap<String, Rules>,
    /// Without any rule.
    plain: Vec<(String, Value)>,
    /// By the rules, but with its addresses.
    with_addresses: Vec<(String, Value)>,
}

impl Ruled {
    pub(super) fn of(envelope: &Envelope<'_>, stack: &Stack, blueprint: &Blueprint) -> Self {
        let by_part = rules(envelope, stack, blueprint);
        if by_part.is_empty() {
            return Ruled::default();
        }
        Ruled {
            by_part,
            plain: requests(envelope, stack, &Blueprint::default()),
            with_addresses: requests(envelope, stack, &blueprint.with_addresses()),
        }
    }

    /// What a request of a part would be otherwise.
    pub(super) fn before(&self, part: &str, request: &str) -> Before<'_> {
        let named = |requests: &'_ [(String, Value)]| -> Option<usize> {
            requests.iter().position(|(name, _)| name == request)
        };
        match (self.by_part.get(part), named(&self.plain)) {
            (Some(rules), Some(at)) => Before::WithoutRules {
                plain: &self.plain[at].1,
                with_addresses: named(&self.with_addresses).map(|at| &self.with_addresses[at].1),
                rules,
            },
            _ => Before::Unknown,
        }
    }
}

/// The fields that a request would have had without the rules.
pub(super) fn left_out(before: Before<'_>, request: &Value) -> Vec<String> {
    let Before::WithoutRules { plain, .. } = before else { return Vec::new() };
    links::fields(plain).into_iter().filter(|pointer| request.pointer(pointer).is_none()).collect()
}
