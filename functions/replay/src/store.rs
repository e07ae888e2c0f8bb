//! The archive's bucket: a client for S3, and objects as lines.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use relay_platform::aws::endpoint;
use relay_platform::environment::Environment;

use crate::lines::{Line, LineSplitter, MAX_STEP};

/// Objects are fetched so many bytes at a time: an answer that is read as slowly as events may go out would be broken
/// off by S3.
const PART: u64 = 1024 * 1024;

const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(5);
/// All attempts together, well inside the time that is kept for handing over.
const OPERATION: Duration = Duration::from_secs(10);

/// What S3 did not do. Its own messages are left out, since they may quote the request.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {cause}", shown(key))]
pub struct StoreError {
    what: &'static str,
    key: String,
    cause: &'static str,
}

impl StoreError {
    /// From the client's error.
    pub fn new(what: &'static str, key: impl Into<String>, error: &object_store::Error) -> Self {
        use object_store::Error;
        let cause = match error {
            Error::NotFound { .. } => "it is not there",
            Error::Precondition { .. } => "it was written anew meanwhile",
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => "the role may not do that",
            Error::InvalidPath { .. } => "its key is none that can be read",
            _ => "S3 did not do it in time, or broke off",
        };
        StoreError { what, key: key.into(), cause }
    }

    /// From the error of a writer, which holds the client's.
    pub fn of_writer(what: &'static str, key: &str, error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(error) => StoreError::new(what, key, error),
            None => StoreError { what, key: key.to_owned(), cause: "writing broke off" },
        }
    }

    /// Of an object that somebody else has written since it was read.
    pub fn overtaken(key: &str) -> Self {
        StoreError { what: "cannot write", key: key.to_owned(), cause: "it was written anew meanwhile" }
    }

    fn corrupt(key: &str) -> Self {
        StoreError { what: "cannot unpack", key: key.to_owned(), cause: "its gzip is cut off or garbled" }
    }
}

/// A key as a log may have it: of the objects that Firehose, Athena and this function make. Any other is somebody's text.
pub fn shown(key: &str) -> &str {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=' | b'/');
    let is_ours = ["data/", "athena/", "requeued/"].iter().any(|prefix| key.starts_with(prefix));
    if is_ours && key.bytes().all(is_plain) { key } else { "(an object whose key is not shown)" }
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for S3 could not be made; is AWS_ENDPOINT_URL_S3 a URL with https, or http on loopback?")]
pub struct S3ClientError(#[source] object_store::Error);

/// An object that is there.
#[derive(Debug, Clone)]
pub struct Object(ObjectMeta);

impl Object {
    /// Its key.
    pub fn key(&self) -> &str {
        self.0.location.as_ref()
    }

    /// What it holds, in a word.
    pub fn etag(&self) -> Option<&str> {
        self.0.e_tag.as_deref()
    }
}

/// What became of reading on.
#[derive(Debug)]
pub enum NextLine {
    /// A line.
    Line(Line),
    /// The rest cannot be unpacked, however often it is tried.
    Corrupt(StoreError),
    /// There is no more.
    End,
}

/// The bucket.
#[derive(Debug, Clone)]
pub struct Store(Arc<dyn ObjectStore>);

impl Store {
    /// S3 as Lambda's environment has it.
    ///
    /// # Errors
    /// If the endpoint is none.
    pub fn s3(environment: &Environment, bucket: &str) -> Result<Self, S3ClientError> {
        // Ring, as in the AWS SDK's client: one TLS stack in the binary. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(ATTEMPT)
            .with_pool_idle_timeout(Duration::from_secs(20));
        let retry = RetryConfig { max_retries: 5, retry_timeout: OPERATION, ..RetryConfig::default() };
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
            let is_loopback = reqwest::Url::parse(&url).is_ok_and(|url| {
                let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            });
            builder = builder.with_endpoint(url).with_allow_http(is_loopback);
        }
        Ok(Store(Arc::new(builder.build().map_err(S3ClientError)?)))
    }

    /// A store in memory, for tests.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        Store(Arc::new(object_store::memory::InMemory::new()))
    }

    /// Puts an object there, for tests.
    #[cfg(test)]
    pub async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.0.put(&Path::from(key), bytes.into()).await.unwrap();
    }

    /// The client itself, for writing.
    pub fn client(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0)
    }

    /// The objects under a prefix that ends with a slash, page by page, in the order of their keys (S3 API reference,
    /// ListObjectsV2); only those after `after`.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'static, Result<Object, StoreError>> {
        let (prefix, path) = (prefix.to_owned(), Path::from(prefix));
        let objects = match after {
            Some(after) => self.0.list_with_offset(Some(&path), &Path::from(after)),
            None => self.0.list(Some(&path)),
        };
        objects
            .map_ok(Object)
            .map_err(move |error| StoreError::new("cannot list", prefix.as_str(), &error))
            .boxed()
    }

    /// An object by its key.
    ///
    /// # Errors
    /// If it is not there, or S3 does not say.
    pub async fn object(&self, key: &str) -> Result<Object, StoreError> {
        let head = self.0.head(&Path::from(key)).await;
        head.map(Object).map_err(|error| StoreError::new("cannot find", key, &error))
    }

    /// Whether there is an object of this key.
    ///
    /// # Errors
    /// If S3 does not say.
    pub async fn holds(&self, path: &Path) -> Result<bool, StoreError> {
        match self.0.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(StoreError::new("cannot find", path.as_ref(), &error)),
        }
    }

    /// An object's lines.
    pub fn lines(&self, object: Object) -> ObjectLines {
        ObjectLines {
            store: Arc::clone(&self.0),
            object,
            fetched: 0,
            part: Vec::new(),
            fed: 0,
            splitter: LineSplitter::default(),
            is_over: false,
        }
    }
}

