//! The bucket and its objects.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use relay_platform::environment::Environment;

use super::error::StoreError;
use super::object_lines::ObjectLines;
use super::s3::{self, S3ClientError};

/// Calls about marks side by side.
pub const MARKS_AT_ONCE: usize = 16;

#[derive(Debug, Clone)]
pub struct ArchiveObject(ObjectMeta);

impl ArchiveObject {
    pub fn key(&self) -> &str {
        self.0.location.as_ref()
    }

    pub fn etag(&self) -> Option<&str> {
        self.0.e_tag.as_deref()
    }
}

#[derive(Debug, Clone)]
pub struct Store(Arc<dyn ObjectStore>);

impl Store {
    pub fn s3(environment: &Environment, bucket: &str) -> Result<Self, S3ClientError> {
        Ok(Store(Arc::new(s3::client(environment, bucket)?)))
    }

    #[cfg(test)]
    pub fn in_memory() -> Self {
        Store(Arc::new(object_store::memory::InMemory::new()))
    }

    #[cfg(test)]
    pub async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.0.put(&Path::from(key), bytes.into()).await.unwrap();
    }

    /// The client itself, for writing in parts.
    pub fn client(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0)
    }

    /// The objects under a prefix that ends with a slash, page by page, in the order of their keys (S3 API reference,
    /// ListObjectsV2); only those after `after`.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<ArchiveObject, StoreError>> {
        let (prefix, path) = (prefix.to_owned(), Path::from(prefix));
        let objects = match after {
            Some(after) => self.0.list_with_offset(Some(&path), &Path::from(after)),
            None => self.0.list(Some(&path)),
        };
        objects
            .map_ok(ArchiveObject)
            .map_err(move |error| StoreError::new("cannot list", prefix.as_str(), &error))
            .boxed()
    }

    pub async fn object(&self, key: &str) -> Result<ArchiveObject, StoreError> {
        let head = self.0.head(&Path::from(key)).await;
        head.map(ArchiveObject).map_err(|error| StoreError::new("cannot find", key, &error))
    }

    pub async fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        match self.0.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(StoreError::new("cannot find", path.as_ref(), &error)),
        }
    }

    /// Makes empty objects.
    pub async fn put_marks<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), StoreError> {
        let puts = paths.into_iter().map(|path| async move {
            let put = self.0.put(path, PutPayload::new()).await;
            put.map(drop).map_err(|error| StoreError::new("cannot write", path.as_ref(), &error))
        });
        // Made before they are polled: a closure that is called within the stream is not known to be `Send`.
        let puts: Vec<_> = puts.collect();
        stream::iter(puts).buffer_unordered(MARKS_AT_ONCE).try_collect().await
    }

    pub fn lines(&self, object: ArchiveObject) -> ObjectLines {
        ObjectLines::new(self.client(), object.0)
    }
}
