//! What `worker` is configured with.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::destinations::{self, Access, Part, Variable};
use relay_core::endpoints::Reach;
use relay_core::names::{EventNames, Naming, TrackTypes};
use relay_platform::environment::{ConfigError, ConfigErrors, Environment, Expected, missing};
use relay_platform::metrics::Metrics;
use relay_platform::secret::SecretSource;
use reqwest::Url;

#[derive(Debug)]
pub struct Config {
    pub queue_url: String,
    /// For what will never be delivered.
    pub dead_letter_queue_url: String,
    /// The destinations that are on, by name; of webhook endpoints each is one: `webhook:crm`.
    pub destinations: BTreeMap<&'static str, DestinationConfig>,
    pub naming: Naming,
    /// The delivery stream of the delivery log; `None`: off.
    pub deliveries_stream: Option<String>,
    /// The rules for webhooks and first-party events; `None`: the default preset.
    pub blueprint: Option<SecretSource>,
    /// What addresses are hashed with, if rules say so.
    pub address_hash_secret: Option<SecretSource>,
    /// What the webhook endpoints are like; `None`: there are none.
    pub endpoint_settings: Option<SecretSource>,
    /// Which addresses those may have.
    pub endpoint_reach: Reach,
    /// Deletion requests go to Vero.
    pub forward_deletes: bool,
    pub metrics: Metrics,
}

/// The configuration of a destination that is on.
#[derive(Debug, Clone)]
pub struct DestinationConfig {
    /// The base URL without a trailing slash, the delivery stream's name, or that of the endpoint in the settings.
    pub address: String,
    /// Of a destination that needs none: `None`.
    pub key: Option<SecretSource>,
    /// It is owed events but not called for now.
    pub is_paused: bool,
}

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
/// The variable with the secret that addresses are hashed with.
pub const ADDRESS_HASH_SECRET: &str = "ADDRESS_HASH_SECRET";
/// Its form.
pub const ADDRESS_HASH_SECRET_FORM: Expected = Expected {
    form: "a long random text, which never changes: other hashes are other users",
    example: "openssl rand -hex 32",
};
/// The form of the settings of endpoints.
pub const ENDPOINT_SETTINGS: Expected = Expected {
    form: "a JSON object as events/endpoints.schema.json describes it",
    example: r#"{"crm":{"url":"https://example.com/hook","secrets":["whsec_…"]}}"#,
};
const STREAM: Expected = expected(destinations::named("archive").switch());
const PAUSED: Expected =
    Expected { form: "names of destinations separated by commas", example: "segment,vero_track" };

impl Config {
    /// # Errors
    /// All errors at once.
    pub fn read(environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let destinations = destinations(environment, &mut errors);
        let naming = naming(environment, &mut errors);
        let config = Config {
            queue_url: errors.note(environment.queue_url("QUEUE_URL")),
            dead_letter_queue_url: errors.note(environment.queue_url("DEAD_LETTER_QUEUE_URL")),
            destinations,
            naming,
            deliveries_stream: errors.note(environment.parsed("DELIVERIES_STREAM", STREAM, stream)),
            blueprint: errors.note(SecretSource::of(environment, "BLUEPRINT", BLUEPRINT)),
            address_hash_secret: errors.note(SecretSource::of(
                environment,
                ADDRESS_HASH_SECRET,
                ADDRESS_HASH_SECRET_FORM,
            )),
            endpoint_settings: errors.note(endpoint_settings(environment)),
            endpoint_reach: match errors.note(environment.flag("WEBHOOK_PRIVATE_ADDRESSES", false)) {
                true => Reach::Anywhere,
                false => Reach::Public,
            },
            forward_deletes: errors.note(environment.flag("FORWARD_DELETES", false)),
            metrics: errors.note(Metrics::from_environment(environment)),
        };
        if errors.0.is_empty() { Ok(config) } else { Err(errors) }
    }
}

