//! What may be wrong with a stack. A row of [`checks`] is a pure function of the stack's state: a finding says what it is,
//! why it matters, and the one command that mends it.

mod alarms;
mod archive;
mod ingest;
mod queues;
mod secrets;
mod stack;
mod worker;

use serde::Serialize;

use crate::model::state::StackState;

/// Something that is wrong, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The row of the table.
    pub code: &'static str,
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// The one command that mends it, or where to look.
    pub mend: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Events are lost, or late, or soon will be.
    Fault,
    /// Nothing is lost yet, but somebody should look.
    Warning,
}

/// What a check says of a stack: what is wrong, and what mends it, each as often as there is something.
type Verdicts = Vec<(String, String)>;

/// A row of the table.
#[derive(Debug)]
pub struct Check {
    /// Its name in JSON and in docs/relay.md.
    pub code: &'static str,
    severity: Severity,
    why: &'static str,
    look: fn(&StackState) -> Verdicts,
}

/// Every check, in the order in which findings of one severity are shown.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        stack::CHECKS,
        ingest::CHECKS,
        worker::CHECKS,
        secrets::CHECKS,
        queues::CHECKS,
        alarms::CHECKS,
        archive::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Everything that is wrong with a stack, the worst first.
pub fn findings(state: &StackState) -> Vec<Finding> {
    let found = |check: &'static Check| {
        let verdicts = (check.look)(state).into_iter();
        verdicts.map(|(what, mend)| Finding {
            code: check.code,
            severity: check.severity,
            what,
            why: check.why,
            mend,
        })
    };
    let mut findings: Vec<Finding> = checks().flat_map(found).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// One verdict if something holds.
fn when(holds: bool, verdict: impl FnOnce() -> (String, String)) -> Verdicts {
    if holds { vec![verdict()] } else { Vec::new() }
}

#[cfg(test)]
mod tests;
