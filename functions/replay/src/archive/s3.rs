//! The client for S3.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use relay_platform::aws::endpoint;
use relay_platform::environment::Environment;
use relay_platform::world::{self, Network, Over};
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(4);
/// A call ends within 16 s: three attempts and two pauses. `object_store` also has a limit for all attempts together, but
/// it measures that by a clock that no simulation can set.
const RETRIES: usize = 2;
/// Between two attempts. It is constant: `object_store` would draw it from chance of its own, which no simulation can repeat.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
#[error("the client for S3 could not be made; is AWS_ENDPOINT_URL_S3 a URL with https, or http on loopback?")]
pub struct S3ClientError(#[source] object_store::Error);

/// A client for a bucket, with region, credentials and endpoint from Lambda's environment.
pub fn client(environment: &Environment, bucket: &str) -> Result<AmazonS3, S3ClientError> {
    // Ring, as in the AWS SDK's client: one TLS stack in the binary. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_timeout(ATTEMPT)
        .with_pool_idle_timeout(Duration::from_secs(20));
    let backoff = BackoffConfig { init_backoff: PAUSE, max_backoff: PAUSE, ..BackoffConfig::default() };
    let retry = RetryConfig { max_retries: RETRIES, backoff, ..RetryConfig::default() };
    let mut builder =
        AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    let variable = |name| environment.get(name).map(str::to_owned);
    if let Some(region) = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")) {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    if let Some(token) = variable("AWS_SESSION_TOKEN") {
        builder = builder.with_token(token);
    }
    if let Some(url) = endpoint(environment, "S3") {
        let may_be_http = is_loopback(&url);
        builder = builder.with_endpoint(url).with_allow_http(may_be_http);
    }
    if let Some(network) = world::network() {
        builder = builder.with_http_connector(OverNetwork(network));
    }
    builder.build().map_err(S3ClientError)
}

/// A client over the network of a world that is not the real one.
#[derive(Clone)]
struct OverNetwork(Arc<dyn Network>);

impl fmt::Debug for OverNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverNetwork")
    }
}

impl HttpConnector for OverNetwork {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for OverNetwork {
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let sending = self.0.send(http::Request::from_parts(head, body), Over::Any);
            let sent = timeout(ATTEMPT, sending).await;
            let sent = sent.map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?;
            let response = sent
                .map_err(|_| HttpError::new(HttpErrorKind::Interrupted, io::Error::other("no response")))?;
            let broken = |error: Box<dyn Error + Send + Sync>| {
                HttpError::new(HttpErrorKind::Interrupted, io::Error::other(error))
            };
            Ok(response.map(|body| HttpResponseBody::new(body.map_err(broken))))
        })
    }
}

fn is_loopback(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}
