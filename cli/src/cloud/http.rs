//! The Function URL, as anybody sees it.

use std::time::{Duration, Instant, SystemTime};

use httpdate::parse_http_date;
use serde_json::Value;

use super::Cloud;
use crate::error::Error;
use crate::model::state::{Health, Stack};

/// Vero waits so long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the URL answers to a webhook.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// The ids of the events.
    pub ids: Vec<String>,
    /// Why it is refused.
    pub error: Option<String>,
}

fn client() -> Result<reqwest::Client, Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
    client.map_err(|error| Error::Refused(format!("no HTTP client can be made: {error}")))
}

impl Cloud {
    /// The base URL of the function, without a slash at its end.
    ///
    /// # Errors
    /// If the stack does not say it.
    pub fn url(&self, stack: &Stack) -> Result<String, Error> {
        if let Some(local) = &self.local {
            return Ok(local.url.clone());
        }
        let url = stack.output("HealthUrl").and_then(|url| url.strip_suffix("/health"));
        url.map(str::to_owned).ok_or_else(|| Error::Refused("the stack has no output HealthUrl".to_owned()))
    }

    /// Asks whether `ingest` answers, and what time it is there.
    ///
    /// # Errors
    /// If nothing answers in the time that Vero would wait.
    pub async fn health(&self, stack: &Stack) -> Result<Health, Error> {
        let url = format!("{}/health", self.url(stack)?);
        let begin = Instant::now();
        let answer = client()?.get(url).send().await.map_err(|error| no_answer(&error))?;
        let took_ms = begin.elapsed().as_millis() as u64;
        let there = answer.headers().get("date").and_then(|date| parse_http_date(date.to_str().ok()?).ok());
        let skew = |there: SystemTime| match SystemTime::now().duration_since(there) {
            Ok(ahead) => ahead.as_secs() as i64,
            Err(behind) => -(behind.duration().as_secs() as i64),
        };
        Ok(Health { status: answer.status().as_u16(), took_ms, clock_skew_s: there.map(skew) })
    }

    /// Posts a webhook as Vero does.
    ///
    /// # Errors
    /// If nothing answers in the time that Vero would wait.
    pub async fn post(&self, stack: &Stack, token: &str, webhook: Vec<u8>) -> Result<Answer, Error> {
        let url = format!("{}/vero/{token}", self.url(stack)?);
        let request = client()?.post(url).header("content-type", "application/json").body(webhook);
        let answer = request.send().await.map_err(|error| no_answer(&error))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|error| no_answer(&error))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let many = body["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids = many.iter().chain([&body["id"]]).filter_map(|id| id.as_str().map(str::to_owned));
        Ok(Answer { status, ids: ids.collect(), error: body["error"].as_str().map(str::to_owned) })
    }
}

/// The URL holds a token, so it is left out.
fn no_answer(error: &reqwest::Error) -> Error {
    let problem = if error.is_timeout() {
        "no answer in 5 s, the time that Vero waits"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    Error::Refused(format!("the Function URL gave no answer: {problem}"))
}
