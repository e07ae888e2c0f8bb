//! What `ingest` is configured with.

use relay_platform::environment::{Environment, Faults, Form, missing};

use crate::token::Tokens;

const DIGESTS: Form = Form {
    is: "hex SHA-256 digests of webhook tokens, separated by commas",
    example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 (printf %s \"$TOKEN\" | sha256sum)",
};

/// The configuration of `ingest`.
#[derive(Debug)]
pub struct Config {
    /// Where webhooks go.
    pub queue_url: String,
    /// Where goes what can never be processed.
    pub dead_letter_queue_url: String,
    /// The tokens that open `/vero`.
    pub webhook_tokens: Tokens,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// What must be mended before a single webhook can be taken. Any other fault is only logged: a function that
    /// does not start loses webhooks.
    pub fn read(environment: &Environment) -> Result<Self, Faults> {
        const TOKENS: &str = "WEBHOOK_TOKEN_SHA256";
        let mut faults = Faults::default();
        let queue_url = faults.note(environment.queue_url("QUEUE_URL"));
        let dead_letter_queue_url = faults.note(environment.queue_url("DEAD_LETTER_QUEUE_URL"));
        let (webhook_tokens, unreadable) = Tokens::parse(environment.get(TOKENS).unwrap_or_default());
        if webhook_tokens.is_empty() {
            let mut fault = missing(TOKENS, DIGESTS);
            if unreadable > 0 {
                fault.problem = "holds no SHA-256 digest of a token".to_owned();
            }
            faults.0.push(fault);
        } else if unreadable > 0 {
            let problem = format!("holds {unreadable} entries that are no SHA-256 digest of a token");
            tracing::error!("{}", relay_platform::environment::Fault { problem, ..missing(TOKENS, DIGESTS) });
        }
        if faults.0.is_empty() {
            Ok(Config { queue_url, dead_letter_queue_url, webhook_tokens })
        } else {
            Err(faults)
        }
    }
}
