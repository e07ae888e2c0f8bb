//! How far a replay has come, in a form that a continuation carries.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use relay_core::envelope::{Envelope, EventId};
use relay_core::first_party::CallType;
use relay_core::names;
use relay_platform::world;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::archive::{ArchiveObject, loggable_key};

/// So many types are counted by name, and the others together: senders may send any number of types.
const MAX_TYPES: usize = 100;
const OTHER_TYPES: &str = "(other)";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayProgress {
    pub run: ReplayId,
    /// Everything before it is on the queue; `None`: nothing is.
    pub cursor: Option<ArchiveCursor>,
    #[serde(default)]
    pub counts: ReplayCounts,
}

impl ReplayProgress {
    pub fn new() -> Self {
        ReplayProgress { run: ReplayId::new(), cursor: None, counts: ReplayCounts::default() }
    }

    /// Whether an earlier invocation may have returned this. Whoever invokes brings it, and it is logged.
    pub fn is_valid(&self) -> bool {
        self.cursor.as_ref().is_none_or(ArchiveCursor::is_valid) && self.counts.is_valid()
    }

    /// The same, as a log may have it.
    pub fn redacted(&self) -> Self {
        ReplayProgress {
            cursor: self.cursor.as_ref().map(ArchiveCursor::redacted),
            counts: self.counts.redacted(),
            ..self.clone()
        }
    }
}

/// Where a replay goes on: everything before this has been done. Objects are read in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveCursor {
    /// The key of the object that was being read.
    pub object: String,
    /// If the object has another ETag now, users were forgotten, and none of its lines counts as done.
    pub etag: Option<String>,
    /// How many of its lines are done.
    pub lines: u64,
}

impl ArchiveCursor {
    fn is_valid(&self) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'"' | b'-' | b'/');
        loggable_key(&self.object) == self.object && self.etag.iter().all(|etag| etag.bytes().all(is_plain))
    }

    fn redacted(&self) -> Self {
        ArchiveCursor { object: loggable_key(&self.object).to_owned(), ..self.clone() }
    }

    pub fn is_beyond_prefix(&self, prefix: &str) -> bool {
        !self.object.starts_with(prefix) && self.object.as_str() > prefix
    }

    pub fn is_beyond(&self, object: &ArchiveObject) -> bool {
        self.object.as_str() > object.key()
    }

    pub fn lines_done(&self, object: &ArchiveObject) -> u64 {
        match self.object == object.key() && self.etag.as_deref() == object.etag() {
            true => self.lines,
            false => 0,
        }
    }
}

/// The names are those of the response (docs/archive.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayCounts {
    /// Lines of the archive that were read.
    pub scanned: u64,
    /// Events that were asked for.
    pub matched: u64,
    /// Events that are on the queue.
    pub sent: u64,
    /// `matched` by type.
    pub by_type: BTreeMap<String, u64>,
    /// Lines that are no rows of the archive, and objects of which the rest cannot be read.
    pub unreadable: u64,
}

impl ReplayCounts {
    fn is_valid(&self) -> bool {
        self.by_type.keys().all(|kind| is_plain(kind) || kind == OTHER_TYPES)
    }

    pub fn count_match(&mut self, kind: Option<&str>) {
        self.matched += 1;
        let kind = kind.filter(|kind| is_plain(kind)).unwrap_or(OTHER_TYPES);
        let kind = match self.by_type.len() < MAX_TYPES || self.by_type.contains_key(kind) {
            true => kind,
            false => OTHER_TYPES,
        };
        *self.by_type.entry(kind.to_owned()).or_default() += 1;
    }

    /// The same, as a log may have it: types that are not known here are counted together.
    pub fn redacted(&self) -> Self {
        let mut by_type = BTreeMap::new();
        for (kind, count) in &self.by_type {
            let kind = if is_known(kind) { kind } else { OTHER_TYPES };
            *by_type.entry(kind.to_owned()).or_default() += count;
        }
        ReplayCounts { by_type, ..self.clone() }
    }
}

