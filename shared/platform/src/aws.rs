//! The AWS SDK, set up from what Lambda provides: region and credentials stand in the environment, so that none
//! of the default chain's look-ups (profiles, instance metadata) is linked or waited for.

use std::time::Duration;

use aws_config_types::SdkConfig;
use aws_config_types::region::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::config::{BehaviorVersion, StalledStreamProtectionConfig};
use aws_sdk_ssm::types::Parameter;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::environment::Environment;
use crate::http;
use crate::ssm;
use crate::world;

/// The clock of every call to AWS.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For one attempt.
    pub attempt: Duration,
    /// For all attempts together.
    pub operation: Duration,
    /// How many attempts.
    pub attempts: u32,
}

/// Below the peer's idle time-out: a connection that it has closed meanwhile costs an attempt.
const IDLE: Duration = Duration::from_secs(20);

/// What every service's client is made from. The variables are those that AWS documents for its SDKs.
#[derive(Debug, Clone)]
pub struct Aws {
    shared: SdkConfig,
    sqs_endpoint: Option<String>,
    ssm_endpoint: Option<String>,
    firehose_endpoint: Option<String>,
}

impl Aws {
    /// From the environment.
    pub fn from_environment(environment: &Environment, limits: Timeouts) -> Self {
        let is_set = |name| environment.flag(name, false).unwrap_or(false);
        let endpoint = |service: &str| endpoint(environment, service);
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(limits.attempt)
            .operation_timeout(limits.operation)
            .build();
        // Short steps at first, since SQS is a few milliseconds away; `operation` ends the whole.
        let retries = RetryConfig::standard()
            .with_max_attempts(limits.attempts)
            .with_initial_backoff(Duration::from_millis(100))
            .with_max_backoff(Duration::from_millis(800));
        for (name, other) in
            [("AWS_REGION", "AWS_DEFAULT_REGION"), ("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]
        {
            if environment.get(name).or_else(|| environment.get(other)).is_none() {
                // Lambda sets all three. Not fatal: where there is no SQS to be had, there is still the log.
                tracing::error!("{name} is missing: no call to AWS will succeed");
            }
        }
        let mut shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(world::aws().unwrap_or_else(|| http::client(limits.connect, IDLE)))
            .time_source(world::Clock)
            .sleep_impl(TokioSleep::new())
            .timeout_config(timeouts)
            .retry_config(retries)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .use_fips(is_set("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(is_set("AWS_USE_DUALSTACK_ENDPOINT"));
        if let Some(region) = environment.get("AWS_REGION").or_else(|| environment.get("AWS_DEFAULT_REGION"))
        {
            shared.set_region(Region::new(region.to_owned()));
        }
        if let (Some(id), Some(secret)) =
            (environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"))
        {
            let session = environment.get("AWS_SESSION_TOKEN").map(str::to_owned);
            let credentials = Credentials::new(id, secret, session, None, "environment");
            shared.set_credentials_provider(Some(SharedCredentialsProvider::new(credentials)));
        }
        Aws {
            shared: shared.build(),
            sqs_endpoint: endpoint("SQS"),
            ssm_endpoint: endpoint("SSM"),
            firehose_endpoint: endpoint("FIREHOSE"),
        }
    }

    /// What the client of any other service is made from, with [`unlimited_retries`]. The variable `AWS_ENDPOINT_URL_`
    /// with the service's id, such as `CLOUDWATCH_LOGS`, says where else it may be.
    pub fn of_service(&self, environment: &Environment, id: &str) -> SdkConfig {
        let mut config = self.shared.clone().into_builder();
        config.set_endpoint_url(endpoint(environment, id));
        config.build()
    }

    /// A client for SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut config =
            aws_sdk_sqs::config::Builder::from(&self.shared).retry_partition(unlimited_retries("sqs"));
        config.set_endpoint_url(self.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// A client for Firehose that makes one attempt a call and leaves its time to the caller, as all destinations'
    /// clients do.
    pub fn firehose(&self) -> aws_sdk_firehose::Client {
        let mut config = aws_sdk_firehose::config::Builder::from(&self.shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().build());
        config.set_endpoint_url(self.firehose_endpoint.clone());
        aws_sdk_firehose::Client::from_conf(config.build())
    }

    /// The decrypted values of up to ten of SSM's parameters; those that do not exist are missing.
    ///
    /// # Errors
    /// SSM's code, such as `AccessDeniedException`, or in words what kept it from answering.
    pub(crate) async fn get_parameters(&self, names: Vec<String>) -> Result<Vec<Parameter>, String> {
        let mut config =
            aws_sdk_ssm::config::Builder::from(&self.shared).retry_partition(unlimited_retries("ssm"));
        config.set_endpoint_url(self.ssm_endpoint.clone());
        ssm::get_parameters(&aws_sdk_ssm::Client::from_conf(config.build()), names).await
    }
}

/// The SDK's default bucket of retry tokens runs dry in an outage, just when retries count; time and number bound them
/// here. All clients of a process share that bucket, and what emptied it says nothing about the next call.
pub fn unlimited_retries(service: &'static str) -> RetryPartition {
    RetryPartition::custom(service).token_bucket(TokenBucket::unlimited()).build()
}

/// Where a service is, if not at AWS: by the variables that AWS documents, "Service-specific endpoints".
pub fn endpoint(environment: &Environment, service: &str) -> Option<String> {
    let own = environment.get(&format!("AWS_ENDPOINT_URL_{service}"));
    own.or_else(|| environment.get("AWS_ENDPOINT_URL"))
        .filter(|_| !environment.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", false).unwrap_or(false))
        .map(str::to_owned)
}
