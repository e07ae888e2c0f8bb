//! Webhook endpoints: requests to URLs of the customer's own, signed by Standard Webhooks.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request};
use relay_core::delivery::{DeliveryOutcome, Target};
use relay_core::destinations::{self, DestinationRow};
use relay_core::endpoints::Endpoint;
use relay_core::mapping::endpoint::{EndpointEvent, request_id};
use relay_core::names::Naming;
use relay_core::rules::{RuledEvent, RuledWebhook};
use relay_core::timestamp::Timestamp;
use relay_platform::world;

use super::batches::{in_batches, in_halves, split};
use super::client::{Client, Dialect};
use super::context::RunContext;
use super::runner::{Destination, Outcomes, Setup};
use crate::event::{Event, ParsedPayload};
use crate::secrets::Secrets;
use crate::start::StartError;

/// Requests in flight at one endpoint; with the template's ten workers at once it sees 80.
const IN_FLIGHT: usize = 8;

/// One endpoint.
pub(super) struct Webhook {
    /// What an event is owed to: `webhook:crm`.
    name: &'static str,
    /// As the settings and the rules call it: `crm`.
    endpoint: String,
    client: Client,
    naming: Naming,
}

impl Webhook {
    /// Its settings. All that are on are there: else the secrets would not have been read.
    fn settings<'s>(&self, secrets: &'s Secrets) -> Result<&'s Endpoint, DeliveryOutcome> {
        secrets.endpoints.get(&self.endpoint).ok_or(DeliveryOutcome::NotStarted)
    }

    fn request(&self, endpoint: &Endpoint, events: &[EndpointEvent]) -> http::Result<Request<Bytes>> {
        let now = Timestamp::from_system(world::now());
        let body = endpoint.body(events, &now.iso());
        let mut request = self.client.request(Method::POST, &endpoint.url);
        for (name, value) in &endpoint.headers {
            let mut value = HeaderValue::try_from(value)?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        for (name, value) in endpoint.signed(&request_id(events), now.milliseconds() / 1_000, &body) {
            request = request.header(name, value);
        }
        request.body(body.into())
    }

    /// Sends one planned request.
    async fn send(
        &self,
        endpoint: &Endpoint,
        events: &[EndpointEvent],
        context: &RunContext<'_>,
    ) -> Vec<DeliveryOutcome> {
        let send = async |events| {
            let request = || self.request(endpoint, events);
            self.client.call(context, self.name, Target::Endpoint, request).await
        };
        in_halves(events, context, send).await.0
    }
}

impl Destination for Webhook {
    type Item = EndpointEvent;

    const ROW: &'static DestinationRow = destinations::named("webhook");

    fn start(setup: &Setup<'_>) -> Result<Self, StartError> {
        // Whether a receiver goes by the id is up to whoever wrote it.
        let dialect = Dialect { status_in_body: false, drops_repeats: false, reach: setup.reach };
        Ok(Webhook {
            name: setup.name,
            endpoint: setup.address.to_owned(),
            client: Client::new(dialect)?,
            naming: setup.naming.clone(),
        })
    }

    fn prepare(
        &self,
        event: &Event<'_>,
        _owed: &[&'static str],
        secrets: &Secrets,
    ) -> Result<EndpointEvent, Outcomes> {
        let (name, rules, key) = (&self.endpoint, secrets.rules.blueprint.webhooks(), &secrets.address_key);
        let envelope = &event.envelope;
        let event = match &event.payload {
            ParsedPayload::Webhook(webhook) => RuledEvent::Webhook(RuledWebhook { envelope, webhook }),
            ParsedPayload::FirstParty(event) => RuledEvent::FirstParty { envelope, event },
        };
        let mapped = self.settings(secrets).and_then(|endpoint| match endpoint.takes(envelope.source) {
            true => endpoint.form.of_event(name, event, rules, &self.naming, key),
            false => Err(DeliveryOutcome::Skipped("other_source")),
        });
        mapped.map_err(|outcome| vec![(self.name, outcome)])
    }

    fn deliver<'a>(
        &'a self,
        events: Vec<EndpointEvent>,
        context: &'a RunContext<'a>,
    ) -> BoxFuture<'a, Vec<Outcomes>> {
        Box::pin(async move {
            let Ok(endpoint) = self.settings(context.secrets) else { return Vec::new() };
            let requests = split(&events, &endpoint.plan(&events));
            let send = |events| self.send(endpoint, events, context);
            let outcomes = in_batches(requests, IN_FLIGHT, self.client.is_on_trial(), send).await;
            outcomes.into_iter().map(|outcome| vec![(self.name, outcome)]).collect()
        })
    }
}
