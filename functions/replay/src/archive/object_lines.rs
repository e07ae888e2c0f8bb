//! An object, line by line.

use std::sync::Arc;

use object_store::{GetOptions, ObjectMeta, ObjectStore};

use super::error::StoreError;
use super::line_splitter::{Line, LineSplitter, MAX_STEP};

/// Bytes that are fetched at a time. If one response had the whole object, it would be read as slowly as events may go
/// out, and S3 would break it off.
const PART: u64 = 1024 * 1024;

#[derive(Debug)]
pub enum NextLine {
    Line(Line),
    /// The rest cannot be decompressed, however often it is tried.
    Corrupt(StoreError),
    End,
}

/// Holds a part of the object at a time, a line, and what a step decompresses to.
#[derive(Debug)]
pub struct ObjectLines {
    store: Arc<dyn ObjectStore>,
    object: ObjectMeta,
    fetched: u64,
    part: Vec<u8>,
    fed: usize,
    splitter: LineSplitter,
    is_over: bool,
}

impl ObjectLines {
    pub fn new(store: Arc<dyn ObjectStore>, object: ObjectMeta) -> Self {
        let splitter = LineSplitter::default();
        ObjectLines { store, object, fetched: 0, part: Vec::new(), fed: 0, splitter, is_over: false }
    }

    /// # Errors
    /// If S3 does not give the line, or the object was overwritten since it was listed.
    pub async fn next(&mut self) -> Result<NextLine, StoreError> {
        loop {
            if let Some(line) = self.splitter.next() {
                return Ok(NextLine::Line(line));
            }
            if self.is_over {
                return Ok(NextLine::End);
            }
            if self.fed == self.part.len() && self.fetched < self.object.size {
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
                return Ok(NextLine::Corrupt(StoreError::corrupt(self.object.location.as_ref())));
            }
        }
    }

    /// Whether the object is compressed, as far as it has been read.
    pub fn is_gzip(&self) -> bool {
        self.splitter.is_gzip()
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let end = self.object.size.min(self.fetched + PART);
        let options = GetOptions {
            range: Some((self.fetched..end).into()),
            if_match: self.object.e_tag.clone(),
            ..GetOptions::default()
        };
        let failed = |error| StoreError::new("cannot read", self.object.location.as_ref(), &error);
        let response = self.store.get_opts(&self.object.location, options).await.map_err(failed)?;
        self.part = response.bytes().await.map_err(failed)?.into();
        self.fed = 0;
        self.fetched = end;
        Ok(())
    }
}
