//! The table of destinations: a row says all that the worker, replay and the configuration know of one.
//!
//! A new destination is a row here and a file beside the others in the worker (`functions/worker/src/destination/`), where
//! `mod.rs` names the file and `runners.rs` the type.
//! Every destination can be paused (`PAUSED_DESTINATIONS`), has a breaker of its own, and metrics under the names of
//! its parts.

use std::collections::BTreeSet;

use crate::envelope::Source;

/// A place that events go to.
#[derive(Debug)]
pub struct DestinationRow {
    /// Its name in envelopes, settings, metrics and logs, in snake_case.
    pub name: &'static str,
    /// What of an event may be owed alone. The first has the destination's name, and is what a new event is owed.
    pub parts: &'static [Part],
    /// The setting that switches it on, and where it is.
    pub access: Access,
    /// What is archived can be sent to it again.
    pub is_replayable: bool,
}

/// A part of a delivery that may be owed alone, under a name of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in envelopes, metrics and logs, in snake_case.
    pub name: &'static str,
    /// The sources whose events can be owed to it.
    pub sources: &'static [Source],
}

/// How a destination is reached.
#[derive(Debug)]
pub enum Access {
    /// An HTTP API. Its key switches the destination on.
    Api {
        /// The variable that holds the key, or with `_PARAMETER` names the SSM parameter that does.
        key: Variable,
        /// The variable that names the base URL.
        endpoint: Variable,
        /// The base URL where that variable is not set.
        default_endpoint: &'static str,
    },
    /// An Amazon Data Firehose delivery stream. Its name switches the destination on.
    Stream {
        /// The variable that names the stream.
        name: Variable,
    },
    /// Several HTTP endpoints of the customer's own, each a destination by itself: `webhook:crm`.
    Endpoints {
        /// The variable that names those that are on.
        names: Variable,
        /// The variable that holds their settings, or with `_PARAMETER` names the SSM parameter that does.
        settings: Variable,
    },
}

/// A variable of the worker's environment.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it must look like, in words that follow "It must be".
    pub form: &'static str,
    /// A value that would do.
    pub example: &'static str,
}

/// The form of a base URL.
const BASE_URL: &str = "a base URL with https (or http on loopback), without credentials or query";

/// The form of a delivery stream's name (Firehose API reference, CreateDeliveryStream).
pub const STREAM_NAME: &str = "the name of a Firehose delivery stream: 1 to 64 characters of [A-Za-z0-9_.-]";

/// Every destination, in the order in which they are listed to operators.
pub static ALL: [DestinationRow; 4] = [
    DestinationRow {
        name: "segment",
        // First-party events come from Segment, or from code that could send them there itself.
        parts: &[Part { name: "segment", sources: &[Source::Vero] }],
        access: Access::Api {
            key: Variable {
                name: "SEGMENT_WRITE_KEY",
                form: "the write key of a Segment source",
                example: "QUI5ydwIGeFFTa1IvCBUhxL9PyW5B0jE",
            },
            endpoint: Variable {
                name: "SEGMENT_ENDPOINT",
                form: BASE_URL,
                example: "https://events.eu1.segmentapis.com",
            },
            default_endpoint: "https://api.segment.io",
        },
        is_replayable: true,
    },
    DestinationRow {
        name: "vero_track",
        parts: &[
            Part { name: "vero_track", sources: &[Source::Vero, Source::Segment] },
            // The tags call of a first-party event, whose own call has been accepted.
            Part { name: "vero_tags", sources: &[Source::Segment] },
        ],
        access: Access::Api {
            key: Variable {
                name: "VERO_AUTH_TOKEN",
                form: "a Track API key of the Vero project",
                example: "ZGY5Nzk0MTQ5MGY0YmE4OTUyMDk1",
            },
            endpoint: Variable { name: "VERO_ENDPOINT", form: BASE_URL, example: "https://api.getvero.com" },
            default_endpoint: "https://api.getvero.com",
        },
        is_replayable: true,
    },
    DestinationRow {
        name: "archive",
        parts: &[Part { name: "archive", sources: &[Source::Vero, Source::Segment] }],
        access: Access::Stream {
            name: Variable { name: "ARCHIVE_STREAM", form: STREAM_NAME, example: "vero-relay-archive" },
        },
        // It is what is replayed.
        is_replayable: false,
    },
    DestinationRow {
        name: "webhook",
        parts: &[Part { name: "webhook", sources: &[Source::Vero, Source::Segment] }],
        access: Access::Endpoints {
            names: Variable {
                name: "WEBHOOK_ENDPOINTS",
                form: "names separated by commas, each of 1 to 32 characters of a-z, 0-9, _ and -",
                example: "crm,billing",
            },
            settings: Variable {
                name: "WEBHOOK_ENDPOINT_SETTINGS",
                form: "a JSON object as events/endpoints.schema.json describes it",
                example: r#"{"crm":{"url":"https://example.com/hook","secrets":["whsec_…"]}}"#,
            },
        },
        is_replayable: true,
    },
];

