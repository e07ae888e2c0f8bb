//! What is odd about the rules of a document, but no mistake.

use super::condition::{Field, Test};
use super::document::{DestinationRules, Rule, Scope, WebhookRules};
use crate::document::DocumentError;
use crate::envelope::Source;
use crate::first_party::{CallType, RESUBSCRIBE, UNSUBSCRIBE};
use crate::names::{Layout, documented};

impl WebhookRules {
    /// What is odd, but no mistake: rules that no event ever meets, and types that nobody documents.
    pub(crate) fn oddities(&self) -> Vec<DocumentError> {
        let mut found = self.unreachable();
        for (scope, DestinationRules { rules, .. }) in self.destinations() {
            for (place, rule) in rules.iter().enumerate() {
                let told = rule.oddities(&scope).map(|(field, problem)| {
                    DocumentError::new(format!("webhooks.{}.rules[{place}]{field}", scope.name), problem)
                });
                found.extend(told);
            }
        }
        found
    }

    /// Rules that no event ever meets because of those before, and why.
    fn unreachable(&self) -> Vec<DocumentError> {
        let mut found = Vec::new();
        for (scope, DestinationRules { rules, default, .. }) in self.destinations() {
            for (later, rule) in rules.iter().enumerate() {
                if let Some(earlier) =
                    rules[..later].iter().position(|earlier| earlier.takes_all_of(rule, &scope))
                {
                    found.push(DocumentError::new(
                        format!("webhooks.{}.rules[{later}]", scope.name),
                        format!("is never reached: rules[{earlier}] takes all that it is for"),
                    ));
                }
            }
            if let Some(all) = rules.iter().position(|rule| rule.takes_all_of(&Rule::default(), &scope))
                && *default != Rule::default()
            {
                found.push(DocumentError::new(
                    format!("webhooks.{}.default", scope.name),
                    format!("is never reached: rules[{all}] takes all events"),
                ));
            }
        }
        found
    }
}

impl Rule {
    fn takes_all_of(&self, other: &Rule, scope: &Scope) -> bool {
        let sources = [Source::Vero, Source::Segment];
        let mut of_other =
            sources.into_iter().filter(|source| scope.takes(*source) && other.may_meet(*source, scope));
        self.when.iter().all(|(field, test)| match (field, other.when.get(field)) {
            (_, Some(narrower)) => test.follows_from(narrower),
            (Field::Source, None) => of_other.all(|source| test.holds_of(source.as_str())),
            (_, None) => false,
        })
    }

    /// What is odd about it: the field, and what.
    fn oddities(&self, scope: &Scope) -> impl Iterator<Item = (&'static str, &'static str)> {
        let meets = |source| scope.takes(source) && self.may_meet(source, scope);
        let is_unknown = |kind| documented(kind).is_none() && !scope.has_call(kind);
        let [of_vero, of_segment] = [Source::Vero, Source::Segment].map(meets);
        let unknown = self.types().any(is_unknown).then_some(match scope.takes_first_party {
            true => (".when.type", "names a type that neither Vero nor Segment's spec has, in lower case"),
            false => (".when.type", "names a type that Vero does not document"),
        });
        let never = (!of_vero && !of_segment).then_some((".when", "never holds: no event meets all of it"));
        let idle = of_vero && !of_segment && !self.consent.is_empty();
        let idle =
            idle.then_some((".consent", "does nothing: a webhook says nothing about consent, and goes"));
        [unknown, never, idle].into_iter().flatten()
    }

    /// The types that its conditions name; none where they name none.
    fn types(&self) -> impl Iterator<Item = &str> {
        self.when.get(&Field::Type).into_iter().flat_map(Test::texts)
    }

    /// Whether an event that came so can meet all conditions.
    fn may_meet(&self, source: Source, scope: &Scope) -> bool {
        let needs_campaign = { self.when.iter() }
            .any(|(field, test)| matches!(field, Field::Property(_)) && *test != Test::Exists(false));
        let of_webhook = |kind: &str| match documented(kind) {
            Some(row) => row.layout == Layout::Message || !needs_campaign,
            // Vero may have it one day.
            None => !scope.has_call(kind),
        };
        let is_type = |test: &Test| match (source, test) {
            (Source::Segment, test) => call_types().any(|call| test.holds_of(call)),
            (Source::Vero, Test::OneOf(types)) => types.iter().any(|kind| of_webhook(kind)),
            (Source::Vero, _) => true,
        };
        let is_source = |test: &Test| test.holds_of(source.as_str());
        self.when.get(&Field::Source).is_none_or(is_source)
            && !(needs_campaign && source == Source::Segment)
            && self.when.get(&Field::Type).is_none_or(is_type)
            && !self.when.values().any(Test::never_holds)
    }
}

