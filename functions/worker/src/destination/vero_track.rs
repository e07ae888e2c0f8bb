//! Vero's Track API: one request an event, sent side by side up to a bound.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::Outcome;
use relay_core::mapping::vero_track::{Call, call};
use relay_core::names::Naming;
use secrecy::{ExposeSecret, SecretString};

use super::Destination;
use super::client::{Client, Refused};
use super::turn::Turn;
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
        Ok(Some(VeroTrack {
            client: Client::new(true, vec![auth_token.clone()])?,
            url,
            auth_token,
            naming: config.naming.clone(),
        }))
    }

    async fn track(&self, call: Call, turn: &Turn<'_>) -> Outcome {
        let refusal = match self.send(&call, turn).await {
            Ok(outcome) => return outcome,
            Err(Refused(refusal)) => refusal,
        };
        // Vero refuses the whole call for an address that it does not believe.
        let (Some(400), Some(without)) = (refusal.status, call.without_email()) else {
            return Outcome::Dead(refusal.into());
        };
        match self.send(&without, turn).await {
            // The call has been tried all the same.
            Ok(Outcome::NotStarted) => Outcome::Owed(refusal),
            Ok(outcome) => outcome,
            Err(Refused(refusal)) => Outcome::Dead(refusal.into()),
        }
    }

    async fn send(&self, call: &Call, turn: &Turn<'_>) -> Result<Outcome, Refused> {
        let body = call.body(self.auth_token.expose_secret());
        self.client.call(turn, || self.client.post(&self.url).body(body.clone())).await
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
            let mut outcomes = vec![Outcome::NotStarted; calls.len()];
            let mut calls = calls.into_iter().enumerate();
            if self.client.is_on_trial()
                && let Some((index, trial)) = calls.next()
            {
                outcomes[index] = self.track(trial, &turn).await;
            }
            // Unordered: a call that pauses before its second try holds up none behind it.
            let turn = &turn;
            let mut tracked = stream::iter(calls)
                .map(|(index, call)| async move { (index, self.track(call, turn).await) })
                .buffer_unordered(IN_FLIGHT);
            while let Some((index, outcome)) = tracked.next().await {
                outcomes[index] = outcome;
            }
            drop(tracked);
            outcomes
        })
    }
}