/// Between a destination's name and that of one of its endpoints.
const SEPARATOR: char = ':';

impl DestinationRow {
    /// Whether a new event of this source is owed to it.
    pub fn takes(&self, source: Source) -> bool {
        self.parts.first().is_some_and(|part| part.sources.contains(&source))
    }

    /// The variable that switches it on.
    pub const fn switch(&self) -> &Variable {
        match &self.access {
            Access::Api { key, .. } => key,
            Access::Stream { name } => name,
            Access::Endpoints { names, .. } => names,
        }
    }

    /// What events are owed to at one of its endpoints: `webhook:crm`.
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}{SEPARATOR}{name}", self.name)
    }

    const fn has_endpoints(&self) -> bool {
        matches!(self.access, Access::Endpoints { .. })
    }
}

/// Whether an endpoint can have this name. It stands in envelopes, settings and logs.
pub fn is_endpoint_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=32).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The names in a list of endpoints, in alphabetical order; `None` if one can be none.
pub fn endpoint_names(list: &str) -> Option<BTreeSet<String>> {
    let names = || list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names().all(is_endpoint_name).then(|| names().map(str::to_owned).collect())
}

/// The row of a destination, for constants.
///
/// # Panics
/// While compiling, if no destination has this name.
#[expect(clippy::panic, reason = "for constants: the compiler reports it")]
pub const fn named(name: &str) -> &'static DestinationRow {
    let mut index = 0;
    while index < ALL.len() {
        if is_same(ALL[index].name.as_bytes(), name.as_bytes()) {
            return &ALL[index];
        }
        index += 1;
    }
    panic!("no row of the table has this name")
}

/// `==` is not for constants.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([a, rest_of_a @ ..], [b, rest_of_b @ ..]) => *a == *b && is_same(rest_of_a, rest_of_b),
        _ => false,
    }
}

/// The parts of all destinations.
pub fn parts() -> impl Iterator<Item = &'static Part> {
    ALL.iter().flat_map(|destination| destination.parts)
}

/// The destination that an event can be owed to under this name, with the part: `vero_tags`, or of an endpoint
/// `webhook:crm`.
pub fn owed_to(name: &str) -> Option<(&'static DestinationRow, &'static Part)> {
    let is_of = |row: &DestinationRow, part: &Part| match name.split_once(SEPARATOR) {
        Some((destination, endpoint)) => {
            row.has_endpoints() && part.name == destination && is_endpoint_name(endpoint)
        }
        None => !row.has_endpoints() && part.name == name,
    };
    ALL.iter()
        .flat_map(|row| row.parts.iter().map(move |part| (row, part)))
        .find(|(row, part)| is_of(row, part))
}

/// The part that an event can be owed to under this name.
pub fn part(name: &str) -> Option<&'static Part> {
    owed_to(name).map(|(_, part)| part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_first_part_has_its_destination_s() {
        let mut names = HashSet::new();
        for destination in &ALL {
            assert_eq!(destination.parts[0].name, destination.name);
            assert_eq!(named(destination.name).name, destination.name);
            assert!(destination.parts.iter().all(|part| names.insert(part.name)), "{names:?}");
        }
        assert!(part("vero_tags").is_some() && part("vero").is_none());
        let webhook = part(&named("webhook").endpoint("crm-2")).unwrap();
        assert_eq!(webhook.name, "webhook");
        for none in
            ["webhook", "webhook:", "webhook:Crm", "webhook:a:b", "segment:crm", "webhook:ana@example.org"]
        {
            assert!(part(none).is_none(), "{none}");
        }
        assert!(is_endpoint_name(&"x".repeat(32)) && !is_endpoint_name(&"x".repeat(33)));
    }

    #[test]
    fn no_source_is_without_a_destination() {
        for source in [Source::Vero, Source::Segment] {
            assert!(ALL.iter().any(|destination| destination.takes(source)), "{source:?}");
        }
        // What came from Segment does not go back.
        assert!(!named("segment").takes(Source::Segment));
    }

    #[test]
    fn the_pages_for_operators_name_every_part_and_variable() {
        let configuration = include_str!("../../../docs/configuration.md");
        let glossary = include_str!("../../../docs/glossary.md");
        for destination in &ALL {
            for part in destination.parts {
                assert!(glossary.contains(&format!("`{}`", part.name)), "{}", part.name);
            }
            let variables = match &destination.access {
                Access::Api { key, endpoint, .. } => vec![key.name, endpoint.name],
                Access::Stream { name } => vec![name.name],
                Access::Endpoints { names, settings } => vec![names.name, settings.name],
            };
            for name in variables.into_iter().chain([destination.name]) {
                assert!(configuration.contains(&format!("`{name}`")), "{name}");
            }
        }
    }
}
