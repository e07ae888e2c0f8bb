//! What `worker` is configured with.

use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_platform::environment::{ConfigError, ConfigErrors, Environment, Expected, missing};
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

const WRITE_KEY: Expected =
    Expected { form: "the write key of a Segment source", example: "QUI5ydwIGeFFTa1IvCBUhxL9PyW5B0jE" };
const AUTH_TOKEN: Expected =
    Expected { form: "a Track API key of the Vero project", example: "ZGY5Nzk0MTQ5MGY0YmE4OTUyMDk1" };
const SEGMENT_URL: Expected = Expected {
    form: "a base URL with https (or http on loopback), without credentials or query",
    example: "https://events.eu1.segmentapis.com",
};
const VERO_URL: Expected = Expected { form: SEGMENT_URL.form, example: "https://api.getvero.com" };
const TYPES: Expected =
    Expected { form: "webhook types separated by commas, or all, or none", example: "opened,clicked" };
const EVENT_NAMES: Expected = Expected {
    form: "a JSON object from webhook types to event names",
    example: r#"{"sent":"Newsletter Sent"}"#,
};
/// The form of a blueprint.
pub const BLUEPRINT: Expected = Expected {
    form: "a JSON object as events/blueprint.schema.json describes it",
    example: r#"{"events":{"Order Completed":{"rename":"Bought"}}}"#,
};
const STREAM: Expected = Expected {
    form: "the name of a Firehose delivery stream: 1 to 64 characters of [A-Za-z0-9_.-]",
    example: "vero-relay-archive",
};
const PAUSED: Expected =
    Expected { form: "names of destinations separated by commas", example: "segment,vero_track" };

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// All errors at once.
    pub fn read(environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut access = |key, key_expected, endpoint, default: &str, endpoint_expected| {
            let secret = errors.note(SecretSource::of(environment, key, key_expected));
            let url = errors.note(environment.parsed(endpoint, endpoint_expected, base_url));
            secret.map(|secret| Access { endpoint: url.unwrap_or_else(|| default.to_owned()), secret })
        };
        let segment =
            access("SEGMENT_WRITE_KEY", WRITE_KEY, "SEGMENT_ENDPOINT", "https://api.segment.io", SEGMENT_URL);
        let vero =
            access("VERO_AUTH_TOKEN", AUTH_TOKEN, "VERO_ENDPOINT", "https://api.getvero.com", VERO_URL);
        let archive_stream = errors.note(environment.parsed("ARCHIVE_STREAM", STREAM, stream));
        if segment.is_none() && vero.is_none() && archive_stream.is_none() && errors.0.is_empty() {
            let problem = "is missing, and so are VERO_AUTH_TOKEN and ARCHIVE_STREAM: at least one destination must be on";
            errors
                .0
                .push(ConfigError { problem: problem.to_owned(), ..missing("SEGMENT_WRITE_KEY", WRITE_KEY) });
        }
        let names = errors.note(environment.parsed("EVENT_NAMES", EVENT_NAMES, |json| {
            EventNames::parse(json).map_err(|problem| format!("cannot be used: {problem}"))
        }));
        let types = errors.note(environment.parsed("VERO_TRACK_TYPES", TYPES, |list| {
            TrackTypes::parse(list).map_err(|problem| format!("cannot be used: {problem}"))
        }));
        let suppress_loops = environment.flag("SUPPRESS_LOOPS", true);
        let naming =
            Naming::new(names.unwrap_or_default(), types.unwrap_or_default(), errors.note(suppress_loops));
        let config = Config {
            queue_url: errors.note(environment.queue_url("QUEUE_URL")),
            dead_letter_queue_url: errors.note(environment.queue_url("DEAD_LETTER_QUEUE_URL")),
            segment,
            vero,
            naming,
            archive_stream,
            deliveries_stream: errors.note(environment.parsed("DELIVERIES_STREAM", STREAM, stream)),
            blueprint: errors.note(SecretSource::of(environment, "BLUEPRINT", BLUEPRINT)),
            forward_deletes: errors.note(environment.flag("FORWARD_DELETES", false)),
            paused: errors
                .note(environment.parsed("PAUSED_DESTINATIONS", PAUSED, paused))
                .unwrap_or_default(),
            metrics: errors.note(Metrics::from_environment(environment)),
        };
        if errors.0.is_empty() { Ok(config) } else { Err(errors) }
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

    fn errors<const N: usize>(more: [(&str, &str); N]) -> String {
        let mut all = QUEUES.to_vec();
        all.extend(more);
        let environment = match all[..] {
            [a, b] => Environment::of([a, b]),
            [a, b, c] => Environment::of([a, b, c]),
            [a, b, c, d] => Environment::of([a, b, c, d]),
            _ => panic!("one or two variables"),
        };
        Config::read(&environment).map(|_| ()).err().map(|errors| errors.to_string()).unwrap_or_default()
    }

    #[test]
    fn one_destination_is_enough_and_none_is_not() {
        assert_eq!(errors([("SEGMENT_WRITE_KEY", "k")]), "");
        assert_eq!(errors([("VERO_AUTH_TOKEN_PARAMETER", "/a/b")]), "");
        assert!(errors([]).contains("at least one destination must be on"));
        assert!(errors([("SEGMENT_WRITE_KEY", " ")]).contains("at least one destination must be on"));
    }

    #[test]
    fn a_secret_has_one_source() {
        let errors = errors([("VERO_AUTH_TOKEN", "hush"), ("VERO_AUTH_TOKEN_PARAMETER", "/a/b")]);
        assert!(errors.contains("VERO_AUTH_TOKEN and VERO_AUTH_TOKEN_PARAMETER are both set"), "{errors}");
        assert!(!errors.contains("hush"));
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
            let errors = errors([("SEGMENT_WRITE_KEY", "k"), ("SEGMENT_ENDPOINT", url)]);
            assert!(
                if problem.is_empty() { errors.is_empty() } else { errors.contains(problem) },
                "{url}: {errors}"
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
            let errors = errors([("SEGMENT_WRITE_KEY", "k"), (name, value)]);
            assert!(errors.contains(problem), "{errors}");
        }
    }
}
