//! One SDK's run, and whether all of it went well.

use std::time::{Duration, Instant};

use faults::report::Report;
use serde_json::Value;

use crate::expect::{Call, Event};
use crate::recorder::Exchange;

/// How long the last event may take to arrive, and how long to watch for what should not.
const DEADLINE_AFTER: Duration = Duration::from_secs(60);
const AFTERMATH: Duration = Duration::from_secs(2);

/// What is to become of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Each event is posted once and arrives once.
    Delivery,
    /// Nothing is taken, and nothing is sent again.
    Refusal,
}

/// What one SDK did.
pub struct Run {
    pub sdk: String,
    pub version: String,
    pub gzip: bool,
    pub wanted: Wanted,
    pub exchanges: Vec<Exchange>,
    /// What it was to post.
    pub events: Vec<Event>,
    /// How many events it posts beside these that are nothing for Vero.
    pub skipped: usize,
    /// What it complained about.
    pub complaint: Option<String>,
}

/// Waits until every event has arrived, and then for what should not.
pub async fn settle(runs: &[Run], calls: impl Fn() -> Vec<Call>) {
    let deadline = Instant::now() + DEADLINE_AFTER;
    let taken = || runs.iter().filter(|run| run.exchanges.iter().all(Exchange::is_success));
    while Instant::now() < deadline {
        let calls = calls();
        let has_arrived = |event: &Event| calls.iter().any(|call| event.becomes(call));
        if taken().flat_map(|run| &run.events).all(has_arrived) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(AFTERMATH).await;
}

/// What came of a pipeline's runs.
pub struct Outcome {
    pub pipeline: &'static str,
    /// Whether a sender's order must be kept. Of SQS only a single worker can see that it is.
    pub in_order: bool,
    /// What Vero took, in order.
    pub calls: Vec<Call>,
    pub dead_letters: usize,
}

/// Adds the runs through one pipeline to the report.
pub fn judge(runs: &[Run], outcome: &Outcome, report: &mut Report) {
    let Outcome { pipeline, in_order, calls, dead_letters } = outcome;
    for run in runs {
        let mut failures = run.failures(calls);
        if *in_order && !run.is_in_order(calls) {
            failures.push("the calls at Vero are out of order".to_owned());
        }
        let result = match (failures.is_empty(), run.wanted) {
            (true, Wanted::Delivery) => "delivered once",
            (true, Wanted::Refusal) => "wrong key, refused once",
            (false, _) => "FAILED",
        };
        report.rows.push(vec![
            run.sdk.clone(),
            run.version.clone(),
            if run.gzip { "yes" } else { "no" }.to_owned(),
            (*pipeline).to_owned(),
            run.exchanges.len().to_string(),
            run.posted().to_string(),
            calls.iter().filter(|call| run.is_of(call)).count().to_string(),
            result.to_owned(),
        ]);
        let name = format!("{} {}", run.sdk, run.version);
        report.failures.extend(failures.into_iter().map(|failure| format!("{name}: {failure}")));
    }
    for call in calls.iter().filter(|call| !runs.iter().any(|run| run.is_of(call))) {
        report.failures.push(format!("{pipeline}: a call of no event at Vero: {call:?}"));
    }
    if *dead_letters > 0 {
        report.failures.push(format!("{pipeline}: {dead_letters} messages in the dead-letter queue"));
    }
}

impl Run {
    fn posted(&self) -> usize {
        self.exchanges.iter().map(|exchange| exchange.events.len()).sum()
    }

    fn is_of(&self, call: &Call) -> bool {
        self.events.iter().any(|event| event.becomes(call))
    }

    fn is_in_order(&self, calls: &[Call]) -> bool {
        self.events.iter().map(|event| calls.iter().position(|call| event.becomes(call))).is_sorted()
    }

    fn failures(&self, calls: &[Call]) -> Vec<String> {
        let is_answered = match self.wanted {
            Wanted::Delivery => Exchange::is_success,
            Wanted::Refusal => Exchange::is_refusal,
        };
        let mut failures = Vec::new();
        for exchange in self.exchanges.iter().filter(|exchange| !is_answered(exchange)) {
            let Exchange { path, status, content_type, answer, .. } = exchange;
            failures.push(format!("{path}: {status} {content_type} {}", String::from_utf8_lossy(answer)));
        }
        failures.dedup();
        match (self.wanted, &self.complaint) {
            (Wanted::Delivery, Some(complaint)) => failures.push(complaint.clone()),
            (Wanted::Refusal, None) => failures.push("the SDK took the refusal for success".to_owned()),
            _ => {}
        }
        for event in &self.events {
            let posts: Vec<&Value> = self
                .exchanges
                .iter()
                .flat_map(|exchange| exchange.events.iter().map(|posted| (exchange.path.as_str(), posted)))
                .filter_map(|(path, posted)| event.is_in(path, posted).then_some(posted))
                .collect();
            let arrivals: Vec<&Call> = calls.iter().filter(|call| event.becomes(call)).collect();
            match (self.wanted, posts.as_slice(), arrivals.as_slice()) {
                (Wanted::Delivery, [posted], [call]) => {
                    failures.extend(event.wrong_time(call));
                    failures.extend(event.lost_fields(posted, call));
                }
                // An SDK that sends one by one stops at the first refusal.
                (Wanted::Refusal, [] | [_], []) => {}
                (_, posts, arrivals) => failures.push(format!(
                    "{} was posted {} times and is at Vero {} times",
                    event.kind,
                    posts.len(),
                    arrivals.len()
                )),
            }
        }
        if self.wanted == Wanted::Delivery && self.posted() != self.events.len() + self.skipped {
            failures.push(format!("{} events were posted", self.posted()));
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;
    use time::macros::format_description;

    use super::*;

    fn run(wanted: Wanted, posts: usize, status: u16, answer: &str) -> Run {
        let posted = json!({"type": "track", "userId": "user-x", "properties": {"seconds": 175}});
        let exchange = Exchange {
            path: "/v1/batch".into(),
            events: vec![posted],
            status,
            content_type: "application/json".into(),
            answer: answer.to_owned().into(),
        };
        Run {
            sdk: "sdk".into(),
            version: "1".into(),
            gzip: false,
            wanted,
            exchanges: vec![exchange; posts],
            events: Event::all("x", false).into_iter().filter(|event| event.kind == "track").collect(),
            skipped: 0,
            complaint: (status != 200).then(|| "refused".into()),
        }
    }

    fn call(data: Value) -> Call {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000");
        let now = OffsetDateTime::now_utc().format(form).unwrap();
        Call {
            method: "POST".into(),
            path: "/api/v2/events/track".into(),
            body: json!({
                "identity": {"id": "user-x"},
                "event_name": "Song Played",
                "data": data,
                "extras": {"created_at": now},
            }),
        }
    }

    #[test]
    fn what_goes_wrong_is_reported() {
        let posted = |posts| run(Wanted::Delivery, posts, 200, r#"{"success":true}"#);
        let whole = || call(json!({"seconds": 175}));
        assert_eq!(posted(1).failures(&[whole()]), [""; 0]);
        for (run, calls) in [
            (posted(1), vec![]),
            (posted(1), vec![whole(), whole()]),
            (posted(1), vec![call(json!({}))]),
            (posted(2), vec![whole()]),
            (posted(0), vec![whole()]),
            (run(Wanted::Delivery, 1, 200, "{}"), vec![whole()]),
            (run(Wanted::Delivery, 1, 202, r#"{"success":true}"#), vec![whole()]),
        ] {
            assert!(!run.failures(&calls).is_empty(), "{calls:?}");
        }
    }

    #[test]
    fn after_a_refusal_nothing_is_sent_again() {
        const NO: &str = r#"{"success":false,"code":"c","message":"m","error":"e"}"#;
        assert_eq!(run(Wanted::Refusal, 1, 401, NO).failures(&[]), [""; 0]);
        for (run, calls) in [
            (run(Wanted::Refusal, 2, 401, NO), vec![]),
            (run(Wanted::Refusal, 1, 401, r#"{"error":"e"}"#), vec![]),
            (run(Wanted::Refusal, 1, 401, NO), vec![call(json!({}))]),
            (Run { complaint: None, ..run(Wanted::Refusal, 1, 401, NO) }, vec![]),
        ] {
            assert!(!run.failures(&calls).is_empty(), "{calls:?}");
        }
    }
}
