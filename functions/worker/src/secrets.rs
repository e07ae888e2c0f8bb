//! What the worker reads from SSM: the destinations' keys, the settings of webhook endpoints, and the blueprint, which may
//! be too large for a variable.
//!
//! At its start, and again as it goes, so that a rotated key works without a deploy. Each invocation works with one
//! snapshot. What is due is read before anything is delivered: Segment takes events with a withdrawn key and drops
//! them, so to go on with one while a new one is on its way would lose them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_core::blueprint::Blueprint;
use relay_core::destinations::{self, DestinationRow, owed_to};
use relay_core::endpoints::{Endpoints, Reach};
use relay_core::mapping::vero_track::FirstPartySettings;
use relay_core::rules::AddressKey;
use relay_platform::aws::Aws;
use relay_platform::environment::{ConfigError, ConfigErrors, missing};
use relay_platform::secret::{SecretSource, read_all};
use relay_platform::world;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::config::{ADDRESS_HASH_SECRET, ADDRESS_HASH_SECRET_FORM, BLUEPRINT, Config, ENDPOINT_SETTINGS};

const ENDPOINTS: &DestinationRow = destinations::named("webhook");

/// How long a reading counts, at most. Each is up to a fifth shorter, so that not all workers ask at once: SSM takes
/// 40 requests a second (AWS general reference, Systems Manager quotas).
const VALIDITY: Duration = Duration::from_secs(300);

/// The same of a reading that failed: its keys are those of the one before.
const VALIDITY_OF_FAILED: Duration = Duration::from_secs(60);

/// A key that a destination refuses is doubted no more often than this.
const DOUBT: Duration = Duration::from_secs(60);

/// SSM's share of the time that an invocation has.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The keys of the destinations that are on, and how events are mapped.
#[derive(Debug, Default)]
pub struct Secrets {
    keys: Keys,
    /// How events are mapped.
    pub rules: FirstPartySettings,
    /// What addresses are hashed with.
    pub address_key: AddressKey,
    /// The webhook endpoints, all that are on among them.
    pub endpoints: Endpoints,
}

/// By the destination's name.
type Keys = BTreeMap<&'static str, SecretString>;

impl Secrets {
    /// A destination's key; empty for one that needs none.
    pub fn key_of(&self, destination: &DestinationRow) -> &str {
        self.keys.get(destination.name).map_or("", ExposeSecret::expose_secret)
    }

    /// A destination's response without what must not be quoted from it: it may echo the request.
    pub fn redacted(&self, response: String) -> String {
        let keys = self.keys.values().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty());
        let response = keys.fold(response, |response, key| {
            // As a key stands in basic authorization, and as it is.
            let credentials = STANDARD.encode(format!("{key}:"));
            response.replace(&credentials, "[secret]").replace(key, "[secret]")
        });
        let of_endpoints = self.endpoints.secret_texts();
        of_endpoints.iter().fold(response, |response, text| response.replace(text, "[secret]"))
    }

    fn has_keys_of(&self, other: &Secrets) -> bool {
        let exposed = |keys: &Keys| -> Vec<String> {
            keys.values().map(|key| key.expose_secret().to_owned()).collect()
        };
        exposed(&self.keys) == exposed(&other.keys) && self.endpoints == other.endpoints
    }
}

/// Secrets, and when to read them again.
#[derive(Debug)]
pub struct LiveSecrets {
    aws: Aws,
    sources: Sources,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secrets: Arc<Secrets>,
    schedule: Schedule,
}

impl LiveSecrets {
    /// Reads all of it for the first time, with at most one call to SSM.
    ///
    /// # Errors
    /// The variables whose parameters cannot be read, and a blueprint's mistake.
    pub async fn read(aws: &Aws, config: &Config) -> Result<Self, ConfigErrors> {
        let sources = Sources::of(config);
        let Reading { keys, blueprint, address_key, endpoints } = sources.read(aws).await?;
        let mut errors = ConfigErrors::default();
        let (blueprint, endpoints) = (errors.note(blueprint), errors.note(endpoints));
        if !errors.0.is_empty() {
            return Err(errors);
        }
        for name in endpoints.names().filter(|name| !sources.endpoints.contains(*name)) {
            tracing::warn!(
                name,
                "the settings describe an endpoint that is not on: WEBHOOK_ENDPOINTS lacks it"
            );
        }
        for name in blueprint.webhooks().endpoints().filter(|name| !sources.endpoints.contains(*name)) {
            tracing::warn!(
                name,
                "the blueprint has rules for an endpoint that is not on: WEBHOOK_ENDPOINTS lacks it"
            );
        }
        let rules = FirstPartySettings { blueprint, forward_deletes: config.forward_deletes };
        let secrets = Arc::new(Secrets { keys, rules, address_key, endpoints });
        let schedule = Schedule::after_reading(world::now());
        Ok(LiveSecrets { aws: aws.clone(), sources, state: Mutex::new(State { secrets, schedule }) })
    }

