//! What an archived event can go to again.

use relay_core::destinations::{self, Part, owed_to};
use relay_core::envelope::Source;

/// Every name to which a replay can go: parts of the table, and these endpoints.
pub fn replayable(endpoints: &[String]) -> Vec<String> {
    let parts = destinations::ALL.iter().filter(|row| row.is_replayable).flat_map(|row| row.parts);
    // Of endpoints the part alone is no name.
    let names = parts.map(|part| part.name).filter(|name| owed_to(name).is_some());
    names.map(str::to_owned).chain(endpoints.iter().cloned()).collect()
}

/// The names to which a replay is to go, each with its part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<(String, &'static Part)>);

/// Some of [`Names`]: a bit for each. A result of Athena may need a million sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameSet(u64);

impl Names {
    /// As many as a set can hold.
    pub const MOST: usize = u64::BITS as usize;

    /// `None`: no replay goes to one of them.
    pub fn parse(names: &[String], known: &[String]) -> Option<Self> {
        let name = |name: &String| Some((name.clone(), owed_to(name)?.1));
        let mut names: Vec<&String> = names.iter().collect();
        // In the order of the table.
        names.sort_by_key(|name| known.iter().position(|known| known == *name));
        names.dedup();
        names.iter().all(|name| known.contains(name)).then_some(())?;
        names.into_iter().map(name).collect::<Option<_>>().map(Names)
    }

    /// All of them.
    pub fn all(&self) -> NameSet {
        self.set(|_, _| true)
    }

    /// Those whose part takes events of this source.
    pub fn of_source(&self, source: Source) -> NameSet {
        self.set(|_, part| part.sources.contains(&source))
    }

    /// The one of this name; empty if it is not among them.
    pub fn named(&self, name: &str) -> NameSet {
        self.set(|own, _| own == name)
    }

    fn set(&self, is_in: impl Fn(&str, &Part) -> bool) -> NameSet {
        let names = self.0.iter().enumerate().filter(|(_, (name, part))| is_in(name, part));
        NameSet(names.fold(0, |set, (index, _)| set | 1 << index))
    }

    /// For an envelope.
    pub fn names(&self, set: NameSet) -> Vec<String> {
        let names = self.0.iter().enumerate().filter(|(index, _)| set.0 & (1 << index) != 0);
        names.map(|(_, (name, _))| name.clone()).collect()
    }
}

impl NameSet {
    pub fn and(self, other: NameSet) -> Self {
        NameSet(self.0 & other.0)
    }

    pub fn or(self, other: NameSet) -> Self {
        NameSet(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str], endpoints: &[&str]) -> Option<Names> {
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        Names::parse(&owned(names), &replayable(&owned(endpoints)))
    }

    #[test]
    fn sources_and_parts_that_belong_together() {
        let all = ["webhook:crm", "segment", "vero_tags", "vero_track", "segment"];
        let wanted = names(&all, &["webhook:crm"]).unwrap();
        let of = |source| wanted.names(wanted.of_source(source));
        assert_eq!(of(Source::Vero), ["segment", "vero_track", "webhook:crm"]);
        assert_eq!(of(Source::Segment), ["vero_track", "vero_tags", "webhook:crm"]);
        assert!(wanted.named("segment").and(wanted.of_source(Source::Segment)).is_empty());
        assert!(wanted.named("archive").is_empty());
        for unknown in ["archive", "webhook", "webhook:other"] {
            assert_eq!(names(&["segment", unknown], &["webhook:crm"]), None, "{unknown}");
        }
    }

    #[test]
    fn the_page_for_operators_names_every_part() {
        let names: Vec<String> =
            replayable(&["webhook:<name>".to_owned()]).iter().map(|name| format!("`{name}`")).collect();
        let row = format!("| `destinations` | some of {}; required |", names.join(", "));
        assert!(include_str!("../../../../docs/archive.md").contains(&row), "{row}");
    }
}
