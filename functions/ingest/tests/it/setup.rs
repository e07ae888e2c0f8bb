//! `ingest` with all routes on, and its queues.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Function, Queue, QueueSettings, Sqs, UrlAnswer, url_event};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub const WEBHOOK_TOKEN: &str = "SPY-WEBHOOK-8Zt2mWq4yN1kXo7eRb0uJc5sLf9pHd3aVg";
pub const SEGMENT_TOKEN: &str = "SPY-SEGMENT-Jc5sLf9pHd3aVgTi6YEQxwM8Zt2mWq4yN1";
pub const WRITE_KEY: &str = "SPY-WRITE-KEY";
pub const BROWSER_KEY: &str = "SPY-BROWSER-KEY";
pub const SHARED_SECRET: &str = "SPY-SHARED-SECRET";
pub const SITE: &str = "https://shop.example.com";

pub struct Setup {
    pub sqs: Sqs,
    pub queue: Queue,
    pub dead: Queue,
    pub ingest: Function,
}

pub async fn setup() -> Setup {
    setup_with(&[]).await
}

pub async fn setup_with(more: &[(&str, &str)]) -> Setup {
    let sqs = Sqs::start().await.unwrap();
    let dead = sqs.queue("dead", QueueSettings::default());
    let queue = sqs.queue("main", QueueSettings::default());
    // The second is that of Segment's own vectors.
    sqs.parameter("/relay/shared-secret", &format!("{SHARED_SECRET}\nabc123"));
    let (queue_url, dead_url, url) = (queue.url(), dead.url(), sqs.url().to_owned());
    let digests = [WEBHOOK_TOKEN, SEGMENT_TOKEN, WRITE_KEY, BROWSER_KEY].map(digest);
    let mut environment = vec![
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("QUEUE_URL", &queue_url),
        ("DEAD_LETTER_QUEUE_URL", &dead_url),
        ("WEBHOOK_TOKEN_SHA256", &digests[0]),
        ("SEGMENT_TOKEN_SHA256", &digests[1]),
        ("WRITE_KEY_SHA256", &digests[2]),
        ("BROWSER_KEY_SHA256", &digests[3]),
        ("CORS_ORIGINS", SITE),
    ];
    environment.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    environment.extend(more);
    let ingest = Function::start(env!("CARGO_BIN_EXE_ingest"), &environment).await.unwrap();
    Setup { sqs, queue, dead, ingest }
}

impl Setup {
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> UrlAnswer {
        let event = url_event(method, path, "", headers, body, false);
        UrlAnswer::of(&self.ingest.invoke(&event).await.unwrap())
    }

    pub async fn vero(&self, body: &[u8]) -> UrlAnswer {
        self.ask("POST", &format!("/vero/{WEBHOOK_TOKEN}"), &[], body).await
    }

    /// Posts to the tracking API.
    pub async fn sdk(&self, key: &str, path: &str, body: &Value) -> UrlAnswer {
        self.ask("POST", path, &[("authorization", &basic(key))], body.to_string().as_bytes()).await
    }
}

pub fn digest(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}

pub fn bodies(queue: &Queue) -> Vec<Value> {
    queue.messages().iter().map(|message| message.json()).collect()
}
