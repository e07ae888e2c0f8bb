//! What the worker reads once, at its start: the destinations' keys, and the blueprint, which may be too large for a
//! variable.

use relay_core::blueprint::Blueprint;
use relay_platform::aws::Aws;
use relay_platform::environment::{Fault, Faults};
use relay_platform::secret;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{BLUEPRINT, Config};

/// The keys of the destinations that are on, and the blueprint.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Segment's write key.
    pub segment: Option<SecretString>,
    /// Vero's auth token.
    pub vero: Option<SecretString>,
    /// The mapping of first-party events.
    pub blueprint: Blueprint,
}

/// Reads all of it, with at most one call to SSM.
///
/// # Errors
/// The variables whose parameters cannot be read, and a blueprint's mistake.
pub async fn read(aws: &Aws, config: &Config) -> Result<Secrets, Faults> {
    let [segment, vero] =
        [&config.segment, &config.vero].map(|access| access.as_ref().map(|access| &access.secret));
    let [segment, vero, blueprint] =
        secret::read_all(aws, [segment, vero, config.blueprint.as_ref()]).await?;
    let blueprint = blueprint.as_ref().map(|json| Blueprint::parse(json.expose_secret()));
    let blueprint = blueprint.transpose().map_err(|mistake| {
        let variable = "BLUEPRINT".to_owned();
        Faults(vec![Fault { variable, problem: mistake.to_string(), form: BLUEPRINT }])
    })?;
    Ok(Secrets { segment, vero, blueprint: blueprint.unwrap_or_default() })
}
