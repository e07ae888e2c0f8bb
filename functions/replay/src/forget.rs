//! Forgetting: the archive's objects that have rows of a user are written anew without them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attributes, GetOptions, ObjectStore as _};
use relay_core::archive::Archived;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;

use crate::fields::{BadRequest, Fields};
use crate::lines::Line;
use crate::progress_log::ProgressLog;
use crate::replay::TaskOutcome;
use crate::store::{NextLine, Object, Store, StoreError, shown};
use crate::time_limit::TimeLimit;

const EXAMPLE: &str = r#"{"forget":{"user_id":"123","email":"a@example.com"},"dry_run":true}"#;
const ARCHIVE: &str = "data/";

/// What is held of an object before it goes out; above that it goes out in parts, of at least 5 MiB (S3 API reference,
/// "Multipart upload limits"), and two at once.
const HELD: usize = 6 * 1024 * 1024;
const PARTS_AT_ONCE: usize = 2;

/// Whom to forget: rows with this id or this address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetRequest {
    user_id: Option<String>,
    /// In lower case: addresses are compared without.
    email: Option<String>,
    /// Only count.
    pub dry_run: bool,
}

impl ForgetRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that is at fault.
    pub fn parse(event: Map<String, Value>) -> Result<Self, BadRequest> {
        let mut fields = Fields::of("event", event, EXAMPLE);
        let Some(Value::Object(user)) = fields.take("forget") else {
            return Err(BadRequest::new("forget", "must be an object that says whom", EXAMPLE));
        };
        let dry_run = fields.flag("dry_run")?;
        fields.end()?;
        let mut user = Fields::of("forget", user, EXAMPLE);
        let user_id = user.text("user_id", "\"123\"")?;
        let email = user.text("email", "\"a@example.com\"")?;
        user.end()?;
        if user_id.is_none() && email.is_none() {
            return Err(BadRequest::new("forget", "must have a user_id, an email, or both", EXAMPLE));
        }
        Ok(ForgetRequest { user_id, email: email.map(|email| email.to_lowercase()), dry_run })
    }

    fn is_of_user(&self, row: &Archived<'_>) -> bool {
        let is_id = self.user_id.is_some() && row.user_id == self.user_id;
        let email = || row.email.as_ref().map(|email| email.to_lowercase());
        is_id || (self.email.is_some() && email() == self.email)
    }
}

/// How far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetProgress {
    /// The key of the last object that is done; `None`: none is.
    pub after: Option<String>,
    /// What was found.
    #[serde(default)]
    pub counts: ForgetCounts,
}

impl ForgetProgress {
    /// Whether an earlier invocation may have said so: whoever invokes brings it, and it is logged.
    pub fn is_ours(&self) -> bool {
        self.after.as_ref().is_none_or(|key| shown(key) == key)
    }

