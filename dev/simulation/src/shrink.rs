//! Less and less of a scenario that fails, as long as it fails.

use anyhow::Result;

use crate::play::{Report, play};
use crate::scenario::Scenario;

/// The least of a failing scenario that was found, with its report and story.
///
/// # Errors
/// If a function panics.
pub fn shrink(scenario: &Scenario) -> Result<(Scenario, Report)> {
    let mut least = scenario.clone();
    loop {
        let before = size(&least);
        for count in [least.sends.len() / 2, 4, 1] {
            least = without_any(least, |scenario| &mut scenario.sends, count)?;
        }
        least = without_any(least, |scenario| &mut scenario.troubles, 1)?;
        least = without_any(least, |scenario| &mut scenario.operations, 1)?;
        if size(&least) == before {
            break;
        }
    }
    let report = play(least.clone(), true)?;
    Ok((least, report))
}

fn size(scenario: &Scenario) -> usize {
    scenario.sends.len() + scenario.troubles.len() + scenario.operations.len()
}

/// Leaves out so many of a list at a time, wherever the scenario fails without them.
fn without_any<T: Clone>(
    mut scenario: Scenario,
    list: impl Fn(&mut Scenario) -> &mut Vec<T>,
    count: usize,
) -> Result<Scenario> {
    let mut at = 0;
    while count > 0 && at < list(&mut scenario).len() {
        let mut less = scenario.clone();
        let items = list(&mut less);
        items.drain(at..(at + count).min(items.len()));
        if play(less.clone(), false)?.violations.is_empty() {
            at += count;
        } else {
            scenario = less;
        }
    }
    Ok(scenario)
}
