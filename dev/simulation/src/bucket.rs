//! The archive: what Firehose makes of its records, and the bucket that they lie in.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use crate::scenario::{MINUTE, Mishap, SECOND};
use crate::state::{ARCHIVE, Simulation, State};

/// The bucket's name.
pub const BUCKET: &str = "archive";

/// Puts what Firehose has taken into the bucket, every few minutes.
pub async fn fill(simulation: Arc<Simulation>) {
    let mut number = 0;
    loop {
        let pause = simulation.lock().rng.u64(SECOND..5 * MINUTE);
        sleep(Duration::from_millis(pause)).await;
        let mut guard = simulation.lock();
        let state = &mut *guard;
        let mut objects: BTreeMap<String, String> = BTreeMap::new();
        for record in state.aws.take_records(ARCHIVE) {
            let row: Value = serde_json::from_str(&record).unwrap_or_default();
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let day: String = text("received_at").chars().take(10).collect();
            let key = format!("data/day={day}/source={}/{number:06}.gz", text("source"));
            objects.entry(key).or_default().push_str(&record);
        }
        for (key, lines) in objects {
            number += 1;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing into memory does not fail.
            let written = gzip.write_all(lines.as_bytes()).and_then(|()| gzip.finish());
            state.tell(|| format!("Firehose writes {key}"));
            state.bucket.put(&key, written.unwrap_or_default());
        }
    }
}

impl State {
    /// Answers a request to S3, and says whether the answer's body breaks off.
    pub fn s3(&mut self, request: &Request<Bytes>, mishap: Option<Mishap>) -> (Response<Vec<u8>>, bool) {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let refusal = match mishap {
            Some(Mishap::Refused) => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Some(Mishap::Throttled) => Some(StatusCode::SERVICE_UNAVAILABLE),
            // Mostly the role may read, and not write.
            Some(Mishap::Unauthorized) if !is_read || self.rng.usize(..8) == 0 => Some(StatusCode::FORBIDDEN),
            _ => None,
        };
        if let Some(status) = refusal {
            let mut response = Response::default();
            *response.status_mut() = status;
            return (response, false);
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut response = self.bucket.answer(request.method(), target, request.headers(), request.body());
        let length = response.body().len();
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
        (response, mishap == Some(Mishap::AnswerCut) && length > 0)
    }
}
