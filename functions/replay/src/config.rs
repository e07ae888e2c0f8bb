//! What `replay` is configured with.

use relay_core::destinations::{self, DestinationRow};
use relay_platform::environment::{ConfigErrors, Environment, Expected, missing};
use relay_platform::metrics::Metrics;

#[derive(Debug, Clone)]
pub struct Config {
    /// Where events go: the queue of the worker.
    pub queue_url: String,
    /// Where continuations go: the queue of `replay` itself.
    pub replay_queue_url: String,
    pub bucket: String,
    /// Where `ingest` logs what SQS did not take.
    pub log_group: String,
    /// The webhook endpoints that are on, as envelopes name them.
    pub endpoints: Vec<String>,
    pub metrics: Metrics,
}

const ROW: &DestinationRow = destinations::named("webhook");
const ENDPOINTS: Expected = Expected { form: ROW.switch().form, example: ROW.switch().example };
const BUCKET: Expected =
    Expected { form: "the name of an S3 bucket", example: "vero-relay-archive-123456789012" };
const LOG_GROUP: Expected =
    Expected { form: "the name of a CloudWatch log group", example: "/aws/lambda/vero-relay-ingest" };

impl Config {
    /// # Errors
    /// All errors at once.
    pub fn read(environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut name = |variable, expected, allowed: fn(char) -> bool| {
            let check = |name: &str| match name.chars().all(allowed) {
                true => Ok(name.to_owned()),
                false => Err("has characters that no such name has"),
            };
            let name = environment.parsed(variable, expected, check);
            errors.note(name.and_then(|name| name.ok_or_else(|| missing(variable, expected))))
        };
        let bucket = name("ARCHIVE_BUCKET", BUCKET, |c| c.is_ascii_alphanumeric() || ".-".contains(c));
        let log_group =
            name("INGEST_LOG_GROUP", LOG_GROUP, |c| c.is_ascii_alphanumeric() || "_/.#-".contains(c));
        let config = Config {
            queue_url: errors.note(environment.queue_url("QUEUE_URL")),
            replay_queue_url: errors.note(environment.queue_url("REPLAY_QUEUE_URL")),
            bucket,
            log_group,
            endpoints: errors
                .note(environment.parsed("WEBHOOK_ENDPOINTS", ENDPOINTS, endpoints))
                .unwrap_or_default(),
            metrics: errors.note(Metrics::from_environment(environment)),
        };
        if errors.0.is_empty() { Ok(config) } else { Err(errors) }
    }
}

fn endpoints(list: &str) -> Result<Vec<String>, &'static str> {
    let names = destinations::endpoint_names(list).ok_or("has a name that no endpoint can have")?;
    Ok(names.iter().map(|name| ROW.endpoint(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_at_once() {
        let environment = Environment::of([("QUEUE_URL", "queue"), ("ARCHIVE_BUCKET", "s3://archive")]);
        let errors = Config::read(&environment).unwrap_err().to_string();
        for error in [
            "QUEUE_URL is no http or https URL",
            "REPLAY_QUEUE_URL is missing",
            "ARCHIVE_BUCKET has characters that no such name has. It must be the name of an S3 bucket",
            "INGEST_LOG_GROUP is missing",
        ] {
            assert!(errors.contains(error), "{errors}");
        }
    }
}
