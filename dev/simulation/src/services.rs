//! AWS, behind the connector seam of its SDK: SQS, SSM and Firehose as `harness` models them, with mishaps.

use std::error::Error;
use std::sync::Arc;
use std::{io, slice};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use harness::{ApiAnswer, AwsModel};
use relay_core::delivery::MAX_ATTEMPTS;
use relay_core::envelope::Envelope;
use serde_json::{Value, json};

use crate::heap::{Outside, outside};
use crate::ledger;
use crate::scenario::{HOUR, Mishap, Place, at_place};
use crate::state::{DEAD_LETTERS, DELIVERIES, EPOCH, QUEUE, REPLAY_QUEUE, Simulation, State};

/// A client for the SDK.
pub fn client(simulation: &Arc<Simulation>, caller: Place) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(Arc::clone(simulation), caller));
    http_client_fn(move |_, _| connector.clone())
}

/// With the function that calls.
struct Connector(Arc<Simulation>, Place);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (simulation, caller) = (Arc::clone(&self.0), self.1);
        HttpConnectorFuture::new(async move {
            let asked = outside(|| Asked::of(&request));
            let answer = Outside::of(exchange(simulation, caller, asked)).await;
            let Some(answer) = answer else {
                return Err(ConnectorError::io(io::Error::other("broken").into()));
            };
            let response = response(&answer);
            outside(|| drop(answer));
            response.map_err(|error| ConnectorError::other(error, None))
        })
    }
}

/// What a service is asked to do.
struct Asked {
    target: String,
    body: Value,
}

impl Asked {
    fn of(request: &HttpRequest) -> Self {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = request.body().bytes().and_then(|body| serde_json::from_slice(body).ok());
        Asked { target, body: body.unwrap_or_default() }
    }
}

/// `None`: the connection broke.
async fn exchange(simulation: Arc<Simulation>, caller: Place, asked: Asked) -> Option<ApiAnswer> {
    let Asked { target, body } = asked;
    let place = match target.split('.').next() {
        Some("AmazonSSM") => Place::Ssm,
        Some("Firehose_20150804") => Place::Firehose,
        Some("Logs_20140328") => Place::Logs,
        _ => Place::Sqs,
    };
    let sent = (place == Place::Sqs && caller == Place::Worker).then(|| events(&body));
    simulation.lock().ledger.untaken(sent.iter().flatten());
    let serve = move |state: &mut State, mishap: Option<Mishap>| state.serve(caller, &target, &body, mishap);
    let answer = simulation.call(place, serve).await?;
    // A part of a batch that was refused is asked for again.
    if answer.status == 200 && answer.body["Failed"].as_array().is_none_or(Vec::is_empty) {
        simulation.lock().ledger.taken(sent.iter().flatten());
    }
    Some(answer)
}

