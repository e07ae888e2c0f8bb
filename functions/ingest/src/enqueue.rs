//! Puts entries on the queues, and reports what did not go well.

use std::collections::BTreeSet;
use std::time::Duration;

use relay_platform::aws::Aws;
use relay_platform::metrics::Metrics;
use relay_platform::queue::{OutboundMessage, Queue, SendError};

use crate::auth::authorized::Authorized;
use crate::config::Config;
use crate::http::request::InboundRequest;
use crate::queue_entry::{QueueEntry, TOO_LARGE};
use crate::rejection::Rejection;

pub(crate) const UNQUEUED: &str = "Unqueued";
pub(crate) const REFUSED: &str = "Refused";
pub(crate) const TRUNCATED: &str = "Truncated";

/// The queue, and its dead-letter queue.
#[derive(Debug)]
pub(crate) struct Queues {
    main: Queue,
    dead_letters: Queue,
    metrics: Metrics,
}

impl Queues {
    pub(crate) fn new(aws: &Aws, config: &Config) -> Self {
        let sqs = aws.sqs();
        Queues {
            main: Queue::new(sqs.clone(), config.queue_url.clone()),
            dead_letters: Queue::new(sqs, config.dead_letter_queue_url.clone()),
            metrics: config.metrics.clone(),
        }
    }

    pub(crate) async fn warm_up(&self, timeout: Duration) {
        self.main.warm_up(timeout).await;
    }

    /// Puts entries where they belong; those that could not be put anywhere come back. `dropped` counts events of the same
    /// request that a public key sent in vain.
    pub(crate) async fn enqueue<'e>(
        &self,
        authorized: &Authorized<'_>,
        entries: &'e [QueueEntry],
        dropped: usize,
    ) -> Vec<&'e QueueEntry> {
        let request = authorized.request();
        let (dead, live): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.dead_letter_reason.is_some());
        let (live, dead) =
            tokio::join!(send(&self.main, live, request), send(&self.dead_letters, dead, request));
        let unqueued: Vec<_> = live.into_iter().chain(dead).collect();
        self.report(entries, dropped, &unqueued);
        unqueued.into_iter().map(|(entry, _)| entry).collect()
    }

    /// One line of a request that did not go well, however many events it has: no sender must be able to fill the
    /// log. The dead-letter queue tells of each.
    fn report(&self, entries: &[QueueEntry], dropped: usize, unqueued: &[(&QueueEntry, SendError)]) {
        let mut reasons: Vec<&str> = entries.iter().filter_map(|entry| entry.dead_letter_reason).collect();
        let truncated = reasons.iter().filter(|reason| **reason == TOO_LARGE).count();
        reasons.extend(std::iter::repeat_n(Rejection::NotAllowed.code(), dropped));
        if reasons.is_empty() && unqueued.is_empty() {
            return;
        }
        let mut line = self.metrics.line().count(REFUSED, reasons.len()).count(TRUNCATED, truncated);
        if !reasons.is_empty() {
            let reasons: Vec<&str> = reasons.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            line = line.field("reason", reasons.join(","));
        }
        let refused = entries.iter().find(|entry| entry.dead_letter_reason.is_some());
        if let Some(first) = unqueued.first().map(|(entry, _)| *entry).or(refused) {
            line = line.field("id", first.id.as_str());
        }
        match unqueued {
            [] => line.warn("refused"),
            [(_, error), ..] => {
                line.count(UNQUEUED, unqueued.len()).field("error", error.to_string()).warn("not queued");
            }
        }
    }
}

/// Sends entries to a queue; what could not be sent comes back with the reason.
async fn send<'e>(
    queue: &Queue,
    entries: Vec<&'e QueueEntry>,
    request: &InboundRequest,
) -> Vec<(&'e QueueEntry, SendError)> {
    let outbound = |entry: &QueueEntry| OutboundMessage {
        body: entry.body.clone(),
        attributes: entry.attributes.clone(),
        delay: Duration::ZERO,
        trace: request.trace.clone(),
    };
    let results = match entries[..] {
        [] => return Vec::new(),
        [one] => vec![queue.send(outbound(one), request.deadline).await],
        _ => queue.send_all(entries.iter().copied().map(outbound).collect(), request.deadline).await,
    };
    entries.into_iter().zip(results).filter_map(|(entry, result)| Some((entry, result.err()?))).collect()
}
