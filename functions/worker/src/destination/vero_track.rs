//! Vero's API: one request an event, sent side by side up to a bound; what is about the same user of ours, in order.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use http::Method;
use relay_core::delivery::{DeliveryError, DeliveryOutcome, OrderKey, in_order};
use relay_core::destinations::{self, DestinationRow};
use relay_core::mapping::vero_track::{Consent, Tags, VeroRequest, VeroRequests, from_event};
use relay_core::names::Naming;
use relay_core::rules::RuledWebhook;
use relay_core::timestamp::Timestamp;
use relay_platform::world;

use super::client::{Client, Dialect};
use super::context::RunContext;
use super::runner::{Destination, Outcomes, Setup};
use crate::event::{Event, ParsedPayload};
use crate::secrets::Secrets;
use crate::start::StartError;

const ROW: &DestinationRow = destinations::named("vero_track");

/// The part of an event's own request.
const OWN: &str = ROW.parts[0].name;

/// The part of its tags, which is owed alone once that request has been accepted.
const TAGS: &str = ROW.parts[1].name;

/// Requests in flight. Vero documents no rate limit; with the template's ten workers at once it sees 160.
const IN_FLIGHT: usize = 16;

pub(super) struct VeroTrack {
    client: Client,
    endpoint: String,
    naming: Naming,
}

/// What is to be sent for one event.
pub(super) struct Item {
    request: Option<VeroRequest>,
    tags: Tags,
    /// Of those that the request is about.
    order: OrderKey,
    /// Whom the tags are about.
    tagged: Vec<String>,
}

impl VeroTrack {
    /// All that an event asks for. `is_owed`: its request has not been accepted yet.
    ///
    /// # Errors
    /// What became of an event of which nothing is sent.
    fn item(&self, event: &Event<'_>, is_owed: bool, secrets: &Secrets) -> Result<Item, DeliveryOutcome> {
        let envelope = &event.envelope;
        let VeroRequests { request, tags, users, tagged } = match &event.payload {
            ParsedPayload::Webhook(webhook) => {
                let event = RuledWebhook { envelope, webhook };
                let request = secrets.rules.blueprint.webhooks().to_vero(event, &self.naming)?;
                // Webhooks say what happened; they change nobody, and so need no order.
                VeroRequests { request, tags: Tags::None, users: Vec::new(), tagged: Vec::new() }
            }
            ParsedPayload::FirstParty(event) => {
                let now = Timestamp::from_system(world::now());
                let age = if is_owed { now.seconds_since(envelope.received_at) } else { 0 };
                from_event(&envelope.id, event, &secrets.rules, Duration::from_secs(age))?
            }
        };
        let order = OrderKey { users, received_at: envelope.received_at, place: envelope.place };
        Ok(Item { request: Some(request), tags, order, tagged })
    }

    /// What Vero is not owed any more of the batch's events: it may withdraw a consent that is still owed.
    fn settled(&self, context: &RunContext<'_>) -> Vec<Item> {
        let settled = context.events.iter().filter(|event| event.names(OWN) == Some(false));
        let item = |event: &Event<'_>| {
            let item = self.item(event, false, context.secrets).ok()?;
            let tags = if event.names(TAGS) == Some(true) { Tags::None } else { item.tags };
            Some(Item { tags, ..item })
        };
        // Mapping is total; should that ever be wrong, no event that is owed pays for one that is not.
        settled.filter_map(|event| catch_unwind(AssertUnwindSafe(|| item(event))).ok().flatten()).collect()
    }

    /// Sends what one event asks for: its own request, and once that is accepted, the tags.
    async fn run(&self, item: &Item, context: &RunContext<'_>) -> Outcomes {
        let mut outcomes = Outcomes::new();
        if let Some(request) = &item.request {
            let outcome = self.send(OWN, request, context).await;
            let is_accepted = matches!(outcome, DeliveryOutcome::Accepted { .. });
            outcomes.push((OWN, outcome));
            if !is_accepted {
                return outcomes;
            }
        }
        match &item.tags {
            Tags::None => (),
            Tags::Edit(request) => outcomes.push((TAGS, self.send(TAGS, request, context).await)),
            Tags::Malformed => outcomes.push((TAGS, DeliveryOutcome::rejected("malformed_tags"))),
        }
        outcomes
    }

    async fn send(
        &self,
        part: &'static str,
        request: &VeroRequest,
        context: &RunContext<'_>,
    ) -> DeliveryOutcome {
        let outcome = self.call(part, request, context).await;
        let DeliveryOutcome::Rejected(refusal @ DeliveryError { status: Some(400), .. }) = &outcome else {
            return outcome;
        };
        // Vero refuses the whole request for an address that it does not believe.
        let Some(without_email) = request.without_email() else { return outcome };
        match self.call(part, &without_email, context).await {
            // The request has been tried all the same.
            DeliveryOutcome::NotStarted
            | DeliveryOutcome::Retry(DeliveryError { held_back: Some(_), .. }) => {
                DeliveryOutcome::Retry(refusal.clone())
            }
            outcome => outcome.after(refusal.maybe_taken),
        }
    }

    async fn call(
        &self,
        part: &'static str,
        request: &VeroRequest,
        context: &RunContext<'_>,
    ) -> DeliveryOutcome {
        let url = format!("{}{}", self.endpoint, request.endpoint.path());
        let method = if request.endpoint.is_put() { Method::PUT } else { Method::POST };
        let body = Bytes::from(request.body(context.secrets.key_of(ROW)));
        let make = || self.client.request(method.clone(), &url).body(body.clone());
        self.client.call(context, part, request.endpoint.target(), make).await
    }

    /// Works off one sequence of items, and says what became of each.
    async fn walk(
        &self,
        items: &[Item],
        sequence: &[usize],
        context: &RunContext<'_>,
    ) -> Vec<(usize, Outcomes)> {
        let mut outcomes = Vec::with_capacity(sequence.len());
        for index in sequence {
            outcomes.push((*index, self.run(&items[*index], context).await));
        }
        outcomes
    }
}

