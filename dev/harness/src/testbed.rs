//! What our functions need around them: queues as the template makes them, destinations, a bucket, and the variables that
//! name all this.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::function::Function;
use crate::receiver::Receiver;
use crate::s3::S3;
use crate::sqs::{Queue, QueueSettings, Sqs};

/// Each secret of a testbed begins with this word, so that a test can look for it where no secret may be.
pub const CANARY: &str = "CANARY";
/// Opens `/vero`.
pub const WEBHOOK_TOKEN: &str = "CANARY-WEBHOOK-TOKEN";
/// Opens `/segment`.
pub const SEGMENT_TOKEN: &str = "CANARY-SEGMENT-TOKEN";
/// Opens `/v1`.
pub const WRITE_KEY: &str = "CANARY-WRITE-KEY";
/// Opens `/v1` for track, page and screen.
pub const BROWSER_KEY: &str = "CANARY-BROWSER-KEY";
/// The worker's own at Segment.
pub const SEGMENT_WRITE_KEY: &str = "CANARY-SEGMENT-WRITE-KEY";
/// The worker's own at Vero.
pub const VERO_AUTH_TOKEN: &str = "CANARY-VERO-AUTH-TOKEN";

/// What requests to webhook endpoints are signed with.
pub const ENDPOINT_SECRET: &str = "whsec_Q0FOQVJZLUVORFBPSU5ULVNFQ1JFVC0x";

/// The delivery streams that there are; a worker uses them if its variables say so.
pub const ARCHIVE_STREAM: &str = "archive";
/// The stream of the delivery log.
pub const DELIVERIES_STREAM: &str = "deliveries";

/// A testbed, until it is dropped.
pub struct Testbed {
    pub sqs: Sqs,
    pub s3: S3,
    /// Between ingest and the worker.
    pub queue: Queue,
    /// The dead-letter queue of both others.
    pub dead: Queue,
    /// What replay goes on by.
    pub replay_queue: Queue,
    pub segment: Receiver,
    pub vero: Receiver,
    /// A webhook endpoint; a worker uses it if its variables say so.
    pub endpoint: Receiver,
}

impl Testbed {
    /// One where all is well.
    pub async fn start() -> Result<Self> {
        Self::with_sqs(Sqs::start().await?).await
    }

    /// One with an SQS that is there already, such as one behind TLS.
    pub async fn with_sqs(sqs: Sqs) -> Result<Self> {
        let dead = sqs.queue("dead", QueueSettings::default());
        let queue = |name, visibility_s, max_receive_count| {
            let dead_letter = Some(dead.name().to_owned());
            let visibility = Duration::from_secs(visibility_s);
            sqs.queue(name, QueueSettings { visibility, max_receive_count, dead_letter })
        };
        let (main, replay_queue) = (queue("main", 150, 10), queue("replay", 960, 5));
        for stream in [ARCHIVE_STREAM, DELIVERIES_STREAM] {
            sqs.stream(stream);
        }
        let (s3, segment, vero) = (S3::start().await?, Receiver::start().await?, Receiver::start().await?);
        let endpoint = Receiver::start().await?;
        Ok(Self { sqs, s3, queue: main, dead, replay_queue, segment, vero, endpoint })
    }

    /// Settings of an endpoint at this receiver; `more` adds fields.
    pub fn endpoint_settings(receiver: &Receiver, more: &Value) -> Value {
        let mut settings = json!({"url": format!("{}/hook", receiver.url()), "secrets": [ENDPOINT_SECRET]});
        if let (Some(settings), Some(more)) = (settings.as_object_mut(), more.as_object()) {
            settings.extend(more.clone());
        }
        settings
    }

    /// Ingest with all routes on; `more` adds variables, and an empty one takes away.
    pub async fn ingest(&self, binary: impl AsRef<Path>, more: &[(&str, &str)]) -> Result<Function> {
        let [webhook, segment, write_key, browser_key] =
            [WEBHOOK_TOKEN, SEGMENT_TOKEN, WRITE_KEY, BROWSER_KEY].map(digest);
        let dead = self.dead.url();
        let own = [
            ("DEAD_LETTER_QUEUE_URL", dead.as_str()),
            ("WEBHOOK_TOKEN_SHA256", &webhook),
            ("SEGMENT_TOKEN_SHA256", &segment),
            ("WRITE_KEY_SHA256", &write_key),
            ("BROWSER_KEY_SHA256", &browser_key),
        ];
        self.function(binary.as_ref(), &own, more).await
    }

    /// A worker with Segment and Vero on; `more` adds variables, and an empty one takes away.
    pub async fn worker(&self, binary: impl AsRef<Path>, more: &[(&str, &str)]) -> Result<Function> {
        let dead = self.dead.url();
        let own = [
            ("DEAD_LETTER_QUEUE_URL", dead.as_str()),
            ("SEGMENT_WRITE_KEY", SEGMENT_WRITE_KEY),
            ("SEGMENT_ENDPOINT", self.segment.url()),
            ("VERO_AUTH_TOKEN", VERO_AUTH_TOKEN),
            ("VERO_ENDPOINT", self.vero.url()),
            // All that is played here is on loopback.
            ("WEBHOOK_PRIVATE_ADDRESSES", "true"),
        ];
        self.function(binary.as_ref(), &own, more).await
    }

    /// Replay; `more` adds variables, and an empty one takes away.
    pub async fn replay(&self, binary: impl AsRef<Path>, more: &[(&str, &str)]) -> Result<Function> {
        let (s3, replay_queue) = (self.s3.url(), self.replay_queue.url());
        let own = [
            ("AWS_ENDPOINT_URL_S3", s3.as_str()),
            ("REPLAY_QUEUE_URL", &replay_queue),
            ("ARCHIVE_BUCKET", "archive"),
            ("INGEST_LOG_GROUP", "/aws/lambda/ingest"),
        ];
        self.function(binary.as_ref(), &own, more).await
    }

    async fn function(&self, binary: &Path, own: &[(&str, &str)], more: &[(&str, &str)]) -> Result<Function> {
        let queue = self.queue.url();
        let common = [("AWS_ENDPOINT_URL", self.sqs.url()), ("QUEUE_URL", &queue)];
        // Of two variables of a name the last counts.
        Function::start(binary, &[&common, own, more].concat()).await
    }
}

/// The digest of a token, as ingest is configured with it.
pub fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// A header `authorization` with a write key, as SDKs send it.
pub fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}
