//! Less and less of a scenario that fails, as long as it fails in the same way.

use anyhow::Result;

use crate::play::{Report, play};
use crate::scenario::{SECOND, Scenario, Trouble};

/// The least of a failing scenario that was found, with its report and story.
///
/// # Errors
/// If a function panics.
pub fn shrink(scenario: Scenario, report: &Report) -> Result<(Scenario, Report)> {
    let kind = report.violations.first().map(|violation| kind(violation)).unwrap_or_default();
    let mut failing = Failing { scenario, kind };
    loop {
        let before = failing.size();
        for count in [failing.scenario.sends.len() / 2, 4, 1] {
            failing.leave_out(|scenario| &mut scenario.sends, count)?;
        }
        failing.leave_out(|scenario| &mut scenario.troubles, 1)?;
        failing.leave_out(|scenario| &mut scenario.operations, 1)?;
        if failing.size() == before {
            break;
        }
    }
    failing.shorten()?;
    let report = play(failing.scenario.clone(), true)?;
    Ok((failing.scenario, report))
}

/// What a violation says, but for times, numbers and ids.
fn kind(violation: &str) -> String {
    let words = violation.split_whitespace();
    words.filter(|word| !word.contains(|char: char| char.is_ascii_digit())).collect()
}

/// A scenario with a violation of this kind.
struct Failing {
    scenario: Scenario,
    kind: String,
}

impl Failing {
    fn size(&self) -> usize {
        let Scenario { sends, troubles, operations, .. } = &self.scenario;
        sends.len() + troubles.len() + operations.len()
    }

    /// Changes the scenario, if it fails in the same way then; whether it does.
    fn change(&mut self, change: impl Fn(&mut Scenario)) -> Result<bool> {
        let mut changed = self.scenario.clone();
        change(&mut changed);
        let violations = play(changed.clone(), false)?.violations;
        let fails = violations.iter().any(|violation| kind(violation) == self.kind);
        if fails {
            self.scenario = changed;
        }
        Ok(fails)
    }

    /// Leaves out so many of a list at a time, wherever that can be.
    fn leave_out<T>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<T>, count: usize) -> Result<()> {
        let mut at = 0;
        while count > 0 && at < list(&mut self.scenario).len() {
            let fails = self.change(|scenario| {
                let items = list(scenario);
                items.drain(at..(at + count).min(items.len()));
            })?;
            at += if fails { 0 } else { count };
        }
        Ok(())
    }

    /// Halves each trouble again and again, and ends the day after what happens last.
    fn shorten(&mut self) -> Result<()> {
        for which in 0..self.scenario.troubles.len() {
            let halve = |scenario: &mut Scenario| {
                let Trouble { from, until, .. } = &mut scenario.troubles[which];
                *until = *from + (*until - *from) / 2;
            };
            let length = |trouble: &Trouble| trouble.until - trouble.from;
            while length(&self.scenario.troubles[which]) > SECOND && self.change(halve)? {}
        }
        let Scenario { sends, troubles, operations, .. } = &self.scenario;
        let times = sends.iter().map(|(at, _)| *at).chain(operations.iter().map(|(at, _)| *at));
        let end = times.chain(troubles.iter().map(|trouble| trouble.until)).max().unwrap_or_default();
        self.change(|scenario| scenario.end = end)?;
        Ok(())
    }
}