/// An object, line by line. At no time more of it is held than a part, a line, and what a step unpacks to.
#[derive(Debug)]
pub struct ObjectLines {
    store: Arc<dyn ObjectStore>,
    object: Object,
    fetched: u64,
    part: Vec<u8>,
    fed: usize,
    splitter: LineSplitter,
    is_over: bool,
}

impl ObjectLines {
    /// The next line.
    ///
    /// # Errors
    /// If S3 does not give it, or the object was written anew since it was listed.
    pub async fn next(&mut self) -> Result<NextLine, StoreError> {
        loop {
            if let Some(line) = self.splitter.next() {
                return Ok(NextLine::Line(line));
            }
            if self.is_over {
                return Ok(NextLine::End);
            }
            if self.fed == self.part.len() && self.fetched < self.object.0.size {
                self.fetch().await?;
            }
            let step = &self.part[self.fed..self.part.len().min(self.fed + MAX_STEP)];
            self.fed += step.len();
            let fed = match step.is_empty() {
                false => self.splitter.feed(step),
                true => {
                    self.is_over = true;
                    self.splitter.end()
                }
            };
            if fed.is_err() {
                self.is_over = true;
                return Ok(NextLine::Corrupt(StoreError::corrupt(self.object.key())));
            }
        }
    }

    /// Whether it is packed with gzip, as far as it has been read.
    pub fn is_gzip(&self) -> bool {
        self.splitter.is_gzip()
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let end = self.object.0.size.min(self.fetched + PART);
        let options = GetOptions {
            range: Some((self.fetched..end).into()),
            if_match: self.object.0.e_tag.clone(),
            ..GetOptions::default()
        };
        let failed = |error| StoreError::new("cannot read", self.object.key(), &error);
        let answer = self.store.get_opts(&self.object.0.location, options).await.map_err(failed)?;
        self.part = answer.bytes().await.map_err(failed)?.into();
        self.fed = 0;
        self.fetched = end;
        Ok(())
    }
}
