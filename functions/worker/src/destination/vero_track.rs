//! Vero's Track API: one request an event, sent side by side up to a bound.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{Outcome, Verdict};
use relay_core::envelope::DeathCause;
use relay_core::mapping::vero_track::{Call, call};
use relay_core::names::Naming;
use secrecy::{ExposeSecret, SecretString};

use super::Destination;
use super::client::Client;
use crate::budget::Budget;
use crate::config::Config;
use crate::event::Event;
use crate::secrets::Secrets;

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
    pub(super) fn new(config: &Config, secrets: &Secrets) -> Option<Self> {
        Some(VeroTrack {
            client: Client::new(true),
            url: format!("{}/api/v2/events/track", config.vero.as_ref()?.endpoint),
            auth_token: secrets.vero.clone()?,
            naming: config.naming.clone(),
        })
    }

    async fn track(&self, call: Call, budget: &Budget) -> Outcome {
        match self.send(&call, budget).await {
            Err(outcome) => outcome,
            Ok(Verdict::Accepted) => Outcome::Accepted,
            Ok(Verdict::Again(trouble) | Verdict::Operator(trouble)) => Outcome::Owed(trouble),
            Ok(Verdict::Refused(refusal)) => {
                // Vero refuses the whole call for an address that it does not believe.
                if let (Some(400), Some(without)) = (refusal.status, call.without_email()) {
                    return Box::pin(self.track(without, budget)).await;
                }
                let (reason, status, excerpt) = (refusal.reason, refusal.status, refusal.excerpt);
                Outcome::Dead(DeathCause { reason, status, excerpt, truncated: false })
            }
        }
    }

    async fn send(&self, call: &Call, budget: &Budget) -> Result<Verdict, Outcome> {
        let body = call.body(self.auth_token.expose_secret());
        self.client.call(budget, || self.client.post(&self.url).body(body.clone())).await
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
            let mut outcomes = Vec::with_capacity(calls.len());
            let mut calls = calls.into_iter();
            if self.client.is_on_trial()
                && let Some(trial) = calls.next()
            {
                outcomes.push(self.track(trial, budget).await);
            }
            let rest = stream::iter(calls).map(|call| self.track(call, budget)).buffered(IN_FLIGHT);
            outcomes.extend(rest.collect::<Vec<_>>().await);
            outcomes
        })
    }
}
