//! The parts of destinations that an archived event can go to again.

use relay_core::destinations::{self, Part};
use relay_core::envelope::Source;

pub fn replayable() -> impl Iterator<Item = &'static Part> {
    destinations::ALL.iter().filter(|destination| destination.is_replayable).flat_map(|one| one.parts)
}

/// A set of replayable parts: a bit for each, in the order of the table. A result of Athena may need a million sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartSet(u32);

impl PartSet {
    /// The part of this name. `None`: no replay goes there.
    pub fn named(name: &str) -> Option<Self> {
        Some(Self::of(|part| part.name == name)).filter(|parts| !parts.is_empty())
    }

    pub fn of_source(source: Source) -> Self {
        Self::of(|part| part.sources.contains(&source))
    }

    fn of(is_in: impl Fn(&Part) -> bool) -> Self {
        let bits = replayable().enumerate().filter(|(_, part)| is_in(part)).map(|(index, _)| 1 << index);
        PartSet(bits.fold(0, |set, bit| set | bit))
    }

    pub fn and(self, other: PartSet) -> Self {
        PartSet(self.0 & other.0)
    }

    pub fn or(self, other: PartSet) -> Self {
        PartSet(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// For an envelope.
    pub fn names(self) -> Vec<String> {
        let parts = replayable().enumerate().filter(|(index, _)| self.0 & (1 << index) != 0);
        parts.map(|(_, part)| part.name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_parts_that_belong_together() {
        assert_eq!(PartSet::of_source(Source::Vero).names(), ["segment", "vero_track"]);
        assert_eq!(PartSet::of_source(Source::Segment).names(), ["vero_track", "vero_tags"]);
        let segment = PartSet::named("segment").unwrap();
        assert!(segment.and(PartSet::of_source(Source::Segment)).is_empty());
        assert_eq!(PartSet::named("archive"), None);
    }

    #[test]
    fn the_page_for_operators_names_every_part() {
        let names: Vec<String> = replayable().map(|part| format!("`{}`", part.name)).collect();
        let row = format!("| `destinations` | some of {}; required |", names.join(", "));
        assert!(include_str!("../../../../docs/archive.md").contains(&row), "{row}");
    }
}