    /// The same for a log.
    pub fn shown(&self) -> Self {
        ForgetProgress { after: self.after.as_deref().map(|key| shown(key).to_owned()), ..self.clone() }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetCounts {
    /// Objects that were looked at.
    pub objects: u64,
    /// Objects that had rows of the user.
    pub matched: u64,
    /// Objects that were written anew.
    pub rewritten: u64,
    /// Rows of the user.
    pub rows: u64,
    /// Lines that are no rows of the archive, and stay; whether they are the user's is not known.
    pub unreadable: u64,
    /// Objects that were left alone, since they cannot be read to their end.
    pub left: u64,
}

/// What an object holds.
#[derive(Debug, Default)]
struct Found {
    rows: u64,
    unreadable: u64,
    is_gzip: bool,
    is_whole: bool,
}

/// Goes on from where `progress` is. Afterwards, and after an error, `progress` is where to go on.
///
/// # Errors
/// If S3 does not do what it is asked.
pub async fn run(
    request: &ForgetRequest,
    progress: &mut ForgetProgress,
    store: &Store,
    limit: &TimeLimit,
) -> Result<TaskOutcome, StoreError> {
    let mut reporter = ProgressLog::new();
    let mut objects = store.list(ARCHIVE, progress.after.as_deref());
    while let Some(object) = objects.try_next().await? {
        let found = look(request, store, &object).await?;
        let counts = &mut progress.counts;
        counts.objects += 1;
        counts.unreadable += found.unreadable;
        if !found.is_whole {
            counts.left += 1;
        } else if found.rows > 0 {
            if !request.dry_run {
                rewrite(request, store, &object, found.is_gzip).await?;
                counts.rewritten += 1;
            }
            counts.matched += 1;
            counts.rows += found.rows;
        }
        progress.after = Some(object.key().to_owned());
        reporter.tick("forget", &progress.counts);
        if limit.is_over() {
            return Ok(TaskOutcome::TimeIsUp);
        }
    }
    Ok(TaskOutcome::Done)
}

async fn look(request: &ForgetRequest, store: &Store, object: &Object) -> Result<Found, StoreError> {
    let mut found = Found { is_whole: true, ..Found::default() };
    let mut lines = store.lines(object.clone());
    loop {
        match lines.next().await? {
            NextLine::Line(Line::Whole(line)) => match row(&line) {
                Some(row) => found.rows += u64::from(request.is_of_user(&row)),
                None => found.unreadable += 1,
            },
            NextLine::Line(Line::TooLong) => {
                tracing::error!(
                    object = shown(object.key()),
                    "a line over 1 MiB: the object is left as it is"
                );
                found.is_whole = false;
            }
            NextLine::Corrupt(error) => {
                tracing::error!("{error}; it is left as it is");
                found.is_whole = false;
            }
            NextLine::End => break,
        }
    }
    found.is_gzip = lines.is_gzip();
    Ok(found)
}

fn row(line: &[u8]) -> Option<Archived<'_>> {
    std::str::from_utf8(line).ok().and_then(Archived::parse)
}

/// Writes an object anew. It is the old one to the last moment: S3 replaces it at once or not at all.
async fn rewrite(
    request: &ForgetRequest,
    store: &Store,
    object: &Object,
    gzip: bool,
) -> Result<(), StoreError> {
    const WHAT: &str = "cannot write";
    let failed = |error: std::io::Error| StoreError::of_writer(WHAT, object.key(), &error);
    let path = Path::from(object.key());
    let attributes =
        attributes(store, &path).await.map_err(|error| StoreError::new(WHAT, object.key(), &error))?;
    let mut writer = BufWriter::with_capacity(store.client(), path, HELD)
        .with_max_concurrency(PARTS_AT_ONCE)
        .with_attributes(attributes);
    let written = async {
        let mut encoder = Encoder::new(gzip);
        let mut lines = store.lines(object.clone());
        loop {
            match lines.next().await? {
                NextLine::Line(Line::Whole(line))
                    if row(&line).is_some_and(|row| request.is_of_user(&row)) => {}
                NextLine::Line(Line::Whole(line)) => {
                    let encoded = encoder.add(&line);
                    writer.write_all(&encoded).await.map_err(failed)?;
                }
                // It was read to its end before, and is the same still.
                NextLine::Line(Line::TooLong) => (),
                NextLine::Corrupt(error) => return Err(error),
                NextLine::End => break,
            }
        }
        writer.write_all(&encoder.end()).await.map_err(failed)?;
        // Another run may have written it meanwhile, without a user whose rows this one still has. What is left of that
        // risk is the moment between these two calls; docs/archive.md says to forget one after the other.
        if store.object(object.key()).await?.etag() != object.etag() {
            return Err(StoreError::overtaken(object.key()));
        }
        writer.shutdown().await.map_err(failed)
    }
    .await;
    if written.is_err() {
        // Parts without an end cost money, until the bucket's lifecycle ends them.
        let _ = writer.abort().await;
    }
    written
}

/// What S3 says of the object's type and encoding, which stays.
async fn attributes(store: &Store, path: &Path) -> object_store::Result<Attributes> {
    let head = GetOptions { head: true, ..GetOptions::default() };
    Ok(store.client().get_opts(path, head).await?.attributes)
}

/// Lines to bytes, as they were packed before.
enum Encoder {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(gzip: bool) -> Self {
        if gzip { Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())) } else { Encoder::Plain }
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

#[cfg(test)]
mod tests;