/// The destinations that are on, by the table's rows.
fn destinations(
    environment: &Environment,
    errors: &mut ConfigErrors,
) -> BTreeMap<&'static str, DestinationConfig> {
    let paused = environment.parsed("PAUSED_DESTINATIONS", PAUSED, paused);
    let is_paused =
        |name| paused.as_ref().is_ok_and(|paused| paused.iter().flatten().any(|paused| paused == name));
    let mut on = BTreeMap::new();
    for row in &destinations::ALL {
        let config = match &row.access {
            Access::Api { key, endpoint, default_endpoint } => {
                let key = errors.note(SecretSource::of(environment, key.name, expected(key)));
                let url = errors.note(environment.parsed(endpoint.name, expected(endpoint), base_url));
                let address = url.unwrap_or_else(|| (*default_endpoint).to_owned());
                key.map(|key| DestinationConfig { address, key: Some(key), is_paused: is_paused(row.name) })
            }
            Access::Stream { name } => errors
                .note(environment.parsed(name.name, expected(name), stream))
                .map(|address| DestinationConfig { address, key: None, is_paused: is_paused(row.name) }),
            Access::Endpoints { names, .. } => {
                let endpoints = errors.note(environment.parsed(names.name, expected(names), endpoint_names));
                on.extend(endpoints.into_iter().flatten().map(|address| {
                    // It lives as long as the process, like the names of the table.
                    let name: &'static str = row.endpoint(&address).leak();
                    (name, DestinationConfig { address, key: None, is_paused: is_paused(name) })
                }));
                None
            }
        };
        on.extend(config.map(|config| (row.name, config)));
    }
    if let ([], [first, others @ ..]) = (&*errors.0, &destinations::ALL)
        && on.is_empty()
    {
        let others: Vec<&str> = others.iter().map(|destination| destination.switch().name).collect();
        let problem =
            format!("is missing, and so are {}: at least one destination must be on", others.join(" and "));
        let switch = first.switch();
        errors.0.push(ConfigError { problem, ..missing(switch.name, expected(switch)) });
    }
    errors.note(paused);
    on
}

fn naming(environment: &Environment, errors: &mut ConfigErrors) -> Naming {
    let unusable = |problem| format!("cannot be used: {problem}");
    let names =
        environment.parsed("EVENT_NAMES", EVENT_NAMES, |json| EventNames::parse(json).map_err(unusable));
    let types =
        environment.parsed("VERO_TRACK_TYPES", TYPES, |list| TrackTypes::parse(list).map_err(unusable));
    let suppress_loops = environment.flag("SUPPRESS_LOOPS", true);
    Naming::new(
        errors.note(names).unwrap_or_default(),
        errors.note(types).unwrap_or_default(),
        errors.note(suppress_loops),
    )
}

const fn expected(variable: &Variable) -> Expected {
    Expected { form: variable.form, example: variable.example }
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

/// The settings of the endpoints: only needed if there are any.
fn endpoint_settings(environment: &Environment) -> Result<Option<SecretSource>, ConfigError> {
    let Access::Endpoints { names, settings } = &destinations::named("webhook").access else {
        return Ok(None);
    };
    let source = SecretSource::of(environment, settings.name, expected(settings))?;
    match (environment.get(names.name), source) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(missing(settings.name, expected(settings))),
        (Some(_), source) => Ok(source),
    }
}

fn endpoint_names(list: &str) -> Result<BTreeSet<String>, &'static str> {
    destinations::endpoint_names(list).ok_or("has a name that no endpoint can have")
}

fn paused(list: &str) -> Result<Vec<String>, String> {
    let names = || list.split(',').map(str::trim).filter(|name| !name.is_empty());
    match names().all(|name| destinations::owed_to(name).is_some_and(|(_, part)| is_first(part))) {
        true => Ok(names().map(str::to_owned).collect()),
        false => {
            let known = destinations::ALL.each_ref().map(|row| match row.access {
                Access::Endpoints { .. } => row.endpoint("<name>"),
                Access::Api { .. } | Access::Stream { .. } => row.name.to_owned(),
            });
            Err(format!("names a destination that does not exist (there are {})", known.join(", ")))
        }
    }
}

/// Parts after the first go with it.
fn is_first(part: &Part) -> bool {
    destinations::ALL.iter().any(|row| row.name == part.name)
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
