//! Outages of hours, in seconds: the queues' clock is put forward a minute at a time.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use harness::{Behaviour, MessageState, When};
use relay_core::delivery::MAX_ATTEMPTS;

use crate::account::Account;
use crate::programs::Programs;
use crate::report::Report;
use crate::rig::{Destination, Rig};

const EVENTS: usize = 60;
const BATCH: usize = 100;
const STEP: Duration = Duration::from_secs(60);
const HOUR: u64 = 3_600;
/// The back-off ends before this even with the longest delays.
const LONGER_THAN_RETRIES: u64 = 30 * HOUR;

struct Outage {
    destination: Destination,
    name: &'static str,
    /// None: the port is closed.
    behaviour: Option<Behaviour>,
    length: Duration,
    /// The reason of the dead letters, if it is to end there.
    reason: Option<&'static str>,
}

/// Half a day, after which everything arrives by itself, and more than a day, after which it takes a redrive.
pub async fn run(programs: &Programs) -> Result<Report> {
    let outage = |destination, name, behaviour, seconds, reason| Outage {
        destination,
        name,
        behaviour,
        length: Duration::from_secs(seconds),
        reason,
    };
    let (segment, vero) = (Destination::Segment, Destination::Vero);
    let no = |status| Some(Behaviour::status(status));
    let outages = [
        outage(segment, "refuse", None, 12 * HOUR, None),
        outage(vero, "refuse", None, 12 * HOUR, None),
        outage(segment, "503", no(503), 12 * HOUR, None),
        outage(vero, "401", no(401), 12 * HOUR, None),
        outage(segment, "401", no(401), LONGER_THAN_RETRIES, Some("unauthorized")),
        outage(vero, "refuse", None, LONGER_THAN_RETRIES, Some("connection_failed")),
    ];
    let mut report = Report {
        title: "Outages of hours".into(),
        head: vec!["fault", "at", "hours", "tries an event", "dead letters", "redriven", "lost", "doubled", "in flight"],
        legend: format!(
            "{EVENTS} events each; the queues' clock goes on by {STEP:?} at a time. Hours: until the fault ended, or the first and the
last dead letter. After 12 hours everything arrived by itself; what had been tried {MAX_ATTEMPTS} times was in the dead-letter
queue with its last reason, and arrived by a redrive. In flight: the most messages that waited by visibility."
        ),
        ..Report::default()
    };
    for (row, failures) in try_join_all(outages.iter().map(|outage| outage.run(programs))).await? {
        report.rows.push(row);
        report.failures.extend(failures);
    }
    Ok(report)
}

impl Outage {
    async fn run(&self, programs: &Programs) -> Result<(Vec<String>, Vec<String>)> {
        let rig = Rig::start(programs).await?;
        let receiver = rig.receiver(self.destination);
        let ids = rig.enqueue(EVENTS)?;
        match &self.behaviour {
            Some(behaviour) => receiver.behave(behaviour.clone(), When::always()),
            None => receiver.refuse().await?,
        }
        let (mut failures, mut in_flight, mut deaths) = (Vec::new(), 0, Vec::new());
        let mut elapsed = Duration::ZERO;
        while elapsed < self.length && rig.queue.next_due().is_some() {
            while let Some(invocation) = rig.step(BATCH).await {
                failures.extend(invocation.result.err().map(|error| error.to_string()));
            }
            let waiting = rig.queue.messages();
            let hidden = waiting.iter().filter(|message| message.state == MessageState::InFlight).count();
            in_flight = in_flight.max(hidden);
            deaths.resize(rig.dead.messages().len(), elapsed);
            rig.sqs.advance(STEP);
            elapsed += STEP;
            // Lambda's processes come and go too; this one's breaker has seen a moment, not an hour.
            if elapsed.as_secs().is_multiple_of(HOUR) {
                rig.worker.restart().await?;
            }
        }
        let owed = rig.queue.messages().into_iter().chain(rig.dead.messages());
        let tries: Vec<u64> = owed.filter_map(|message| message.json()["attempt"].as_u64()).collect();
        failures.extend(self.look_at_the_dead(&rig));

        receiver.recover();
        receiver.reopen().await?;
        let redriven = rig.dead.redrive_to(&rig.queue)?;
        if !rig.drain(BATCH).await? {
            failures.push("the queue was not empty in the end".into());
        }
        let (mut lost, mut doubled) = (0, 0);
        for destination in Destination::ALL {
            let account = Account::of(&rig, destination, &ids, &[]);
            (lost, doubled) = (lost + account.lost.len(), doubled + account.doubled);
            failures.extend(account.failures(false));
            if !account.dead.is_empty() {
                failures.push(format!("{} dead letters in the end", account.dead.len()));
            }
        }
        let span = |least: Option<String>, most: Option<String>| match (least, most) {
            (Some(least), Some(most)) if least == most => least,
            (Some(least), Some(most)) => format!("{least} to {most}"),
            _ => "0".to_owned(),
        };
        let hours = |time: &Duration| format!("{:.1}", time.as_secs_f64() / HOUR as f64);
        let row = vec![
            self.name.to_owned(),
            self.destination.name().to_owned(),
            match self.reason {
                None => hours(&self.length),
                Some(_) => span(deaths.first().map(hours), deaths.last().map(hours)),
            },
            span(tries.iter().min().map(u64::to_string), tries.iter().max().map(u64::to_string)),
            deaths.len().to_string(),
            redriven.to_string(),
            lost.to_string(),
            doubled.to_string(),
            in_flight.to_string(),
        ];
        let place = format!("{} at {}", self.name, self.destination.name());
        Ok((row, failures.into_iter().map(|failure| format!("{place}: {failure}")).collect()))
    }

    /// All events are there after their last try, or none is.
    fn look_at_the_dead(&self, rig: &Rig) -> Vec<String> {
        let letters = rig.dead.bodies();
        let expected = if self.reason.is_some() { EVENTS } else { 0 };
        let mut failures = Vec::new();
        if letters.len() != expected {
            failures.push(format!("{} dead letters in place of {expected}", letters.len()));
        }
        let odd = letters.into_iter().find(|letter| {
            letter["attempt"] != MAX_ATTEMPTS
                || letter["reason"].as_str() != self.reason
                || letter["destinations"] != serde_json::json!([self.destination.name()])
        });
        failures.extend(odd.map(|letter| format!("an odd dead letter: {letter}")));
        failures
    }
}
