//! Requests of SDKs that cannot run here, recorded under `wire/` from what their code is known to send.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::{BROWSER_KEY, SEGMENT_TOKEN, WRITE_KEY};
use hyper::header::{HeaderName, HeaderValue};
use local::Project;
use local::http::{self, Request};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::expect::Event;
use crate::recorder::{Recorder, Upstream};
use crate::run::{Run, Wanted};

/// A recorded request. `{{write_key}}`, `{{browser_key}}` and `{{segment_token}}` stand for the pipeline's own, and
/// what follows `Basic` in a header is yet to be encoded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    sdk: String,
    /// Where it is known from.
    #[expect(dead_code, reason = "for the reader of the file")]
    source: String,
    method: String,
    path: String,
    headers: Map<String, Value>,
    gzip: bool,
    body: Value,
    /// What must be at Vero.
    events: Vec<Event>,
    /// How many events of the body are nothing for Vero.
    #[serde(default)]
    skipped: usize,
}

impl Wire {
    /// All recorded requests, by name.
    pub fn all(project: &Project) -> Result<Vec<Wire>> {
        let folder = project.root.join("dev/sdks/wire");
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        ensure!(!files.is_empty(), "{} is empty", folder.display());
        files.iter().map(|file| Wire::read(file).with_context(|| file.display().to_string())).collect()
    }

    fn read(file: &Path) -> Result<Wire> {
        let text = fs::read_to_string(file)?
            .replace("{{write_key}}", WRITE_KEY)
            .replace("{{browser_key}}", BROWSER_KEY)
            .replace("{{segment_token}}", SEGMENT_TOKEN);
        Ok(serde_json::from_str(&text)?)
    }

    pub async fn replay(&self, upstream: &Upstream) -> Result<Run> {
        let recorder = Recorder::start(upstream).await?;
        http::send(recorder.address, self.request()?).await?;
        Ok(Run {
            sdk: self.sdk.clone(),
            version: "recorded".to_owned(),
            gzip: self.gzip,
            wanted: Wanted::Delivery,
            exchanges: recorder.exchanges(),
            events: self.events.clone(),
            skipped: self.skipped,
            complaint: None,
        })
    }

    fn request(&self) -> Result<Request> {
        let mut body = self.body.to_string().into_bytes();
        if self.gzip {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(&body)?;
            body = packed.finish()?;
        }
        let mut request = Request::new(body.into());
        *request.method_mut() = self.method.parse()?;
        *request.uri_mut() = self.path.parse()?;
        for (name, value) in &self.headers {
            let value = value.as_str().with_context(|| format!("{name} is no text"))?;
            let value = match value.strip_prefix("Basic ") {
                Some(credentials) => format!("Basic {}", STANDARD.encode(credentials)),
                None => value.to_owned(),
            };
            request
                .headers_mut()
                .insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(&value)?);
        }
        Ok(request)
    }
}
