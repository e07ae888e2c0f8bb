//! Segment's HTTP Tracking API: as few requests as its limits allow.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderValue};
use http::{Method, Request};
use relay_core::delivery::{DeliveryError, DeliveryOutcome, Target};
use relay_core::destinations::{self, DestinationRow};
use relay_core::mapping::segment::{batch_body, plan_batches};
use relay_core::names::Naming;
use relay_core::rules::RuledWebhook;
use relay_core::timestamp::Timestamp;
use relay_platform::world;

use super::batches::{in_batches, in_halves, split};
use super::client::{Client, Dialect};
use super::context::RunContext;
use super::runner::{Destination, Outcomes, Setup};
use crate::event::{Event, ParsedPayload};
use crate::secrets::Secrets;
use crate::start::StartError;

const ROW: &DestinationRow = destinations::named("segment");

/// Requests in flight. Segment asks its partners to stay under 50 requests a second (Partner sources).
const IN_FLIGHT: usize = 4;

pub(super) struct Segment {
    client: Client,
    url: String,
    naming: Naming,
}

/// The messages of one event: they are delivered, and refused, together.
type Messages = Vec<String>;

impl Segment {
    fn request(&self, events: &[Messages], secrets: &Secrets) -> http::Result<Request<Bytes>> {
        let sent_at = Timestamp::from_system(world::now()).iso();
        let body = batch_body(events.iter().flatten().map(String::as_str), &sent_at);
        let write_key = secrets.key_of(ROW);
        let credentials = format!("Basic {}", STANDARD.encode(format!("{write_key}:")));
        let mut authorization = HeaderValue::try_from(credentials)?;
        authorization.set_sensitive(true);
        let request = self.client.request(Method::POST, &self.url).header(AUTHORIZATION, authorization);
        match gzipped(body.as_bytes()) {
            Ok(gzipped) => request.header(CONTENT_ENCODING, "gzip").body(gzipped.into()),
            // Writing into memory does not fail; if it did, the plain body would do.
            Err(_) => request.body(body.into()),
        }
    }

    /// Sends one planned batch.
    async fn send(&self, events: &[Messages], context: &RunContext<'_>) -> Vec<DeliveryOutcome> {
        let send = async |events| {
            let request = || self.request(events, context.secrets);
            self.client.call(context, ROW.name, Target::Endpoint, request).await
        };
        let (mut outcomes, refusal) = in_halves(events, context, send).await;
        if let Some(refusal @ DeliveryError { status: Some(400 | 413), .. }) = refusal
            && !outcomes.iter().any(|outcome| matches!(outcome, DeliveryOutcome::Accepted { .. }))
        {
            // Not one event in it is good? Then it is not the events: wrong endpoint, wrong proxy, wrong day.
            for outcome in &mut outcomes {
                if matches!(outcome, DeliveryOutcome::Rejected(_)) {
                    *outcome = DeliveryOutcome::Retry(refusal.clone());
                }
            }
        }
        outcomes
    }
}

impl Destination for Segment {
    type Item = Messages;

    const ROW: &'static DestinationRow = ROW;

    fn start(setup: &Setup<'_>) -> Result<Self, StartError> {
        let url = format!("{}/v1/batch", setup.address);
        Ok(Segment { client: Client::new(Dialect::USUAL)?, url, naming: setup.naming.clone() })
    }

    fn prepare(
        &self,
        event: &Event<'_>,
        _owed: &[&'static str],
        secrets: &Secrets,
    ) -> Result<Messages, Outcomes> {
        let ParsedPayload::Webhook(webhook) = &event.payload else {
            return Err(vec![(ROW.name, DeliveryOutcome::Skipped("not_a_webhook"))]);
        };
        let event = RuledWebhook { envelope: &event.envelope, webhook };
        let rules = secrets.rules.blueprint.webhooks();
        rules
            .to_segment(event, &self.naming, &secrets.address_key)
            .map_err(|outcome| vec![(ROW.name, outcome)])
    }

    fn deliver<'a>(
        &'a self,
        events: Vec<Messages>,
        context: &'a RunContext<'a>,
    ) -> BoxFuture<'a, Vec<Outcomes>> {
        Box::pin(async move {
            let size = |event: &Messages| (event.len(), event.iter().map(String::len).sum());
            let ends = plan_batches(events.iter().map(size));
            let batches = split(&events, &ends);
            let send = |events| self.send(events, context);
            let outcomes = in_batches(batches, IN_FLIGHT, self.client.is_on_trial(), send).await;
            outcomes.into_iter().map(|outcome| vec![(ROW.name, outcome)]).collect()
        })
    }
}

fn gzipped(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