/// A copy of an answer, as it comes over the wire.
fn response(answer: &ApiAnswer) -> Result<HttpResponse, Box<dyn Error + Send + Sync>> {
    let mut response = http::Response::builder()
        .status(answer.status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", "simulated");
    if let Some(error) = &answer.query_error {
        response = response.header("x-amzn-query-error", &**error);
    }
    Ok(HttpResponse::try_from(response.body(SdkBody::from(answer.body.to_string()))?)?)
}

impl State {
    /// Does what a service does, and says which events it has taken.
    fn serve(
        &mut self,
        caller: Place,
        target: &str,
        request: &Value,
        mishap: Option<Mishap>,
    ) -> (ApiAnswer, Vec<String>) {
        match mishap {
            Some(Mishap::Refused) => return (AwsModel::refusal(target, false), Vec::new()),
            Some(Mishap::Throttled) => return (AwsModel::refusal(target, true), Vec::new()),
            Some(Mishap::Unauthorized) => return (refusal("AccessDeniedException"), Vec::new()),
            Some(Mishap::Misrouted) => return (refusal("ResourceNotFoundException"), Vec::new()),
            _ => (),
        }
        let entries = ["Entries", "Records"].iter().find_map(|key| request[*key].as_array());
        let mut refused: Vec<usize> = Vec::new();
        if let (Some(Mishap::Partly), Some(entries)) = (mishap, entries) {
            refused = (0..entries.len()).filter(|_| self.rng.bool()).collect();
        }
        let answer = self.aws.answer(target, request, &refused, EPOCH + self.now);
        let operation = target.split('.').next_back().unwrap_or_default();
        let taken = match (answer.status, operation) {
            (200, "SendMessage") => self.sent(caller, request, &[(request, &answer.body)]),
            (200, "SendMessageBatch") => {
                let of = |sent: &Value| {
                    let entries = request["Entries"].as_array().into_iter().flatten();
                    entries.into_iter().find(|entry| entry["Id"] == sent["Id"]).cloned().unwrap_or_default()
                };
                let sent: Vec<&Value> = answer.body["Successful"].as_array().into_iter().flatten().collect();
                let entries: Vec<Value> = sent.iter().map(|sent| of(sent)).collect();
                let pairs: Vec<(&Value, &Value)> = entries.iter().zip(sent).collect();
                self.sent(caller, request, &pairs)
            }
            (200, "PutRecordBatch") => self.recorded(request, &refused),
            _ => Vec::new(),
        };
        let answer = match mishap {
            // The SDK reads what is there, and that is nothing.
            Some(Mishap::AnswerCut) => ApiAnswer { body: json!({}), ..answer },
            _ => answer,
        };
        (answer, taken)
    }

    /// Messages are on a queue: entries as they were sent, and what SQS says of each.
    fn sent(&mut self, caller: Place, request: &Value, pairs: &[(&Value, &Value)]) -> Vec<String> {
        let queue = request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
        let mut events = Vec::new();
        if queue == REPLAY_QUEUE {
            return events;
        }
        for (entry, sent) in pairs {
            let (id, body) = (sent["MessageId"].as_str().unwrap_or_default(), text(&entry["MessageBody"]));
            let delay = entry["DelaySeconds"].as_u64().unwrap_or_default();
            if caller == Place::Replay {
                self.ledger.replayed(body, self.now);
            }
            self.ledger.put(id, body, self.now);
            let event = self.ledger.event_of(id).cloned();
            self.tell(|| {
                let what = if queue == DEAD_LETTERS { "dead letter" } else { "queued" };
                let envelope = Envelope::parse(body).ok();
                let owed = envelope.as_ref().and_then(|envelope| envelope.destinations.clone());
                let attempt = envelope.map_or(0, |envelope| envelope.attempt);
                let event = event.as_deref().unwrap_or("no event");
                format!("{what} {id}: {event}, owed {owed:?}, attempt {attempt}, in {delay} s")
            });
            match (queue == DEAD_LETTERS, Envelope::parse(body)) {
                (true, _) => {
                    // What nobody knows has no metric.
                    let is_counted = caller == Place::Worker && !body.contains(r#"["nowhere"]"#);
                    self.ledger.letters += usize::from(is_counted);
                    self.check_letter(body);
                }
                (false, Ok(envelope)) if caller == Place::Worker => self.check_copy(&envelope),
                _ => (),
            }
            events.extend(event);
        }
        debug_assert!(queue == QUEUE || queue == DEAD_LETTERS);
        events
    }

    /// A copy has a cause.
    fn check_copy(&mut self, envelope: &Envelope<'_>) {
        self.ledger.check_attempt(envelope, self.now);
        let owed = envelope.destinations.iter().flatten();
        let is_changed =
            owed.into_iter().any(|name| self.scenario.has_operations(at_place(name), self.now, self.now));
        let is_calm = self.scenario.is_calm_everywhere(self.now.saturating_sub(HOUR), self.now);
        if is_calm && !is_changed && envelope.attempt > 0 && self.now < self.scenario.end {
            let what =
                format!("{} is still owed to {:?}, and nothing is wrong", envelope.id, envelope.destinations);
            self.ledger.violation(self.now, what);
        }
    }

    /// Some reasons are faults of ours, whatever goes wrong elsewhere.
    fn check_letter(&mut self, body: &str) {
        let letter: Value = serde_json::from_str(body).unwrap_or_default();
        let reason = text(&letter["reason"]);
        let is_good = !body.contains("refused-by-segment") && letter["destinations"][0] == ledger::SEGMENT;
        if reason == "refused" && is_good {
            let now = self.now;
            self.ledger.violation(now, format!("a good event is refused along with a bad one: {body}"));
        }
        let id = text(&letter["id"]);
        let is_final = match reason {
            "refused" => true,
            "stale_consent" => self.ledger.is_stale(id, self.now),
            "malformed_tags" => !self.ledger.has_tags(id),
            _ => body.contains("poison-"),
        };
        let is_last = letter["attempt"].as_u64() == Some(MAX_ATTEMPTS.into());
        if !is_final && !is_last {
            let now = self.now;
            self.ledger.violation(now, format!("a dead letter with the reason {reason:?}: {body}"));
        }
    }

    /// Records are in a delivery stream.
    fn recorded(&mut self, request: &Value, refused: &[usize]) -> Vec<String> {
        let records = request["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let taken = records.iter().enumerate().filter(|(place, _)| !refused.contains(place));
        let records: Vec<String> = taken
            .map(|(_, record)| STANDARD.decode(text(&record["Data"])).unwrap_or_default())
            .map(|record| String::from_utf8_lossy(&record).into_owned())
            .collect();
        if request["DeliveryStreamName"] == DELIVERIES {
            records.iter().flat_map(|record| record.lines()).for_each(|row| self.logged(row));
            return Vec::new();
        }
        records.iter().map(|record| self.archived(record)).collect()
    }

    fn archived(&mut self, record: &str) -> String {
        let row: Value = serde_json::from_str(record).unwrap_or_default();
        let (id, now) = (text(&row["id"]).to_owned(), self.now);
        self.tell(|| format!("archive has {id}"));
        self.ledger.archived(&id, record, now);
        id
    }

    /// The delivery log says what has come about, and no more.
    fn logged(&mut self, row: &str) {
        let row: Value = serde_json::from_str(row).unwrap_or_default();
        let (id, outcome) = (text(&row["id"]), text(&row["outcome"]));
        let Some(part) = ledger::part(text(&row["destination"])) else { return };
        self.ledger.logged_delivery(id, part, outcome, self.now);
    }
}

/// An error of the caller's.
fn refusal(code: &str) -> ApiAnswer {
    ApiAnswer { status: 400, body: json!({ "__type": code }), query_error: None }
}

/// The events that messages on their way to SQS are about.
fn events(request: &Value) -> Vec<String> {
    let batch = request["Entries"].as_array().map_or_else(|| slice::from_ref(request), Vec::as_slice);
    batch.iter().filter_map(|entry| ledger::text_in(text(&entry["MessageBody"]), "id")).collect()
}

/// A body as it was before gzip.
pub fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    match io::Read::read_to_string(&mut GzDecoder::new(body), &mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