impl Scope {
    fn takes(&self, source: Source) -> bool {
        source == Source::Vero || self.takes_first_party
    }

    /// Whether this is the type of a call that goes there, as conditions spell it.
    fn has_call(&self, kind: &str) -> bool {
        self.takes_first_party && call_types().any(|call| call == kind)
    }
}

/// The types that a first-party event may have.
fn call_types() -> impl Iterator<Item = &'static str> {
    CallType::names().chain([UNSUBSCRIBE, RESUBSCRIBE])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blueprint::Blueprint;

    #[test]
    fn a_default_that_is_never_reached_is_told() {
        let odd = |segment: &str| {
            let document = format!(r#"{{"version":2,"webhooks":{{"segment":{segment}}}}}"#);
            let oddities = Blueprint::parse(&document).unwrap().oddities();
            oddities.iter().map(|odd| format!("{} {}", odd.path, odd.problem)).collect::<Vec<_>>()
        };
        assert_eq!(
            odd(r#"{"rules":[{"when":{"type":"sent"}},{"send":false}],"default":{"rename":"A"}}"#),
            ["webhooks.segment.default is never reached: rules[1] takes all events"]
        );
        assert!(odd(r#"{"rules":[{"send":false}],"default":{}}"#).is_empty());
        assert!(odd(r#"{"rules":[{"when":{"type":"sent"}}],"default":{"send":false}}"#).is_empty());
    }

    #[test]
    fn rules_that_are_never_reached_are_told() {
        let rules = r#"[{"when":{"type":["sent","opened"]}},{"when":{"type":"opened","channel":"sms"}},
            {"when":{"user_id":{"prefix":"a"}}},{"when":{"user_id":["ab","ac"]}},{"when":{"user_id":["ab","b"]}},
            {"when":{"/x":{"exists":true}}},{"when":{"/x":5}},{"when":{"/x":{"exists":false}}},
            {"when":{"/x":{"exists":false},"type":"y"}},{"when":{"user_id":{"prefix":"ab"}}},{},{"when":{"type":"x"}}]"#;
        let document = format!(r#"{{"version":2,"webhooks":{{"segment":{{"rules":{rules}}}}}}}"#);
        let oddities = Blueprint::parse(&document).unwrap().oddities();
        let (types, oddities): (Vec<_>, Vec<_>) =
            oddities.iter().partition(|oddity| oddity.path.ends_with("when.type"));
        let unknown: Vec<&str> = types.iter().map(|oddity| &*oddity.path).collect();
        assert_eq!(unknown, [8, 11].map(|place| format!("webhooks.segment.rules[{place}].when.type")));
        let told: Vec<(&str, &str)> = oddities
            .iter()
            .map(|oddity| (&*oddity.path, oddity.problem.split(": ").nth(1).unwrap_or_default()))
            .collect();
        let taken = [
            ("rules[0]", 1),
            ("rules[2]", 3),
            ("rules[5]", 6),
            ("rules[7]", 8),
            ("rules[2]", 9),
            ("rules[10]", 11),
        ];
        let takes = |rule| taken.contains(&rule);
        assert_eq!(told.len(), taken.len(), "{told:?}");
        for (path, why) in told {
            let place =
                path.trim_start_matches("webhooks.segment.rules[").trim_end_matches(']').parse().unwrap();
            assert!(takes((why.split(' ').next().unwrap(), place)), "{path}: {why}");
        }
    }

    #[test]
    fn a_rule_for_a_source_takes_all_that_comes_from_there() {
        let told = |rules: &str| {
            let document = format!(r#"{{"version":2,"webhooks":{{"webhook":{{"crm":{rules}}}}}}}"#);
            let oddities = Blueprint::parse(&document).unwrap().oddities();
            let at = |odd: DocumentError| odd.path.trim_start_matches("webhooks.webhook.crm.").to_owned();
            oddities.into_iter().map(at).collect::<Vec<_>>()
        };
        let of_segment = r#"{"when":{"source":"segment"}}"#;
        for (rules, path) in [
            (
                format!(r#"{{"rules":[{of_segment},{{"when":{{"type":"track","/event":"A"}}}}]}}"#),
                Some("rules[1]"),
            ),
            (format!(r#"{{"rules":[{of_segment},{{"when":{{"type":"opened"}}}},{{}}]}}"#), None),
            (
                r#"{"rules":[{"when":{"source":["vero","segment"]}}],"default":{"send":false}}"#.to_owned(),
                Some("default"),
            ),
            (format!(r#"{{"rules":[{of_segment}],"default":{{"send":false}}}}"#), None),
        ] {
            assert_eq!(told(&rules), path.into_iter().collect::<Vec<_>>(), "{rules}");
        }
    }

    #[test]
    fn rules_that_never_hold_are_told() {
        let told = |destination: &str, when: &str, more: &str| {
            let rules = format!(r#"{{"rules":[{{"when":{when}{more}}}]}}"#);
            let document = match destination {
                "webhook" => format!(r#"{{"version":2,"webhooks":{{"webhook":{{"crm":{rules}}}}}}}"#),
                destination => format!(r#"{{"version":2,"webhooks":{{"{destination}":{rules}}}}}"#),
            };
            let oddities = Blueprint::parse(&document).unwrap().oddities();
            oddities.iter().map(|odd| format!("{} {}", odd.path, odd.problem)).collect::<Vec<_>>()
        };
        let never = |destination: &str| {
            [format!("webhooks.{destination}.rules[0].when never holds: no event meets all of it")]
        };
        for (destination, scope, when) in [
            ("segment", "segment", r#"{"type":["user_created","user_updated"],"channel":"sms"}"#),
            ("segment", "segment", r#"{"type":"user_created","campaign_id":{"exists":true}}"#),
            ("segment", "segment", r#"{"campaign_name":{"prefix":" EU"}}"#),
            ("segment", "segment", r#"{"source":"segment"}"#),
            ("segment", "segment", r#"{"source":"Vero"}"#),
            ("webhook", "webhook.crm", r#"{"type":["track","page"],"campaign_tag":"x"}"#),
            ("webhook", "webhook.crm", r#"{"source":"vero","type":"track"}"#),
            ("webhook", "webhook.crm", r#"{"source":"segment","type":"sent"}"#),
            ("webhook", "webhook.crm", r#"{"source":"segment","channel":"sms"}"#),
            ("webhook", "webhook.crm", r#"{"source":["sdk","segmnt"]}"#),
            ("webhook", "webhook.crm", r#"{"source":"segment","type":{"prefix":"open"}}"#),
            ("webhook", "webhook.crm", r#"{"source":"segment","type":{"exists":false}}"#),
        ] {
            assert_eq!(told(destination, when, ""), never(scope), "{when}");
        }
        for (destination, when, problem) in [
            ("segment", r#"{"type":"track","channel":"sms"}"#, "Vero does not document"),
            ("segment", r#"{"type":"snoozed","channel":"sms"}"#, "Vero does not document"),
            ("webhook", r#"{"type":"snoozed","channel":"sms"}"#, "neither Vero nor Segment's spec"),
            ("webhook", r#"{"type":["Track","track"]}"#, "in lower case"),
        ] {
            let told = told(destination, when, "");
            assert!(told.len() == 1 && told[0].contains(problem), "{when}: {told:?}");
        }
        let consent = r#","consent":["ads"]"#;
        for when in [
            r#"{"type":"opened"}"#,
            r#"{"type":{"prefix":"user_"}}"#,
            r#"{"source":"vero"}"#,
            r#"{"channel":"sms"}"#,
        ] {
            let idle = "webhooks.webhook.crm.rules[0].consent does nothing: a webhook says nothing about consent, and goes";
            assert_eq!(told("webhook", when, consent), [idle]);
        }
        for (destination, when, consent) in [
            ("segment", r#"{"type":"user_created","user_id":"1"}"#, ""),
            ("segment", r#"{"type":"user_created","channel":{"exists":false}}"#, ""),
            ("segment", r#"{"type":["user_created","sent"],"channel":"sms"}"#, ""),
            ("segment", r#"{"type":{"prefix":"user"},"channel":"sms"}"#, ""),
            ("segment", r#"{"source":"vero","campaign_name":{"prefix":"EU "}}"#, ""),
            ("webhook", r#"{"type":["track","sent"]}"#, consent),
            ("webhook", r#"{"type":["unsubscribe","resubscribe"]}"#, ""),
            ("webhook", r#"{"source":"segment","/event":"A"}"#, consent),
            ("webhook", r#"{"source":{"prefix":"se"}}"#, consent),
            ("webhook", r#"{"type":{"prefix":"t"}}"#, consent),
            ("segment", r#"{"type":{"exists":false},"channel":"sms"}"#, ""),
            ("webhook", "{}", consent),
        ] {
            assert_eq!(told(destination, when, consent), [""; 0], "{when}");
        }
    }
}
