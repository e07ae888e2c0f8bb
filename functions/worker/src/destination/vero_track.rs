//! Vero's API: one request an event, sent side by side up to a bound; what is about the same user of ours, in order.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use relay_core::delivery::{self, Outcome, in_order};
use relay_core::envelope::{DeathCause, Source};
use relay_core::mapping::vero_track::{Call, Consent, Errand, Fate, Tags, call, errand};
use relay_core::names::Naming;
use relay_core::timestamp::Timestamp;
use reqwest::Method;
use secrecy::ExposeSecret;

use super::caller::Refused;
use super::client::Client;
use super::turn::Turn;
use super::{Destination, Told};
use crate::config::Config;
use crate::event::{Content, Event};
use crate::secrets::Secrets;
use crate::start::StartError;

const NAME: &str = "vero_track";

/// Only the tags of an event are owed: its own call has been accepted.
const TAGS: &str = "vero_tags";

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
    turn: delivery::Turn,
    /// Whom the tags are about.
    tagged: Vec<String>,
}

impl VeroTrack {
    pub(super) fn new(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(access) = &config.vero else { return Ok(None) };
        let (client, endpoint) = (Client::new(true)?, access.endpoint.clone());
        Ok(Some(VeroTrack { client, endpoint, naming: config.naming.clone() }))
    }

    /// Sends what one event asks for: the call, and once that is accepted, the tags.
    async fn run(&self, item: &Item, turn: &Turn<'_>) -> Told {
        let mut told = Told::new();
        if let Some(call) = &item.call {
            let outcome = self.call(NAME, call, turn).await;
            let is_accepted = matches!(outcome, Outcome::Accepted { .. });
            told.push((NAME, outcome));
            if !is_accepted {
                return told;
            }
        }
        match &item.tags {
            Tags::None => (),
            Tags::Edit(call) => told.push((TAGS, self.call(TAGS, call, turn).await)),
            Tags::Malformed => told.push((TAGS, dead("malformed_tags"))),
        }
        told
    }

    async fn call(&self, name: &'static str, call: &Call, turn: &Turn<'_>) -> Outcome {
        let refusal = match self.send(name, call, turn).await {
            Ok(outcome) => return outcome,
            Err(Refused(refusal)) => refusal,
        };
        // Vero refuses the whole call for an address that it does not believe.
        let (Some(400), Some(without)) = (refusal.status, call.without_email()) else {
            return Outcome::Dead(refusal.into());
        };
        match self.send(name, &without, turn).await {
            // The call has been tried all the same.
            Ok(Outcome::NotStarted) => Outcome::Owed(refusal),
            Ok(outcome) => outcome,
            Err(Refused(refusal)) => Outcome::Dead(refusal.into()),
        }
    }

    async fn send(&self, name: &'static str, call: &Call, turn: &Turn<'_>) -> Result<Outcome, Refused> {
        let url = format!("{}{}", self.endpoint, call.endpoint.path());
        let method = if call.endpoint.is_put() { Method::PUT } else { Method::POST };
        let body = call.body(turn.secrets.vero.expose_secret());
        let request = || self.client.request(method.clone(), &url).body(body.clone());
        self.client.call(turn, name, call.endpoint.addressed(), request).await
    }

    /// Works off one line of items, and says what became of each.
    async fn walk(&self, items: &[Item], line: &[usize], turn: &Turn<'_>) -> Vec<(usize, Told)> {
        let mut told = Vec::with_capacity(line.len());
        for index in line {
            told.push((*index, self.run(&items[*index], turn).await));
        }
        told
    }
}

/// Consent fails safe: a wish for messages that is still owed, while the user's later wish for none is known, must
/// not be carried out after it.
fn give_up_what_was_taken_back(items: &[Item], told: &mut [Told]) {
    // An event's call and its tags may be about two people.
    let says = items.iter().enumerate().flat_map(|(index, Item { call, tags, turn, tagged })| {
        let by_tags = match tags {
            Tags::Edit(call) => call.consent(),
            Tags::None | Tags::Malformed => None,
        };
        let by_call = call.as_ref().and_then(Call::consent);
        let of_tagged = delivery::Turn { users: tagged.clone(), ..turn.clone() };
        [(index, by_call, turn.clone()), (index, by_tags, of_tagged)]
    });
    let (said, turns): (Vec<_>, Vec<_>) = says.map(|(index, consent, turn)| ((index, consent), turn)).unzip();
    for line in in_order(&turns) {
        let mut is_withdrawn = false;
        for (index, consent) in line.into_iter().rev().map(|at| said[at]) {
            match consent {
                Some(Consent::Withdrawn) => is_withdrawn = true,
                Some(Consent::Given) if is_withdrawn => give_up(&mut told[index]),
                _ => (),
            }
        }
    }
}