/// Whether a type may stand in a response: anything else could be an address.
fn is_plain(kind: &str) -> bool {
    EventId::parse(kind).is_some()
}

/// Whether a type may stand in a log line.
fn is_known(kind: &str) -> bool {
    names::documented(kind).is_some() || CallType::named(kind).is_some() || kind == OTHER_TYPES
}

/// The id of a replay. Its continuations keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplayId(Uuid);

impl ReplayId {
    pub fn new() -> Self {
        let now = world::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut random = [0; 10];
        random
            .copy_from_slice(&[world::random().to_be_bytes(), world::random().to_be_bytes()].concat()[..10]);
        ReplayId(uuid::Builder::from_unix_timestamp_millis(now, &random).into_uuid())
    }

    /// The new id of an event in this replay: a UUID v7 of the replay's time, and then bits of a hash. An event that one
    /// replay sends twice, because an invocation was killed, has the same id both times, so that destinations recognise it.
    pub fn new_id(self, old: &Envelope<'_>) -> EventId {
        let hash = Sha256::new().chain_update(self.0.as_bytes()).chain_update(old.id.as_str());
        let digest = hash.chain_update(old.payload.text()).finalize();
        let mut random = [0; 10];
        random.iter_mut().zip(&digest).for_each(|(byte, hash)| *byte = *hash);
        let milliseconds = (self.0.as_u128() >> 80) as u64;
        EventId::from_uuid(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(object: &str) -> ArchiveCursor {
        ArchiveCursor { object: object.to_owned(), etag: Some("\"1\"".to_owned()), lines: 7 }
    }

    #[test]
    fn prefixes_before_a_cursor_are_done() {
        let cursor = cursor("data/day=2026-11-20/source=vero/b");
        for (prefix, is_done) in [
            ("data/day=2026-11-19/source=vero/", true),
            ("data/day=2026-11-20/source=segment/", true),
            ("data/day=2026-11-20/source=vero/", false),
            ("data/day=2026-11-21/source=segment/", false),
        ] {
            assert_eq!(cursor.is_beyond_prefix(prefix), is_done, "{prefix}");
        }
    }

    #[test]
    fn new_ids_are_of_version_7_and_the_same_in_one_replay() {
        const OLD: &str = "01935f3a-0000-7000-8000-000000000001";
        let body = |id: &str, payload: &str| {
            let head = r#"{"version":1,"source":"vero","received_at":"2026-11-21T05:04:03.123Z""#;
            format!(r#"{head},"id":"{id}","payload":{payload}}}"#)
        };
        let run = ReplayId::new();
        let new_id = |run: ReplayId, id: &str, payload: &str| {
            run.new_id(&Envelope::parse(&body(id, payload)).unwrap())
        };
        let new = new_id(run, OLD, "{}");
        assert_eq!(Uuid::parse_str(new.as_str()).unwrap().get_version_num(), 7);
        assert_eq!(&new.as_str()[..13], &run.0.to_string()[..13], "of the replay's time");
        assert_eq!(new, new_id(run, OLD, "{}"));
        assert_ne!(new.as_str(), OLD);
        assert_ne!(new, new_id(run, "e2", "{}"));
        assert_ne!(new, new_id(run, OLD, r#"{"type":"track"}"#), "mappings share ids");
        assert_ne!(new, new_id(ReplayId::new(), OLD, "{}"));
    }

    #[test]
    fn types_are_counted_up_to_a_bound_and_never_with_an_address() {
        let mut counts = ReplayCounts::default();
        (0..200).for_each(|number| counts.count_match(Some(&format!("type{number}"))));
        counts.count_match(Some("a@b.c"));
        counts.count_match(None);
        assert_eq!((counts.by_type.len(), counts.by_type[OTHER_TYPES], counts.matched), (101, 102, 202));
    }
}
