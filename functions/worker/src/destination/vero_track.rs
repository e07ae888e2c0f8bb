//! Vero's API: one request an event, sent side by side up to a bound; what is about the same user of ours, in order.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{DeliveryError, DeliveryOutcome, OrderKey, in_order};
use relay_core::destinations::{self, Destination as Row};
use relay_core::mapping::vero_track::{Call, Consent, Tags, VeroRequests, call, requests};
use relay_core::names::Naming;
use relay_core::timestamp::Timestamp;
use reqwest::Method;

use super::client::Client;
use super::context::RunContext;
use super::runner::{Destination, Outcomes, Setup};
use crate::event::{Content, Event};
use crate::secrets::Secrets;
use crate::start::StartError;

const ROW: &Row = destinations::named("vero_track");

/// The part of an event's own call.
const CALL: &str = ROW.parts[0].name;

/// The part of its tags, which is owed alone once the call has been accepted.
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
    call: Option<Call>,
    tags: Tags,
    /// Of those that the call is about.
    order: OrderKey,
    /// Whom the tags are about.
    tagged: Vec<String>,
}

impl VeroTrack {
    /// Sends what one event asks for: the call, and once that is accepted, the tags.
    async fn run(&self, item: &Item, context: &RunContext<'_>) -> Outcomes {
        let mut outcomes = Outcomes::new();
        if let Some(call) = &item.call {
            let outcome = self.call(CALL, call, context).await;
            let is_accepted = matches!(outcome, DeliveryOutcome::Accepted { .. });
            outcomes.push((CALL, outcome));
            if !is_accepted {
                return outcomes;
            }
        }
        match &item.tags {
            Tags::None => (),
            Tags::Edit(call) => outcomes.push((TAGS, self.call(TAGS, call, context).await)),
            Tags::Malformed => outcomes.push((TAGS, DeliveryOutcome::rejected("malformed_tags"))),
        }
        outcomes
    }

    async fn call(&self, part: &'static str, call: &Call, context: &RunContext<'_>) -> DeliveryOutcome {
        let outcome = self.send(part, call, context).await;
        let DeliveryOutcome::Rejected(refusal @ DeliveryError { status: Some(400), .. }) = &outcome else {
            return outcome;
        };
        // Vero refuses the whole call for an address that it does not believe.
        let Some(without_email) = call.without_email() else { return outcome };
        match self.send(part, &without_email, context).await {
            // The call has been tried all the same.
            DeliveryOutcome::NotStarted => DeliveryOutcome::Retry(refusal.clone()),
            outcome => outcome,
        }
    }

    async fn send(&self, part: &'static str, call: &Call, context: &RunContext<'_>) -> DeliveryOutcome {
        let url = format!("{}{}", self.endpoint, call.endpoint.path());
        let method = if call.endpoint.is_put() { Method::PUT } else { Method::POST };
        let body = call.body(context.secrets.key_of(ROW));
        let request = || self.client.request(method.clone(), &url).body(body.clone());
        self.client.call(context, part, call.endpoint.target(), request).await
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

/// Consent fails safe: a wish for messages that is still owed, while the user's later wish for none is known, must
/// not be carried out after it.
fn give_up_what_was_taken_back(items: &[Item], outcomes: &mut [Outcomes]) {
    // An event's call and its tags may be about two people.
    let says = items.iter().enumerate().flat_map(|(index, Item { call, tags, order, tagged })| {
        let by_tags = match tags {
            Tags::Edit(call) => call.consent(),
            Tags::None | Tags::Malformed => None,
        };
        let by_call = call.as_ref().and_then(Call::consent);
        let of_tagged = OrderKey { users: tagged.clone(), ..order.clone() };
        [(index, by_call, order.clone()), (index, by_tags, of_tagged)]
    });
    let (said, keys): (Vec<_>, Vec<_>) = says.map(|(index, consent, key)| ((index, consent), key)).unzip();
    for sequence in in_order(&keys) {
        let mut is_withdrawn = false;
        for (index, consent) in sequence.into_iter().rev().map(|at| said[at]) {
            match consent {
                Some(Consent::Withdrawn) => is_withdrawn = true,
                Some(Consent::Given) if is_withdrawn => give_up(&mut outcomes[index]),
                _ => (),
            }
        }
    }
}

fn give_up(outcomes: &mut Outcomes) {
    for (_, outcome) in outcomes.iter_mut().filter(|(name, _)| *name == CALL) {
        if outcome.is_owed() {
            *outcome = DeliveryOutcome::rejected("stale_consent");
        }
    }
}

impl Destination for VeroTrack {
    type Item = Item;

    const ROW: &'static Row = ROW;

    fn start(setup: &Setup<'_>) -> Result<Self, StartError> {
        let (client, endpoint) = (Client::new(true)?, setup.address.to_owned());
        Ok(VeroTrack { client, endpoint, naming: setup.naming.clone() })
    }

    fn prepare(&self, event: &Event<'_>, owed: &[&'static str], secrets: &Secrets) -> Result<Item, Outcomes> {
        let envelope = &event.envelope;
        let owes_the_call = owed.contains(&CALL);
        let requests = match &event.content {
            Content::Webhook(webhook) => call(&envelope.id, webhook, &self.naming)
                // Webhooks tell what happened; they change nobody, and so need no order.
                .map(|call| VeroRequests { call, tags: Tags::None, users: Vec::new(), tagged: Vec::new() }),
            Content::FirstParty(event) => {
                let now = Timestamp::from_system(SystemTime::now());
                let age = if owes_the_call { now.seconds_since(envelope.received_at) } else { 0 };
                requests(&envelope.id, event, &secrets.rules, Duration::from_secs(age))
            }
        };
        let part = if owes_the_call { CALL } else { TAGS };
        let VeroRequests { call, tags, users, tagged } = requests.map_err(|outcome| vec![(part, outcome)])?;
        if !owes_the_call && tags == Tags::None {
            return Err(vec![(TAGS, DeliveryOutcome::Skipped("no_tags"))]);
        }
        let order = OrderKey { users, received_at: envelope.received_at, place: envelope.place };
        Ok(Item { call: owes_the_call.then_some(call), tags, order, tagged })
    }

    fn deliver<'a>(&'a self, items: Vec<Item>, context: &'a RunContext<'a>) -> BoxFuture<'a, Vec<Outcomes>> {
        Box::pin(async move {
            let key_of = |Item { order, tagged, .. }: &Item| {
                let users = order.users.iter().chain(tagged).cloned().collect();
                OrderKey { users, ..order.clone() }
            };
            let keys: Vec<OrderKey> = items.iter().map(key_of).collect();
            let sequences = in_order(&keys);
            let mut outcomes = vec![Outcomes::new(); items.len()];
            let mut done = vec![0; sequences.len()];
            if self.client.is_on_trial()
                && let Some(trial) = sequences.first().and_then(|sequence| sequence.first())
            {
                outcomes[*trial] = self.run(&items[*trial], context).await;
                done[0] = 1;
            }
            // Unordered: a call that pauses before its second try holds up none but its user's.
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
            give_up_what_was_taken_back(&items, &mut outcomes);
            outcomes
        })
    }

    fn hold(&self, items: Vec<Item>) -> Vec<Outcomes> {
        let paused =
            |item: &Item| vec![(if item.call.is_some() { CALL } else { TAGS }, DeliveryOutcome::Paused)];
        let mut outcomes: Vec<Outcomes> = items.iter().map(paused).collect();
        give_up_what_was_taken_back(&items, &mut outcomes);
        outcomes
    }
}