fn give_up(told: &mut Told) {
    for (_, outcome) in told.iter_mut().filter(|(name, _)| *name == NAME) {
        if matches!(outcome, Outcome::Owed(_) | Outcome::NotStarted | Outcome::Paused) {
            *outcome = dead("stale_consent");
        }
    }
}

fn dead(reason: &'static str) -> Outcome {
    Outcome::Dead(DeathCause { reason, ..DeathCause::default() })
}

impl Destination for VeroTrack {
    type Item = Item;

    const NAMES: &'static [&'static str] = &[NAME, TAGS];

    const SOURCES: &'static [Source] = &[Source::Vero, Source::Segment];

    fn prepare(&self, event: &Event<'_>, owed: &[&'static str], secrets: &Secrets) -> Result<Item, Told> {
        let envelope = &event.envelope;
        let owes_the_call = owed.contains(&NAME);
        let errand = match &event.content {
            Content::Webhook(webhook) => call(&envelope.id, webhook, &self.naming)
                // Webhooks tell what happened; they change nobody, and so need no order.
                .map(|call| Errand { call, tags: Tags::None, users: Vec::new(), tagged: Vec::new() }),
            Content::FirstParty(event) => {
                let now = Timestamp::from_system(SystemTime::now());
                let age = if owes_the_call { now.seconds_since(envelope.received_at) } else { 0 };
                errand(&envelope.id, event, &secrets.rules, Duration::from_secs(age))
            }
        };
        let outcome = |fate| match fate {
            Fate::Skip(skip) => Outcome::Skipped(skip.as_str()),
            Fate::Dead(cause) => Outcome::Dead(cause),
        };
        let name = if owes_the_call { NAME } else { TAGS };
        let Errand { call, tags, users, tagged } = errand.map_err(|fate| vec![(name, outcome(fate))])?;
        if !owes_the_call && tags == Tags::None {
            return Err(vec![(TAGS, Outcome::Skipped("no_tags"))]);
        }
        let turn = delivery::Turn { users, received_at: envelope.received_at, place: envelope.place };
        Ok(Item { call: owes_the_call.then_some(call), tags, turn, tagged })
    }

    fn deliver<'a>(&'a self, items: Vec<Item>, turn: &'a Turn<'a>) -> BoxFuture<'a, Vec<Told>> {
        Box::pin(async move {
            let turn_of = |Item { turn, tagged, .. }: &Item| {
                let users = turn.users.iter().chain(tagged).cloned().collect();
                delivery::Turn { users, ..turn.clone() }
            };
            let turns: Vec<delivery::Turn> = items.iter().map(turn_of).collect();
            let lines = in_order(&turns);
            let mut told = vec![Told::new(); items.len()];
            let mut done = vec![0; lines.len()];
            if self.client.is_on_trial()
                && let Some(trial) = lines.first().and_then(|line| line.first())
            {
                told[*trial] = self.run(&items[*trial], turn).await;
                done[0] = 1;
            }
            // Unordered: a call that pauses before its second try holds up none but its user's.
            let walks = lines.iter().zip(done).map(|(line, done)| self.walk(&items, &line[done..], turn));
            let walks: Vec<_> = walks.collect();
            let mut walks = stream::iter(walks).buffer_unordered(IN_FLIGHT);
            while let Some(walked) = walks.next().await {
                for (index, outcomes) in walked {
                    told[index] = outcomes;
                }
            }
            drop(walks);
            give_up_what_was_taken_back(&items, &mut told);
            told
        })
    }

    fn hold(&self, items: Vec<Item>) -> Vec<Told> {
        let paused = |item: &Item| vec![(if item.call.is_some() { NAME } else { TAGS }, Outcome::Paused)];
        let mut told: Vec<Told> = items.iter().map(paused).collect();
        give_up_what_was_taken_back(&items, &mut told);
        told
    }
}
