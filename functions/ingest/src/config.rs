//! What `ingest` is configured with.

use relay_platform::environment::{ConfigError, ConfigErrors, Environment, Expected, missing};
use relay_platform::metrics::Metrics;
use relay_platform::secret::SecretSource;

use crate::auth::credentials::Credentials;
use crate::auth::signature::SharedSecret;
use crate::auth::tokens::Tokens;
use crate::http::cors::Origins;

const DIGESTS: Expected = Expected {
    form: "hex SHA-256 digests of tokens, separated by commas",
    example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 (printf %s \"$TOKEN\" | sha256sum)",
};
const ORIGINS: Expected = Expected {
    form: "origins separated by commas, each a scheme and a host without a path",
    example: "https://shop.example.com,https://www.example.com",
};
const SHARED_SECRET: Expected = Expected {
    form: "the shared secret of the Webhooks destination in Segment",
    example: "a-long-random-text",
};

/// The configuration of `ingest`.
#[derive(Debug)]
pub struct Config {
    pub queue_url: String,
    /// For what can never be processed.
    pub dead_letter_queue_url: String,
    pub credentials: Credentials,
    /// The sites whose browsers may send events to `/v1`.
    pub origins: Origins,
    pub metrics: Metrics,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// What must be mended before a single event can be taken: the queues, and one token or key at the least. Any
    /// other error is only logged: a function that does not start loses webhooks.
    pub fn read(environment: &Environment) -> Result<Self, ConfigErrors> {
        let (mut errors, mut lesser) = (ConfigErrors::default(), ConfigErrors::default());
        let config = Config {
            credentials: credentials(environment, &mut errors, &mut lesser),
            queue_url: errors.note(environment.queue_url("QUEUE_URL")),
            dead_letter_queue_url: errors.note(environment.queue_url("DEAD_LETTER_QUEUE_URL")),
            origins: origins(environment, &mut lesser),
            metrics: lesser.note(Metrics::from_environment(environment)),
        };
        for error in &lesser.0 {
            tracing::error!("{error}");
        }
        if errors.0.is_empty() { Ok(config) } else { Err(errors) }
    }
}

fn credentials(
    environment: &Environment,
    errors: &mut ConfigErrors,
    lesser: &mut ConfigErrors,
) -> Credentials {
    const TOKENS: &str = "WEBHOOK_TOKEN_SHA256";
    const VARIABLES: [&str; 4] = [TOKENS, "SEGMENT_TOKEN_SHA256", "WRITE_KEY_SHA256", "BROWSER_KEY_SHA256"];
    let tokens = VARIABLES.map(|variable| Tokens::parse(environment.get(variable).unwrap_or_default()));
    for (variable, list) in VARIABLES.iter().zip(&tokens).filter(|(_, list)| list.unreadable() > 0) {
        let problem = format!("holds {} entries that are no SHA-256 digest of a token", list.unreadable());
        lesser.0.push(ConfigError { problem, ..missing(variable, DIGESTS) });
    }
    if !tokens.iter().any(Tokens::is_usable) {
        errors.0.push(lesser.0.pop().unwrap_or_else(|| missing(TOKENS, DIGESTS)));
    }
    for (index, list) in tokens.iter().enumerate() {
        let others = VARIABLES.iter().zip(&tokens).skip(index + 1);
        for (other, _) in others.filter(|(_, other)| list.overlaps(other)) {
            let problem = format!("holds a digest that {other} holds too; each needs tokens of its own");
            lesser.0.push(ConfigError { problem, ..missing(VARIABLES[index], DIGESTS) });
        }
    }
    let [webhook_tokens, segment_tokens, write_keys, browser_keys] = tokens;
    let shared_secret = match SecretSource::of(environment, "SEGMENT_SHARED_SECRET", SHARED_SECRET) {
        Ok(None) => SharedSecret::Off,
        Ok(Some(source)) => SharedSecret::Source(source),
        Err(error) => {
            lesser.0.push(error);
            SharedSecret::Unusable
        }
    };
    Credentials { webhook_tokens, segment_tokens, write_keys, browser_keys, shared_secret }
}

fn origins(environment: &Environment, lesser: &mut ConfigErrors) -> Origins {
    let (origins, others) = Origins::parse(environment.get("CORS_ORIGINS").unwrap_or_default());
    if others > 0 {
        let problem = format!("holds {others} entries that are no origin");
        lesser.0.push(ConfigError { problem, ..missing("CORS_ORIGINS", ORIGINS) });
    }
    origins
}
