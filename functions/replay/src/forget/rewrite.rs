//! An object is written again without the rows of a user.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attributes, GetOptions, ObjectStore as _};
use tokio::io::AsyncWriteExt as _;

use super::request::ForgetRequest;
use crate::archive::{ArchiveObject, Line, NextLine, Store, StoreError, row};

const CANNOT_WRITE: &str = "cannot write";

/// An object up to this size is written at once. A larger one goes in parts, of at least 5 MiB (S3 API reference,
/// "Multipart upload limits"), and two at a time.
pub const MAX_BUFFERED: usize = 6 * 1024 * 1024;
const PARTS_AT_ONCE: usize = 2;

/// The old object is there until the last moment: S3 replaces it at once or not at all.
///
/// # Errors
/// If S3 does not read or write the object, or another run has overwritten it meanwhile.
pub async fn rewrite(
    request: &ForgetRequest,
    store: &Store,
    object: &ArchiveObject,
    is_gzip: bool,
) -> Result<(), StoreError> {
    let path = Path::from(object.key());
    let attributes = attributes(store, &path)
        .await
        .map_err(|error| StoreError::new(CANNOT_WRITE, object.key(), &error))?;
    let mut writer = BufWriter::with_capacity(store.client(), path, MAX_BUFFERED)
        .with_max_concurrency(PARTS_AT_ONCE)
        .with_attributes(attributes);
    if let Err(error) = write_without_user(request, store, object, Encoder::new(is_gzip), &mut writer).await {
        // Parts without an end cost money, until the bucket's lifecycle ends them.
        let _ = writer.abort().await;
        return Err(error);
    }
    // If this fails, it ends the parts itself; a writer that was shut down must not be aborted.
    writer.shutdown().await.map_err(|error| failed(object, &error))
}

fn failed(object: &ArchiveObject, error: &std::io::Error) -> StoreError {
    StoreError::of_writer(CANNOT_WRITE, object.key(), error)
}

async fn write_without_user(
    request: &ForgetRequest,
    store: &Store,
    object: &ArchiveObject,
    mut encoder: Encoder,
    writer: &mut BufWriter,
) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| failed(object, &error);
    let mut lines = store.lines(object.clone());
    loop {
        match lines.next().await? {
            NextLine::Line(Line::Whole(line)) => {
                if !row(&line).is_some_and(|row| request.is_of_user(&row)) {
                    writer.write_all(&encoder.add(&line)).await.map_err(failed)?;
                }
            }
            // The object was read to its end before, and is the same still.
            NextLine::Line(Line::TooLong) => (),
            NextLine::Corrupt(error) => return Err(error),
            NextLine::End => break,
        }
    }
    writer.write_all(&encoder.end()).await.map_err(failed)?;
    // Another run may have written it meanwhile, without a user whose rows this one still has. What is left of that
    // risk is the moment between these two calls; docs/archive.md says to forget one user after the other.
    if store.object(object.key()).await?.etag() != object.etag() {
        return Err(StoreError::overwritten(object.key()));
    }
    Ok(())
}

/// The object's content type and encoding, which stay.
pub async fn attributes(store: &Store, path: &Path) -> object_store::Result<Attributes> {
    let head = GetOptions { head: true, ..GetOptions::default() };
    Ok(store.client().get_opts(path, head).await?.attributes)
}

/// Lines to bytes, compressed as the object was before.
enum Encoder {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(is_gzip: bool) -> Self {
        match is_gzip {
            true => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            false => Encoder::Plain,
        }
    }

    fn add(&mut self, line: &[u8]) -> Vec<u8> {
        match self {
            Encoder::Plain => [line, b"\n"].concat(),
            Encoder::Gzip(encoder) => {
                // Writing to memory cannot fail.
                let _ = encoder.write_all(line).and_then(|()| encoder.write_all(b"\n"));
                std::mem::take(encoder.get_mut())
            }
        }
    }

    fn end(self) -> Vec<u8> {
        match self {
            Encoder::Plain => Vec::new(),
            Encoder::Gzip(encoder) => encoder.finish().unwrap_or_default(),
        }
    }
}
