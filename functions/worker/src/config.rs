//! What `worker` is configured with.

use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_platform::environment::{Environment, Fault, Faults, Form, missing};
use relay_platform::metrics::Metrics;
use relay_platform::secret::SecretSource;
use reqwest::Url;

use crate::destination::NAMES;

/// Where a destination is, and what opens it.
#[derive(Debug, Clone)]
pub struct Access {
    /// The base URL, without a trailing slash.
    pub endpoint: String,
    /// The key or token.
    pub secret: SecretSource,
}

/// The configuration of `worker`.
#[derive(Debug)]
pub struct Config {
    /// The queue that it drains.
    pub queue_url: String,
    /// Where goes what is final.
    pub dead_letter_queue_url: String,
    /// Segment; `None`: off.
    pub segment: Option<Access>,
    /// Vero's Track API; `None`: off.
    pub vero: Option<Access>,
    /// Names, types and loops.
    pub naming: Naming,
    /// The delivery stream of the archive; `None`: off.
    pub archive_stream: Option<String>,
    /// The delivery stream of the delivery log; `None`: off.
    pub deliveries_stream: Option<String>,
    /// The mapping of first-party events; `None`: the default preset.
    pub blueprint: Option<SecretSource>,
    /// Deletion requests go to Vero.
    pub forward_deletes: bool,
    /// Destinations that are owed but not called for now.
    pub paused: Vec<String>,
    /// Where metrics go.
    pub metrics: Metrics,
}

const WRITE_KEY: Form =
    Form { is: "the write key of a Segment source", example: "QUI5ydwIGeFFTa1IvCBUhxL9PyW5B0jE" };
const AUTH_TOKEN: Form =
    Form { is: "a Track API key of the Vero project", example: "ZGY5Nzk0MTQ5MGY0YmE4OTUyMDk1" };
const SEGMENT_URL: Form = Form {
    is: "a base URL with https (or http on loopback), without credentials or query",
    example: "https://events.eu1.segmentapis.com",
};
const VERO_URL: Form = Form { is: SEGMENT_URL.is, example: "https://api.getvero.com" };
const TYPES: Form =
    Form { is: "webhook types separated by commas, or all, or none", example: "opened,clicked" };
const EVENT_NAMES: Form =
    Form { is: "a JSON object from webhook types to event names", example: r#"{"sent":"Newsletter Sent"}"# };
/// The form of a blueprint.
pub const BLUEPRINT: Form = Form {
    is: "a JSON object as events/blueprint.schema.json describes it",
    example: r#"{"events":{"Order Completed":{"rename":"Bought"}}}"#,
};
const STREAM: Form = Form {
    is: "the name of a Firehose delivery stream: 1 to 64 characters of [A-Za-z0-9_.-]",
    example: "vero-relay-archive",
};
const PAUSED: Form = Form { is: "names of destinations separated by commas", example: "segment,vero_track" };

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// All faults at once.
    pub fn read(environment: &Environment) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut access = |key, key_form, endpoint, default: &str, endpoint_form| {
            let secret = faults.note(SecretSource::of(environment, key, key_form));
            let url = faults.note(environment.parsed(endpoint, endpoint_form, base_url));
            secret.map(|secret| Access { endpoint: url.unwrap_or_else(|| default.to_owned()), secret })
        };
        let segment =
            access("SEGMENT_WRITE_KEY", WRITE_KEY, "SEGMENT_ENDPOINT", "https://api.segment.io", SEGMENT_URL);
        let vero =
            access("VERO_AUTH_TOKEN", AUTH_TOKEN, "VERO_ENDPOINT", "https://api.getvero.com", VERO_URL);
        let archive_stream = faults.note(environment.parsed("ARCHIVE_STREAM", STREAM, stream));
        if segment.is_none() && vero.is_none() && archive_stream.is_none() && faults.0.is_empty() {
            let problem = "is missing, and so are VERO_AUTH_TOKEN and ARCHIVE_STREAM: at least one destination must be on";
            faults.0.push(Fault { problem: problem.to_owned(), ..missing("SEGMENT_WRITE_KEY", WRITE_KEY) });
        }
        let names = faults.note(environment.parsed("EVENT_NAMES", EVENT_NAMES, |json| {
            EventNames::parse(json).map_err(|problem| format!("cannot be used: {problem}"))
        }));
        let types = faults.note(environment.parsed("VERO_TRACK_TYPES", TYPES, |list| {
            TrackTypes::parse(list).map_err(|problem| format!("cannot be used: {problem}"))
        }));
        let suppress_loops = environment.flag("SUPPRESS_LOOPS", true);
        let naming =
            Naming::new(names.unwrap_or_default(), types.unwrap_or_default(), faults.note(suppress_loops));
        let config = Config {
            queue_url: faults.note(environment.queue_url("QUEUE_URL")),
            dead_letter_queue_url: faults.note(environment.queue_url("DEAD_LETTER_QUEUE_URL")),
            segment,
            vero,
            naming,
            archive_stream,
            deliveries_stream: faults.note(environment.parsed("DELIVERIES_STREAM", STREAM, stream)),
            blueprint: faults.note(SecretSource::of(environment, "BLUEPRINT", BLUEPRINT)),
            forward_deletes: faults.note(environment.flag("FORWARD_DELETES", false)),
            paused: faults
                .note(environment.parsed("PAUSED_DESTINATIONS", PAUSED, paused))
                .unwrap_or_default(),
            metrics: faults.note(Metrics::from_environment(environment)),
        };
        if faults.0.is_empty() { Ok(config) } else { Err(faults) }
    }
}

