//! AWS: who is asked, and a file for each of its services. Every call ends within half a minute, and what it answers is
//! taken apart here.

mod alarms;
mod archive;
mod functions;
pub mod http;
mod letters;
mod local;
mod logs;
mod metrics;
mod queues;
mod requeued;
mod roles;
mod secrets;
mod stack;
mod state;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};

pub use archive::Table;
pub use letters::{Look, Received};
pub use local::Local;
pub use logs::Group;
pub use metrics::Series;
pub use secrets::fault_of_endpoints;
pub use stack::ChangeSet;

use crate::error::Error;
use crate::options::Target;

/// A connection that is older is not used again.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(4);
const ATTEMPT: Duration = Duration::from_secs(15);
const OPERATION: Duration = Duration::from_secs(30);

/// AWS as the owner of a stack sees it.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// The stack's name.
    pub stack: String,
    /// The stack's region.
    pub region: String,
    /// The `cargo local` that stands in for AWS, if it does.
    pub local: Option<Local>,
    config: SdkConfig,
}

impl Cloud {
    /// Finds region and credentials as every tool of AWS does, or the `cargo local` of this machine. Calls nothing yet.
    ///
    /// # Errors
    /// If there is no region, or no `cargo local`.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(relay_platform::http::client(CONNECT, IDLE))
            .app_name(
                AppName::new("vero-relay")
                    .unwrap_or_else(|_| unreachable!("it has letters and a hyphen alone")),
            )
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        let local = if target.local { Some(Local::find()?) } else { None };
        let config = match &local {
            Some(local) => {
                let credentials = Credentials::new(Local::ACCESS_KEY, "test", None, None, "cargo local");
                loader
                    .endpoint_url(&local.aws)
                    .region(Region::new(local.region.clone()))
                    .credentials_provider(SharedCredentialsProvider::new(credentials))
                    .load()
                    .await
            }
            None => {
                let loader = match &target.profile {
                    Some(profile) => loader.profile_name(profile),
                    None => loader,
                };
                let loader = match &target.region {
                    Some(region) => loader.region(Region::new(region.clone())),
                    None => loader,
                };
                loader.load().await
            }
        };
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            Error::Refused(
                "the region is not known: give --region, set AWS_REGION, or choose a --profile that has one"
                    .to_owned(),
            )
        })?;
        Ok(Cloud { stack: target.stack.clone(), region, local, config })
    }
}
