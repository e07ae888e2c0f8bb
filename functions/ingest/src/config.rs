//! What `ingest` is configured with.

use relay_platform::environment::{Environment, Fault, Faults, Form, missing};
use relay_platform::metrics::Metrics;
use relay_platform::secret::SecretSource;

use crate::cors::Origins;
use crate::signature::SharedSecret;
use crate::token::Tokens;

const DIGESTS: Form = Form {
    is: "hex SHA-256 digests of tokens, separated by commas",
    example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 (printf %s \"$TOKEN\" | sha256sum)",
};
const ORIGINS: Form = Form {
    is: "origins separated by commas, each a scheme and a host without a path",
    example: "https://shop.example.com,https://www.example.com",
};
const SHARED_SECRET: Form =
    Form { is: "the shared secret of the Webhooks destination in Segment", example: "a-long-random-text" };

/// The configuration of `ingest`.
#[derive(Debug)]
pub struct Config {
    /// Where events go.
    pub queue_url: String,
    /// Where goes what can never be processed.
    pub dead_letter_queue_url: String,
    /// The tokens that open `/vero`.
    pub webhook_tokens: Tokens,
    /// The tokens that open `/segment`; none: the route is not there.
    pub segment_tokens: Tokens,
    /// The write keys that open `/v1` for whatever Segment's spec knows.
    pub write_keys: Tokens,
    /// The write keys that open `/v1` for telling what happened, and for nothing else.
    pub browser_keys: Tokens,
    /// The sites whose browsers may send events to `/v1`.
    pub origins: Origins,
    /// What Segment signs its events with.
    pub shared_secret: SharedSecret,
    /// Where metrics go.
    pub metrics: Metrics,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// What must be mended before a single event can be taken: the queues, and one token or key at the least. Any
    /// other fault is only logged: a function that does not start loses webhooks.
    pub fn read(environment: &Environment) -> Result<Self, Faults> {
        const TOKENS: &str = "WEBHOOK_TOKEN_SHA256";
        let (mut faults, mut lesser) = (Faults::default(), Faults::default());
        let mut tokens = |variable: &str| {
            let (tokens, unreadable) = Tokens::parse(environment.get(variable).unwrap_or_default());
            if unreadable > 0 {
                let problem = format!("holds {unreadable} entries that are no SHA-256 digest of a token");
                lesser.0.push(Fault { problem, ..missing(variable, DIGESTS) });
            }
            tokens
        };
        let webhook_tokens = tokens(TOKENS);
        let segment_tokens = tokens("SEGMENT_TOKEN_SHA256");
        let write_keys = tokens("WRITE_KEY_SHA256");
        let browser_keys = tokens("BROWSER_KEY_SHA256");
        if [&webhook_tokens, &segment_tokens, &write_keys, &browser_keys]
            .iter()
            .all(|tokens| tokens.is_empty())
        {
            match lesser.0.pop() {
                Some(unreadable) => faults.0.push(unreadable),
                None => faults.0.push(missing(TOKENS, DIGESTS)),
            }
        }
        let (origins, others) = Origins::parse(environment.get("CORS_ORIGINS").unwrap_or_default());
        if !others.is_empty() {
            let problem = format!("holds what is no origin: {}", others.join(", "));
            lesser.0.push(Fault { problem, ..missing("CORS_ORIGINS", ORIGINS) });
        }
        let shared_secret = match SecretSource::of(environment, "SEGMENT_SHARED_SECRET", SHARED_SECRET) {
            Ok(None) => SharedSecret::Off,
            Ok(Some(source)) => SharedSecret::Source(source),
            Err(fault) => {
                lesser.0.push(fault);
                SharedSecret::Unusable
            }
        };
        let metrics = lesser.note(Metrics::from_environment(environment));
        let config = Config {
            queue_url: faults.note(environment.queue_url("QUEUE_URL")),
            dead_letter_queue_url: faults.note(environment.queue_url("DEAD_LETTER_QUEUE_URL")),
            webhook_tokens,
            segment_tokens,
            write_keys,
            browser_keys,
            origins,
            shared_secret,
            metrics,
        };
        for fault in &lesser.0 {
            tracing::error!("{fault}");
        }
        if faults.0.is_empty() { Ok(config) } else { Err(faults) }
    }
}
