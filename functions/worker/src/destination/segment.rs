//! Segment's HTTP Tracking API: as few requests as its limits allow.

use std::io::Write;
use std::ops::Range;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use relay_core::delivery::{Addressed, Outcome, Trouble};
use relay_core::envelope::{DeathCause, Source};
use relay_core::mapping::segment::{batch_body, messages, plan_batches};
use relay_core::names::Naming;
use relay_core::timestamp::Timestamp;
use reqwest::header::CONTENT_ENCODING;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;

use super::caller::Refused;
use super::client::Client;
use super::turn::Turn;
use super::{Destination, Told, in_batches};
use crate::config::Config;
use crate::event::{Content, Event};
use crate::secrets::Secrets;
use crate::start::StartError;

const NAME: &str = "segment";

/// Requests in flight. Segment asks its partners to stay under 50 requests a second (Partner sources).
const IN_FLIGHT: usize = 4;

/// No bad event is searched for with more requests than these in an invocation, the refused ones included.
const MAX_SEARCH_CALLS: usize = 64;

pub(super) struct Segment {
    client: Client,
    url: String,
    naming: Naming,
}

/// The messages of one event: they are delivered, and refused, together.
type Messages = Vec<String>;

impl Segment {
    pub(super) fn new(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(access) = &config.segment else { return Ok(None) };
        let url = format!("{}/v1/batch", access.endpoint);
        Ok(Some(Segment { client: Client::new(false)?, url, naming: config.naming.clone() }))
    }

    fn request(&self, events: &[Messages], secrets: &Secrets) -> RequestBuilder {
        let sent_at = Timestamp::from_system(SystemTime::now()).iso();
        let body = batch_body(events.iter().flatten().map(String::as_str), &sent_at);
        let write_key = secrets.segment.expose_secret();
        let request = self.client.request(Method::POST, &self.url).basic_auth(write_key, Some(""));
        match gzipped(body.as_bytes()) {
            Ok(gzipped) => request.header(CONTENT_ENCODING, "gzip").body(gzipped),
            // Writing into memory does not fail; if it did, the plain body would do.
            Err(_) => request.body(body),
        }
    }

    /// Sends one planned batch. A refused one is halved until the bad events are found, so that none takes
    /// others along.
    async fn send(&self, events: &[Messages], turn: &Turn<'_>) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::NotStarted; events.len()];
        let mut refusal: Option<Trouble> = None;
        let mut todo: Vec<Range<usize>> = std::iter::once(0..events.len()).collect();
        while let Some(part) = todo.pop() {
            let events = &events[part.clone()];
            let answer = match &refusal {
                Some(_) if turn.requests() >= MAX_SEARCH_CALLS => Ok(Outcome::NotStarted),
                _ => {
                    let request = || self.request(events, turn.secrets);
                    self.client.call(turn, NAME, Addressed::Base, request).await
                }
            };
            let outcome = match (answer, &refusal) {
                // A search that ends early has been a try all the same.
                (Ok(Outcome::NotStarted), Some(refusal)) => Outcome::Owed(refusal.clone()),
                (Ok(outcome), _) => outcome,
                (Err(Refused(trouble)), _) if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    todo.extend([middle..part.end, part.start..middle]);
                    turn.note(&trouble);
                    refusal.get_or_insert(trouble);
                    continue;
                }
                (Err(Refused(trouble)), _) => Outcome::Dead(trouble.into()),
            };
            outcomes[part].fill(outcome);
        }
        if let Some(refusal @ Trouble { status: Some(400 | 413), .. }) = refusal
            && !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Accepted { .. }))
        {
            // Not one event in it is good? Then it is not the events: wrong endpoint, wrong proxy, wrong day.
            for outcome in &mut outcomes {
                if matches!(outcome, Outcome::Dead(_)) {
                    *outcome = Outcome::Owed(refusal.clone());
                }
            }
        }
        outcomes
    }
}

impl Destination for Segment {
    type Item = Messages;

    const NAMES: &'static [&'static str] = &[NAME];

    /// First-party events come from Segment, or from code that could send them there itself.
    const SOURCES: &'static [Source] = &[Source::Vero];

    fn prepare(
        &self,
        event: &Event<'_>,
        _owed: &[&'static str],
        _secrets: &Secrets,
    ) -> Result<Messages, Told> {
        let Content::Webhook(webhook) = &event.content else {
            return Err(vec![(NAME, Outcome::Skipped("not_a_webhook"))]);
        };
        let too_large = |_| Outcome::Dead(DeathCause { reason: "too_large", ..DeathCause::default() });
        messages(&event.envelope.id, webhook, &self.naming).map_err(|error| vec![(NAME, too_large(error))])
    }

    fn deliver<'a>(&'a self, events: Vec<Messages>, turn: &'a Turn<'a>) -> BoxFuture<'a, Vec<Told>> {
        Box::pin(async move {
            let size = |event: &Messages| (event.len(), event.iter().map(String::len).sum());
            let ends = plan_batches(events.iter().map(size));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let batches = starts.zip(&ends).map(|(start, end)| &events[start..*end]).collect();
            let send = |events| self.send(events, turn);
            let outcomes = in_batches(batches, IN_FLIGHT, self.client.is_on_trial(), send).await;
            outcomes.into_iter().map(|outcome| vec![(NAME, outcome)]).collect()
        })
    }
}

fn gzipped(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