/// Consent fails safe: a resubscribe that is still owed must not be carried out after the user's later withdrawal.
fn give_up_withdrawn_consent(items: &[Item], settled: &[Item], outcomes: &mut [Outcomes]) {
    for index in withdrawn(items, settled, |_| true) {
        for (_, outcome) in outcomes[index].iter_mut().filter(|(name, _)| *name == OWN) {
            if outcome.is_owed() {
                *outcome = stale();
            }
        }
    }
}

fn stale() -> DeliveryOutcome {
    DeliveryOutcome::rejected("stale_consent")
}

/// The items, by index, whose user's consent is withdrawn later. `counts` says whose withdrawal counts, by the index in
/// both lists together, the items first.
fn withdrawn(items: &[Item], settled: &[Item], counts: impl Fn(usize) -> bool) -> HashSet<usize> {
    let all = items.iter().chain(settled).enumerate();
    // An event's own request and its tags may be about two people.
    let consents = all.flat_map(|(index, Item { request, tags, order, tagged })| {
        let by_tags = match tags {
            Tags::Edit(request) => request.consent(),
            Tags::None | Tags::Malformed => None,
        };
        let by_request = request.as_ref().and_then(VeroRequest::consent);
        let of_tagged = OrderKey { users: tagged.clone(), ..order.clone() };
        [(index, by_request, order.clone()), (index, by_tags, of_tagged)]
    });
    let (consents, keys): (Vec<_>, Vec<_>) =
        consents.map(|(index, consent, key)| ((index, consent), key)).unzip();
    let mut withdrawn = HashSet::new();
    for sequence in in_order(&keys) {
        let mut is_withdrawn = false;
        for (index, consent) in sequence.into_iter().rev().map(|at| consents[at]) {
            match consent {
                Some(Consent::Withdrawn) => is_withdrawn |= counts(index),
                Some(Consent::Given) if is_withdrawn => _ = withdrawn.insert(index),
                _ => (),
            }
        }
    }
    withdrawn.retain(|index| *index < items.len());
    withdrawn
}

impl Destination for VeroTrack {
    type Item = Item;

    const ROW: &'static DestinationRow = ROW;

    fn start(setup: &Setup<'_>) -> Result<Self, StartError> {
        let (client, endpoint) =
            (Client::new(Dialect { status_in_body: true, ..Dialect::USUAL })?, setup.address.to_owned());
        Ok(VeroTrack { client, endpoint, naming: setup.naming.clone() })
    }

    fn prepare(&self, event: &Event<'_>, owed: &[&'static str], secrets: &Secrets) -> Result<Item, Outcomes> {
        let is_own_owed = owed.contains(&OWN);
        let part = if is_own_owed { OWN } else { TAGS };
        let item = self.item(event, is_own_owed, secrets).map_err(|outcome| vec![(part, outcome)])?;
        if is_own_owed {
            return Ok(item);
        }
        if item.tags == Tags::None {
            return Err(vec![(TAGS, DeliveryOutcome::Skipped("no_tags"))]);
        }
        Ok(Item { request: None, ..item })
    }

    fn deliver<'a>(&'a self, items: Vec<Item>, context: &'a RunContext<'a>) -> BoxFuture<'a, Vec<Outcomes>> {
        Box::pin(async move {
            let key_of = |Item { order, tagged, .. }: &Item| {
                let users = order.users.iter().chain(tagged).cloned().collect();
                OrderKey { users, ..order.clone() }
            };
            let keys: Vec<OrderKey> = items.iter().map(key_of).collect();
            let mut outcomes = vec![Outcomes::new(); items.len()];
            let settled = self.settled(context);
            // Vero has had the withdrawal: whatever came now would be the last word.
            let withdrawn = withdrawn(&items, &settled, |index| index >= items.len());
            for index in &withdrawn {
                outcomes[*index] = vec![(OWN, stale())];
            }
            let mut sequences = in_order(&keys);
            for sequence in &mut sequences {
                sequence.retain(|index| !withdrawn.contains(index));
            }
            sequences.retain(|sequence| !sequence.is_empty());
            let mut done = vec![0; sequences.len()];
            if self.client.is_on_trial()
                && let Some(trial) = sequences.first().and_then(|sequence| sequence.first())
            {
                outcomes[*trial] = self.run(&items[*trial], context).await;
                done[0] = 1;
            }
            // Unordered: a request that pauses before its second try holds up none but its user's.
            let walks = sequences
                .iter()
                .zip(done)
                .map(|(sequence, done)| self.walk(&items, &sequence[done..], context));
            let walks: Vec<_> = walks.collect();
            let mut walks = stream::iter(walks).buffer_unordered(IN_FLIGHT);
            while let Some(walked) = walks.next().await {
                for (index, walked) in walked {
                    outcomes[index] = walked;
                }
            }
            drop(walks);
            give_up_withdrawn_consent(&items, &settled, &mut outcomes);
            outcomes
        })
    }

    fn hold(&self, items: Vec<Item>, context: &RunContext<'_>) -> Vec<Outcomes> {
        let paused =
            |item: &Item| vec![(if item.request.is_some() { OWN } else { TAGS }, DeliveryOutcome::Paused)];
        let mut outcomes: Vec<Outcomes> = items.iter().map(paused).collect();
        give_up_withdrawn_consent(&items, &self.settled(context), &mut outcomes);
        outcomes
    }
}