fn base_url(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    let is_loopback = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => return Err("names no host"),
    };
    match url.scheme() {
        "https" => (),
        "http" if is_loopback => (),
        _ => return Err("is not https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    // As it is written on the wire: a host in lower case, and in ASCII.
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn stream(name: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match name.len() <= 64 && name.bytes().all(is_allowed) {
        true => Ok(name.to_owned()),
        false => Err("is none that Firehose takes"),
    }
}

fn paused(list: &str) -> Result<Vec<String>, String> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match NAMES.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(format!("names a destination that does not exist (there are {})", NAMES.join(", "))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [(&str, &str); 2] =
        [("QUEUE_URL", "http://127.0.0.1/1/q"), ("DEAD_LETTER_QUEUE_URL", "http://127.0.0.1/1/d")];

    fn faults<const N: usize>(more: [(&str, &str); N]) -> String {
        let mut all = QUEUES.to_vec();
        all.extend(more);
        let environment = match all[..] {
            [a, b] => Environment::of([a, b]),
            [a, b, c] => Environment::of([a, b, c]),
            [a, b, c, d] => Environment::of([a, b, c, d]),
            _ => panic!("one or two variables"),
        };
        Config::read(&environment).map(|_| ()).err().map(|faults| faults.to_string()).unwrap_or_default()
    }

    #[test]
    fn one_destination_is_enough_and_none_is_not() {
        assert_eq!(faults([("SEGMENT_WRITE_KEY", "k")]), "");
        assert_eq!(faults([("VERO_AUTH_TOKEN_PARAMETER", "/a/b")]), "");
        assert!(faults([]).contains("at least one destination must be on"));
        assert!(faults([("SEGMENT_WRITE_KEY", " ")]).contains("at least one destination must be on"));
    }

    #[test]
    fn a_secret_has_one_source() {
        let faults = faults([("VERO_AUTH_TOKEN", "hush"), ("VERO_AUTH_TOKEN_PARAMETER", "/a/b")]);
        assert!(faults.contains("VERO_AUTH_TOKEN and VERO_AUTH_TOKEN_PARAMETER are both set"), "{faults}");
        assert!(!faults.contains("hush"));
    }

    #[test]
    fn endpoints_are_https_or_on_loopback() {
        for (url, problem) in [
            ("https://events.eu1.segmentapis.com/", ""),
            ("http://127.0.0.1:8080", ""),
            ("http://localhost:8080/base/", ""),
            ("http://[::1]:1", ""),
            ("http://example.com", "is not https"),
            ("ftp://example.com", "is not https"),
            ("https://user:pass@example.com", "holds credentials"),
            ("https://example.com?x=1", "has a query"),
            ("example.com", "is no URL"),
        ] {
            let faults = faults([("SEGMENT_WRITE_KEY", "k"), ("SEGMENT_ENDPOINT", url)]);
            assert!(
                if problem.is_empty() { faults.is_empty() } else { faults.contains(problem) },
                "{url}: {faults}"
            );
        }
        assert_eq!(base_url("http://localhost:8080/base//"), Ok("http://localhost:8080/base".to_owned()));
    }

    #[test]
    fn choices_that_cannot_be_used_are_explained() {
        for (name, value, problem) in [
            ("EVENT_NAMES", "{", "EVENT_NAMES cannot be used: it is no JSON object of texts"),
            ("VERO_TRACK_TYPES", "all,sent", "VERO_TRACK_TYPES cannot be used: `all` and `none` stand alone"),
            ("SUPPRESS_LOOPS", "perhaps", "SUPPRESS_LOOPS is neither true nor false"),
            ("METRICS_NAMESPACE", "AWS/SQS", "METRICS_NAMESPACE is none that CloudWatch takes"),
            ("PAUSED_DESTINATIONS", "segmnt", "PAUSED_DESTINATIONS names a destination that does not exist"),
        ] {
            let faults = faults([("SEGMENT_WRITE_KEY", "k"), (name, value)]);
            assert!(faults.contains(problem), "{faults}");
        }
    }
}