    /// The secrets for an invocation, read again if that is due. Should that fail, those of the last time go on.
    pub async fn current(&self) -> Arc<Secrets> {
        let last = Arc::clone(&self.state().secrets);
        if !self.sources.need_ssm() || !self.state().schedule.begin(world::now()) {
            return last;
        }
        let reading = match timeout(TIMEOUT, self.sources.read(&self.aws)).await {
            Ok(reading) => reading.map_err(|errors| errors.to_string()),
            Err(_) => Err("SSM did not answer in time".to_owned()),
        };
        let Reading { keys, blueprint, address_key, endpoints } = match reading {
            Ok(reading) => reading,
            Err(error) => {
                tracing::warn!(error, "the keys could not be read again: the last ones are used on");
                self.state().schedule.failed();
                return last;
            }
        };
        let blueprint = blueprint.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the blueprint cannot be used: the last one is used on");
            last.rules.blueprint.clone()
        });
        let endpoints = endpoints.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the settings of endpoints cannot be used: the last ones are used on");
            last.endpoints.clone()
        });
        let rules = FirstPartySettings { blueprint, ..last.rules };
        let secrets = Arc::new(Secrets { keys, rules, address_key, endpoints });
        if !secrets.has_keys_of(&last) {
            tracing::info!("a key has changed in SSM: the new one is used from now on");
        }
        self.state().secrets = Arc::clone(&secrets);
        secrets
    }

    /// A destination has refused its key: it may have been rotated, and is worth a look before the next invocation.
    pub fn doubt(&self) {
        self.state().schedule.is_doubted = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Sources {
    /// By the destination's name.
    keys: Vec<(&'static str, SecretSource)>,
    blueprint: Option<SecretSource>,
    address_key: Option<SecretSource>,
    endpoint_settings: Option<SecretSource>,
    /// The names of the endpoints that are on.
    endpoints: BTreeSet<String>,
    reach: Reach,
}

struct Reading {
    keys: Keys,
    blueprint: Result<Blueprint, ConfigError>,
    address_key: AddressKey,
    endpoints: Result<Endpoints, ConfigError>,
}

impl Sources {
    fn of(config: &Config) -> Self {
        let keys = config.destinations.iter();
        let keys = keys.filter_map(|(name, destination)| Some((*name, destination.key.clone()?))).collect();
        let is_endpoint = |name: &str| owed_to(name).is_some_and(|(row, _)| row.name == ENDPOINTS.name);
        let endpoints = config.destinations.iter().filter(|(name, _)| is_endpoint(name));
        Sources {
            keys,
            blueprint: config.blueprint.clone(),
            address_key: config.address_hash_secret.clone(),
            endpoint_settings: config.endpoint_settings.clone(),
            endpoints: endpoints.map(|(_, destination)| destination.address.clone()).collect(),
            reach: config.endpoint_reach,
        }
    }

    /// In the order in which [`Sources::read`] takes them.
    fn all(&self) -> Vec<&SecretSource> {
        let keys = self.keys.iter().map(|(_, source)| source);
        keys.chain(&self.address_key).chain(&self.endpoint_settings).chain(&self.blueprint).collect()
    }

    fn need_ssm(&self) -> bool {
        self.all().iter().any(|source| matches!(source, SecretSource::Parameter { .. }))
    }

    async fn read(&self, aws: &Aws) -> Result<Reading, ConfigErrors> {
        let mut secrets = read_all(aws, &self.all()).await?.into_iter();
        let keys = self.keys.iter().map(|(name, _)| *name).zip(secrets.by_ref()).collect();
        let address_key = match &self.address_key {
            Some(_) => {
                secrets.next().map(|secret| AddressKey::new(secret.expose_secret())).unwrap_or_default()
            }
            None => AddressKey::default(),
        };
        let endpoints = match &self.endpoint_settings {
            Some(_) => secrets.next().map_or_else(
                || Ok(Endpoints::default()),
                |json| endpoints(json.expose_secret(), &self.endpoints, self.reach),
            ),
            None => Ok(Endpoints::default()),
        };
        let blueprint = secrets
            .next()
            .map_or_else(|| Ok(Blueprint::default()), |json| blueprint(json.expose_secret(), &address_key));
        Ok(Reading { keys, blueprint, address_key, endpoints })
    }
}

/// Reads the settings of endpoints, which must describe all of these.
fn endpoints(json: &str, names: &BTreeSet<String>, reach: Reach) -> Result<Endpoints, ConfigError> {
    let wrong = |problem| ConfigError {
        variable: "WEBHOOK_ENDPOINT_SETTINGS".to_owned(),
        problem,
        expected: ENDPOINT_SETTINGS,
    };
    let endpoints = Endpoints::parse(json, reach).map_err(|error| wrong(error.to_string()))?;
    match names.iter().find(|name| endpoints.get(name).is_none()) {
        Some(name) => Err(wrong(format!("does not describe {name}, which WEBHOOK_ENDPOINTS names"))),
        None => Ok(endpoints),
    }
}

/// Reads a blueprint, which may need a secret.
fn blueprint(json: &str, address_key: &AddressKey) -> Result<Blueprint, ConfigError> {
    let blueprint = Blueprint::parse(json).map_err(|error| ConfigError {
        variable: "BLUEPRINT".to_owned(),
        problem: error.to_string(),
        expected: BLUEPRINT,
    })?;
    if let Some(path) = blueprint.webhooks().hashes_at().filter(|_| !address_key.is_known()) {
        let problem = format!("is missing, and the blueprint hashes addresses at `{path}`");
        return Err(ConfigError { problem, ..missing(ADDRESS_HASH_SECRET, ADDRESS_HASH_SECRET_FORM) });
    }
    Ok(blueprint)
}

/// When SSM is to be asked again. By the wall clock: Lambda freezes the process between invocations, and the others
/// may stand still meanwhile.
#[derive(Debug)]
struct Schedule {
    read_at: SystemTime,
    validity: Duration,
    doubted_at: Option<SystemTime>,
    is_doubted: bool,
}

impl Schedule {
    fn after_reading(now: SystemTime) -> Self {
        Schedule { read_at: now, validity: jittered(VALIDITY), doubted_at: None, is_doubted: false }
    }

    /// Whether SSM is to be asked now; if so, it counts as asked.
    fn begin(&mut self, now: SystemTime) -> bool {
        // A clock that was set back tells nothing.
        let is_over =
            |since: SystemTime, time| now.duration_since(since).map_or(true, |passed| passed >= time);
        let by_doubt = self.is_doubted && self.doubted_at.is_none_or(|at| is_over(at, DOUBT));
        let is_due = by_doubt || is_over(self.read_at, self.validity);
        if is_due {
            let doubted_at = if by_doubt { Some(now) } else { self.doubted_at };
            *self = Schedule { doubted_at, ..Schedule::after_reading(now) };
        }
        is_due
    }

    /// It was asked in vain.
    fn failed(&mut self) {
        self.validity = jittered(VALIDITY_OF_FAILED);
    }
}

fn jittered(validity: Duration) -> Duration {
    validity.mul_f64(0.8 + 0.2 * world::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    /// At which of these seconds after the start SSM is asked.
    fn asked(schedule: &mut Schedule, seconds: impl IntoIterator<Item = u64>) -> Vec<u64> {
        seconds.into_iter().filter(|second| schedule.begin(START + Duration::from_secs(*second))).collect()
    }

    #[test]
    fn every_five_minutes_and_not_all_at_once() {
        let firsts: Vec<u64> =
            (0..50).map(|_| asked(&mut Schedule::after_reading(START), 1..1_000)[0]).collect();
        assert!(firsts.iter().all(|first| (240..=300).contains(first)), "{firsts:?}");
        assert!(firsts.iter().any(|first| *first != firsts[0]), "{firsts:?}");
        let times = asked(&mut Schedule::after_reading(START), 0..3_600);
        assert!((12..=15).contains(&times.len()), "{times:?}");
        // However long Lambda has frozen the process.
        assert_eq!(asked(&mut Schedule::after_reading(START), [0, 86_400, 86_401]), [86_400]);
    }

    #[test]
    fn a_doubted_key_is_read_at_once_and_then_once_a_minute() {
        let mut schedule = Schedule::after_reading(START);
        let mut times = Vec::new();
        for second in 1..200 {
            schedule.is_doubted = true;
            times.extend(asked(&mut schedule, [second]));
        }
        assert_eq!(times, [1, 61, 121, 181]);
        let mut schedule = Schedule::after_reading(START);
        schedule.is_doubted = true;
        assert_eq!(asked(&mut schedule, 1..200), [1], "one reading settles the doubt");
    }

    #[test]
    fn a_failed_reading_is_repeated_after_a_minute() {
        let mut schedule = Schedule::after_reading(START);
        schedule.is_doubted = true;
        assert_eq!(asked(&mut schedule, [10]), [10]);
        schedule.failed();
        let times = asked(&mut schedule, 11..200);
        assert!((58..=70).contains(&times[0]), "{times:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_does_no_harm() {
        let mut schedule = Schedule::after_reading(START + Duration::from_secs(3_600));
        assert_eq!(asked(&mut schedule, [10, 20, 30]), [10]);
    }

    #[test]
    fn an_echo_is_not_quoted() {
        let keys = Keys::from([("segment", "key".into()), ("vero_track", "hush".into())]);
        let secrets = Secrets { keys, ..Secrets::default() };
        let echo = "Basic a2V5Og== {\"auth_token\":\"hush\"} key";
        assert_eq!(
            secrets.redacted(echo.to_owned()),
            "Basic [secret] {\"auth_token\":\"[secret]\"} [secret]"
        );
        let none = Secrets::default();
        assert_eq!(none.redacted("Basic Og==".to_owned()), "Basic Og==");
    }
}
