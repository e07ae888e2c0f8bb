//! Vero's Track API: one request an event, sent side by side up to a bound.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{Outcome, Trouble, Verdict};
use relay_core::mapping::vero_track::{Call, call};
use relay_core::names::Naming;
use secrecy::{ExposeSecret, SecretString};

use super::Destination;
use super::client::{Client, Turn};
use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;
use crate::secrets::Secrets;
use crate::start::StartError;

pub(super) const NAME: &str = "vero_track";

/// Requests in flight. Vero documents no rate limit; with the template's ten workers at once it sees 160.
const IN_FLIGHT: usize = 16;

pub(super) struct VeroTrack {
    client: Client,
    url: String,
    auth_token: SecretString,
    naming: Naming,
}

impl VeroTrack {
    pub(super) fn new(config: &Config, secrets: &Secrets) -> Result<Option<Self>, StartError> {
        let (Some(access), Some(auth_token)) = (&config.vero, secrets.vero.clone()) else { return Ok(None) };
        let url = format!("{}/api/v2/events/track", access.endpoint);
        Ok(Some(VeroTrack { client: Client::new(true)?, url, auth_token, naming: config.naming.clone() }))
    }

    async fn track(&self, call: Call, turn: &Turn<'_>) -> Outcome {
        let first = self.send(&call, turn).await;
        let second = match (&first, call.without_email()) {
            // Vero refuses the whole call for an address that it does not believe.
            (Ok(Verdict::Refused(Trouble { status: Some(400), .. })), Some(without)) => {
                Some(self.send(&without, turn).await)
            }
            _ => None,
        };
        match (first, second) {
            (Ok(Verdict::Refused(refusal)), Some(Err(Outcome::NotStarted))) => Outcome::Owed(refusal),
            (verdict, None) | (_, Some(verdict)) => verdict.map_or_else(|outcome| outcome, outcome),
        }
    }

    async fn send(&self, call: &Call, turn: &Turn<'_>) -> Result<Verdict, Outcome> {
        let body = call.body(self.auth_token.expose_secret());
        self.client.call(turn, || self.client.post(&self.url).body(body.clone())).await
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted => Outcome::Accepted,
        Verdict::Again(trouble) | Verdict::Operator(trouble) => Outcome::Owed(trouble),
        Verdict::Refused(refusal) => Outcome::Dead(refusal.into()),
    }
}

impl Destination for VeroTrack {
    type Item = Call;

    const NAME: &'static str = NAME;

    fn prepare(&self, event: &Event<'_>) -> Result<Call, Outcome> {
        call(&event.envelope.id, &event.webhook, &self.naming).map_err(|skip| Outcome::Skipped(skip.as_str()))
    }

    fn deliver<'a>(&'a self, calls: Vec<Call>, budget: &'a Budget) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let turn = Turn::new(budget);
            let mut outcomes = Vec::with_capacity(calls.len());
            let mut calls = calls.into_iter();
            if self.client.is_on_trial()
                && let Some(trial) = calls.next()
            {
                outcomes.push(self.track(trial, &turn).await);
            }
            let rest = stream::iter(calls).map(|call| self.track(call, &turn)).buffered(IN_FLIGHT);
            outcomes.extend(rest.collect::<Vec<_>>().await);
            outcomes
        })
    }
}
