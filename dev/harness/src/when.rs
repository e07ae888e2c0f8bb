//! Which requests a fault meets.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::sync::lock;

type Predicate = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// Picks requests: how many of those that match its conditions.
#[derive(Clone)]
pub struct When {
    schedule: Schedule,
    path: Option<String>,
    operations: Vec<String>,
    queue: Option<String>,
    body: Option<Predicate>,
}

#[derive(Clone, Copy)]
enum Schedule {
    Always,
    First(usize),
    Every(usize),
}

impl When {
    fn new(schedule: Schedule) -> Self {
        Self { schedule, path: None, operations: Vec::new(), queue: None, body: None }
    }

    /// Every request that matches.
    pub fn always() -> Self {
        Self::new(Schedule::Always)
    }

    /// The first `count` that match.
    pub fn first(count: usize) -> Self {
        Self::new(Schedule::First(count))
    }

    /// Each `nth` of those that match: with 3 the third, the sixth and so on.
    pub fn every(nth: usize) -> Self {
        Self::new(Schedule::Every(nth.max(1)))
    }

    /// Only where the path starts so.
    pub fn path(mut self, prefix: &str) -> Self {
        self.path = Some(prefix.to_owned());
        self
    }

    /// Only this AWS operation, such as `SendMessage`; said again, that one too.
    pub fn operation(mut self, name: &str) -> Self {
        self.operations.push(name.to_owned());
        self
    }

    /// Only requests about the queue of this name.
    pub fn queue(mut self, name: &str) -> Self {
        self.queue = Some(name.to_owned());
        self
    }

    /// Only where this holds of the parsed body; a body that is no JSON is null.
    pub fn body(mut self, holds: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.body = Some(Arc::new(holds));
        self
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.path.as_ref().is_none_or(|prefix| subject.path.starts_with(prefix.as_str()))
            && (self.operations.is_empty() || self.operations.iter().any(|name| name == subject.operation))
            && self.queue.as_ref().is_none_or(|queue| Some(queue.as_str()) == subject.queue)
            && self.body.as_ref().is_none_or(|holds| holds(subject.body))
    }
}

/// What there is to know of a request when its fault is picked.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) queue: Option<&'a str>,
    pub(crate) body: &'a Value,
}

struct Rule<F> {
    when: When,
    seen: usize,
    fault: F,
}

/// Faults and whom they meet; a later rule comes before an earlier one.
pub(crate) struct Rules<F>(Mutex<Vec<Rule<F>>>);

impl<F> Default for Rules<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Clone> Rules<F> {
    pub(crate) fn add(&self, fault: F, when: When) {
        lock(&self.0).push(Rule { when, seen: 0, fault });
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn pick(&self, subject: &Subject<'_>) -> Option<F> {
        for rule in lock(&self.0).iter_mut().rev().filter(|rule| rule.when.matches(subject)) {
            rule.seen += 1;
            let hit = match rule.when.schedule {
                Schedule::Always => true,
                Schedule::First(count) => rule.seen <= count,
                Schedule::Every(nth) => rule.seen.is_multiple_of(nth),
            };
            if hit {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}
