//! Where an archived event can go again.

use relay_core::envelope::Source;

/// A destination that the archive can be replayed to. The archive itself is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Segment,
    VeroTrack,
    VeroTags,
}

impl Destination {
    pub const ALL: [Destination; 3] = [Destination::Segment, Destination::VeroTrack, Destination::VeroTags];

    pub fn as_str(self) -> &'static str {
        match self {
            Destination::Segment => "segment",
            Destination::VeroTrack => "vero_track",
            Destination::VeroTags => "vero_tags",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Destination::ALL.into_iter().find(|destination| destination.as_str() == name)
    }
}

/// A set of destinations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destinations(u8);

impl Destinations {
    pub fn of(destinations: impl IntoIterator<Item = Destination>) -> Self {
        let bits = destinations.into_iter().map(|destination| 1 << destination as u8);
        Destinations(bits.fold(0, |all, bit| all | bit))
    }

    /// Those that take events of a source: first-party events do not go back to Segment, and webhooks bring no tags.
    pub fn of_source(source: Source) -> Self {
        match source {
            Source::Vero => Destinations::of([Destination::Segment, Destination::VeroTrack]),
            Source::Segment => Destinations::of([Destination::VeroTrack, Destination::VeroTags]),
        }
    }

    pub fn and(self, other: Destinations) -> Self {
        Destinations(self.0 & other.0)
    }

    pub fn or(self, other: Destinations) -> Self {
        Destinations(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn names(self) -> Vec<String> {
        let has = |destination: &Destination| self.0 & (1 << *destination as u8) != 0;
        Destination::ALL.into_iter().filter(has).map(|destination| destination.as_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_destinations_that_belong_together() {
        let all = Destinations::of(Destination::ALL);
        let of = |source| all.and(Destinations::of_source(source)).names();
        assert_eq!(of(Source::Vero), ["segment", "vero_track"]);
        assert_eq!(of(Source::Segment), ["vero_track", "vero_tags"]);
        let segment = Destinations::of([Destination::Segment]);
        assert!(segment.and(Destinations::of_source(Source::Segment)).is_empty());
    }
}
