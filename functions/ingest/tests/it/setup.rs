//! `ingest` with all routes on, in a testbed.

use std::ops::Deref;

use harness::{Function, Testbed, UrlAnswer, WEBHOOK_TOKEN, basic, url_event};
use serde_json::Value;

pub const SHARED_SECRET: &str = "CANARY-SHARED-SECRET";
pub const SITE: &str = "https://shop.example.com";

pub struct Setup {
    testbed: Testbed,
    pub ingest: Function,
}

impl Deref for Setup {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.testbed
    }
}

pub async fn setup() -> Setup {
    setup_with(&[]).await
}

/// `more` adds variables, and an empty one takes away.
pub async fn setup_with(more: &[(&str, &str)]) -> Setup {
    setup_in(Testbed::start().await.unwrap(), more).await
}

/// The same in a testbed that is there already.
pub async fn setup_in(testbed: Testbed, more: &[(&str, &str)]) -> Setup {
    // The second is that of Segment's own vectors.
    testbed.sqs.parameter("/relay/shared-secret", &format!("{SHARED_SECRET}\nabc123"));
    let variables = [&[("CORS_ORIGINS", SITE)], more].concat();
    let ingest = testbed.ingest(env!("CARGO_BIN_EXE_ingest"), &variables).await.unwrap();
    Setup { testbed, ingest }
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
