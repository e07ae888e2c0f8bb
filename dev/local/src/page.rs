//! What the inspector's page shows of this stack, and does with it. The page itself is the crate `inspector`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use inspector::backend::{self, Action, Backend, Problem, Route, Workbench};
use inspector::feed::{Event, Feed, name_of_message, name_of_request};
use inspector::model::evidence::{Delivery, Queued};
use inspector::model::known::Known;
use inspector::model::letter::{Letter, is_plain};
use inspector::model::log_line::LogLine;
use inspector::model::mapping::requests;
use inspector::model::state;
use inspector::model::time::At;
use inspector::server;
use relay_core::archive::Archived;
use relay_core::blueprint::Blueprint;
use relay_core::envelope::{Envelope, Source};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::aws::{Cloud, REGION};
use crate::deploy::{self, Outputs};
use crate::http::{self, Request};
use crate::project::{self, FUNCTIONS, Project};
use crate::proxy::Port;
use crate::receivers::StandIn;
use crate::samples;
use crate::stack::Secrets;

/// Where the page is when nobody asks for a port and this one is free.
pub(crate) const USUAL_PORT: u16 = 4581;
/// So often the stack is looked at.
const TURN: Duration = Duration::from_millis(250);
/// A letter that is looked at for a redrive is hidden for so long, in seconds.
const HIDDEN_S: u64 = 5;

/// The stack, seen by the page.
pub(crate) struct Page {
    project: Project,
    feed: Arc<Feed>,
    cloud: Cloud,
    outputs: Outputs,
    stand_ins: Vec<Arc<StandIn>>,
    samples: Vec<backend::Sample>,
    ingest: Ingest,
    parameters: Mutex<BTreeMap<String, String>>,
    /// What the worker maps by.
    blueprint: Blueprint,
    seen: Mutex<Seen>,
    /// One looks at the stack at a time.
    looking: tokio::sync::Mutex<()>,
}

/// Where `ingest` is reached, and by which tokens and key.
pub(crate) struct Ingest {
    pub(crate) address: SocketAddr,
    pub(crate) secrets: Secrets,
}

/// How far the stack has been looked at.
#[derive(Default)]
struct Seen {
    rows: usize,
    /// The messages of each event.
    messages: HashMap<String, Vec<Message>>,
    /// The latest line's time, and the lines of that time.
    log: BTreeMap<&'static str, (u64, Vec<String>)>,
}

/// What `additions.py` tells of the stand-in for AWS.
#[derive(Deserialize)]
struct News {
    rows: Vec<String>,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Message {
    queue: String,
    id: String,
    body: String,
    reason: Option<String>,
    due_ms: i64,
    is_received: bool,
}

/// Serves the page, and has it follow the stack for as long as the second value lives; the first one is its URL.
pub(crate) fn serve(port: Port, token: String, stack: Arc<Page>) -> (String, JoinSet<()>) {
    let url = server::url(port.address, &token);
    let watching = Arc::clone(&stack);
    let mut following = JoinSet::new();
    following.spawn(async move {
        let mut last = String::new();
        loop {
            // A stack that is just being changed answers again soon.
            if let Err(error) = watching.watch("news").await {
                let error = format!("{error:#}");
                if error != last {
                    eprintln!("the inspector cannot look at the stack: {error}");
                }
                last = error;
            }
            tokio::time::sleep(TURN).await;
        }
    });
    tokio::spawn(server::serve(port.listener, token, stack));
    (url, following)
}

impl Page {
    pub(crate) fn new(
        project: Project,
        feed: Arc<Feed>,
        cloud: Cloud,
        outputs: Outputs,
        (parameters, blueprint): (BTreeMap<String, String>, Blueprint),
        stand_ins: Vec<Arc<StandIn>>,
        ingest: Ingest,
    ) -> Result<Self> {
        let mut samples = Vec::new();
        for (prefix, route) in [("vero-", Route::Vero), ("segment-", Route::Segment)] {
            let files = samples::files(&project, prefix)?.into_iter();
            samples.extend(files.map(|(name, body)| backend::Sample { name, route, body }));
        }
        let parameters = Mutex::new(parameters);
        Ok(Page {
            project,
            feed,
            cloud,
            outputs,
            stand_ins,
            samples,
            ingest,
            parameters,
            blueprint,
            seen: Mutex::default(),
            looking: Default::default(),
        })
    }

    /// Looks at what is new, and puts it into the feed.
    async fn watch(&self, what: &str) -> Result<()> {
        let _turn = self.looking.lock().await;
        let seen = self.seen().rows;
        let news: News =
            serde_json::from_value(self.cloud.inspect(&format!("/inspect/{what}/{seen}")).await?)?;
        self.seen().rows += news.rows.len();
        for row in &news.rows {
            self.row(row);
        }
        self.messages(news.messages);
        for function in &FUNCTIONS[..2] {
            self.lines(function).await?;
        }
        Ok(())
    }

    /// A row of the archive: an event's envelope, or what became of it.
    fn row(&self, row: &str) {
        let fields: Value = serde_json::from_str(row).unwrap_or_default();
        let Some(id) = fields["id"].as_str() else { return };
        if fields["outcome"].is_string() {
            let text = |name: &str| fields[name].as_str().map(str::to_owned);
            let at = serde_json::from_value(fields["at"].clone()).unwrap_or_else(|_| At::now());
            let delivery = Delivery {
                part: text("destination").unwrap_or_default(),
                outcome: text("outcome").unwrap_or_default(),
                reason: text("reason"),
                status: fields["status"].as_u64(),
                attempt: fields["attempt"].as_u64(),
                at,
            };
            self.known(id, |event| match &mut event.evidence.deliveries {
                Known::Yes(deliveries) => deliveries.push(delivery),
                Known::No { .. } => (),
            });
        } else if let Some(envelope) = Archived::parse(row).and_then(|row| Some(row.envelope()?.to_json())) {
            self.known(id, |event| {
                event.evidence.archived = Known::Yes(true);
                event.evidence.envelope = Some(envelope.clone());
            });
            self.name(id, &envelope);
        }
    }

    /// Says by what Vero and the sender know a first-party event: by the id that its sender gave it, or, where Vero is told
    /// no id, by what is sent.
    fn name(&self, id: &str, text: &str) {
        let Some(envelope) = Envelope::parse(text).ok().filter(|own| own.source == Source::Segment) else {
            return;
        };
        let fields: Value = serde_json::from_str(text).unwrap_or_default();
        let message_id = fields["payload"]["messageId"].as_str();
        self.feed.name(id, &name_of_message(message_id.unwrap_or(id)));
        if let Some(message_id) = message_id {
            self.feed.name(id, &Route::of_first_party(envelope.through_segment).name_of(message_id));
        }
        for (_, request) in requests(&envelope, &self.stack(), &self.blueprint) {
            self.feed.name(id, &name_of_request(&request));
        }
    }

    /// Changes an event of which this stack hides nothing.
    fn known(&self, id: &str, change: impl FnOnce(&mut Event)) {
        self.feed.change(id, |event| {
            let evidence = &mut event.evidence;
            evidence.blueprint.clone_from(&self.blueprint);
            if evidence.queued.yes().is_none() {
                evidence.archived = Known::Yes(false);
                evidence.deliveries = Known::Yes(Vec::new());
                evidence.lines = Known::Yes(Vec::new());
                evidence.letters = Known::Yes(Vec::new());
                evidence.queued = Known::Yes(Vec::new());
            }
            change(event);
            true
        });
    }

    /// What is in the queues now.
    fn messages(&self, messages: Vec<Message>) {
        let mut by_id: HashMap<String, Vec<Message>> = HashMap::new();
        let own = [&self.outputs.queue_url, &self.outputs.dead_letter_queue_url];
        for message in messages.into_iter().filter(|message| own.contains(&&message.queue)) {
            let letter = Letter::read(&message.id, &message.body, message.reason.as_deref());
            by_id.entry(letter.name().to_owned()).or_default().push(message);
        }
        let before = std::mem::take(&mut self.seen().messages);
        let gone = before.keys().filter(|id| !by_id.contains_key(*id)).map(|id| (id, &[][..]));
        let here = by_id.iter().filter(|(id, messages)| before.get(*id) != Some(messages));
        for (id, messages) in gone.chain(here.map(|(id, messages)| (id, messages.as_slice()))) {
            self.known(id, |event| self.put(event, messages));
            if let Some(message) = messages.first() {
                self.name(id, &message.body);
            }
        }
        self.seen().messages = by_id;
    }

    fn put(&self, event: &mut Event, messages: &[Message]) {
        let (dead, live): (Vec<_>, Vec<_>) =
            messages.iter().partition(|message| message.queue == self.outputs.dead_letter_queue_url);
        let queued = live.iter().map(|message| {
            let envelope: Value = serde_json::from_str(&message.body).unwrap_or_default();
            let parts = envelope["destinations"]
                .as_array()
                .map(|parts| parts.iter().filter_map(Value::as_str).map(str::to_owned).collect());
            let attempt = envelope["attempt"].as_u64().unwrap_or(0);
            Queued { parts, attempt, due: At::from_ms(message.due_ms), is_received: message.is_received }
        });
        event.evidence.queued = Known::Yes(queued.collect());
        let letters =
            dead.iter().map(|message| Letter::read(&message.id, &message.body, message.reason.as_deref()));
        event.evidence.letters = Known::Yes(letters.collect());
        let text = messages.first().map(|message| message.body.clone());
        event.evidence.envelope = event.evidence.envelope.take().or(text);
    }

    /// The new lines of a function's log that name an event.
    async fn lines(&self, function: &'static str) -> Result<()> {
        let (since, known) = self.seen().log.get(function).cloned().unwrap_or_default();
        let group = format!("/aws/lambda/{}-{function}", deploy::STACK);
        let query = json!({"logGroupName": group, "startTime": since});
        let answer = self.cloud.json("logs", "Logs_20140328.FilterLogEvents", query).await?;
        let (mut latest, mut of_latest) = (since, Vec::new());
        for line in answer["events"].as_array().into_iter().flatten() {
            let (Some(at), Some(text)) = (line["timestamp"].as_u64(), line["message"].as_str()) else {
                continue;
            };
            if at > latest {
                (latest, of_latest) = (at, Vec::new());
            }
            if at == latest {
                of_latest.push(text.to_owned());
            }
            if at == since && known.iter().any(|known| known == text) {
                continue;
            }
            let Some(line) = LogLine::read(function, At::from_ms(at as i64), text) else { continue };
            if let Some(id) = line.id.clone() {
                self.known(&id, |event| match &mut event.evidence.lines {
                    Known::Yes(lines) => lines.push(line),
                    Known::No { .. } => (),
                });
            }
        }
        self.seen().log.insert(function, (latest, of_latest));
        Ok(())
    }

    async fn send(&self, route: Route, body: String) -> Result<String> {
        let Ingest { address, secrets } = &self.ingest;
        let path = match route {
            Route::Vero => format!("/vero/{}", secrets.webhook_token),
            Route::Segment => format!("/segment/{}", secrets.segment_token),
            Route::Sdk => path_of_sdk(&body),
        };
        let mut request = Request::new(body.into());
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = path.parse()?;
        request.headers_mut().insert("content-type", "application/json".parse()?);
        if route == Route::Sdk {
            request.headers_mut().insert("authorization", harness::basic(&secrets.write_key).parse()?);
        }
        let answer = http::send(*address, request).await?;
        let (status, text) = (answer.status().as_u16(), String::from_utf8_lossy(answer.body()));
        ensure!(answer.status().is_success(), "ingest answered {status}: {text}");
        Ok(format!("ingest answered {status}: {text}"))
    }

    async fn pause(&self, destination: &str, is_paused: bool) -> Result<String> {
        let now = self.stack();
        let mut paused: Vec<&str> = now.paused().filter(|name| *name != destination).collect();
        if is_paused {
            paused.push(destination);
        }
        let paused = paused.join(",");
        let binaries: [PathBuf; 3] = project::build_functions().await?;
        let change = vec![("PausedDestinations", paused.as_str())];
        deploy::update(&self.cloud, &self.project, &binaries, &change).await?;
        self.parameters().insert("PausedDestinations".to_owned(), paused);
        let waiting = self.feed.each(|event| {
            event.evidence.queued.yes().is_some_and(|all| !all.is_empty()).then(|| event.evidence.id.clone())
        });
        waiting.iter().flatten().for_each(|id| self.feed.change(id, |_| true));
        Ok(format!(
            "{destination} is {}",
            if is_paused { "paused: what it is owed waits" } else { "resumed" }
        ))
    }

    /// Puts an event's dead letters back on the queue: each is sent before it is deleted.
    async fn redrive(&self, id: &str) -> Result<String> {
        let dead = &self.outputs.dead_letter_queue_url;
        let (mut redriven, mut looked_at) = (0, HashSet::new());
        loop {
            let receive = json!({"QueueUrl": dead, "MaxNumberOfMessages": 10, "VisibilityTimeout": HIDDEN_S, "MessageAttributeNames": ["All"]});
            let received = self.cloud.json("sqs", "AmazonSQS.ReceiveMessage", receive).await?;
            let messages = received["Messages"].as_array().cloned().unwrap_or_default();
            let ids = messages.iter().filter_map(|message| message["MessageId"].as_str().map(str::to_owned));
            // Of thousands of letters the first ones come again before the last one has come.
            let new = ids.filter(|id| looked_at.insert(id.clone())).count();
            if new == 0 {
                ensure!(redriven > 0, "no dead letter of {id} could be received; try again in {HIDDEN_S} s");
                return Ok(format!("{redriven} dead letters of {id} are on the queue again"));
            }
            for message in messages {
                let (body, name) =
                    (message["Body"].as_str().unwrap_or_default(), message["MessageId"].as_str());
                if Letter::read(name.unwrap_or_default(), body, None).name() != id {
                    continue;
                }
                let letter = Letter::read("", body, None);
                let to =
                    if letter.is_replay { &self.outputs.replay_queue_url } else { &self.outputs.queue_url };
                let mut send = json!({"QueueUrl": to, "MessageBody": body});
                if !message["MessageAttributes"].is_null() {
                    send["MessageAttributes"] = message["MessageAttributes"].clone();
                }
                self.cloud.json("sqs", "AmazonSQS.SendMessage", send).await?;
                let delete = json!({"QueueUrl": dead, "ReceiptHandle": message["ReceiptHandle"]});
                self.cloud.json("sqs", "AmazonSQS.DeleteMessage", delete).await?;
                redriven += 1;
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parameters(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand_in(&self, destination: &str) -> Result<&StandIn> {
        let mut all = self.stand_ins.iter();
        let stand_in = all.find(|stand_in| stand_in.destination.to_string() == destination);
        stand_in.map(Arc::as_ref).with_context(|| format!("{destination} is no stand-in here"))
    }
}

impl Backend for Page {
    fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    fn stack(&self) -> state::Stack {
        state::Stack {
            name: deploy::STACK.to_owned(),
            region: REGION.to_owned(),
            is_local: true,
            parameters: self.parameters().clone(),
            ..Default::default()
        }
    }

    fn limits(&self) -> Vec<String> {
        let real = [crate::Destination::Segment, crate::Destination::VeroTrack].into_iter();
        let real = real.filter(|destination| self.stand_in(&destination.to_string()).is_err());
        real.map(|destination| {
            format!("{destination} is the real one: its requests and responses are not seen here.")
        })
        .collect()
    }

    fn shows_addresses(&self) -> bool {
        true
    }

    fn workbench(&self) -> Option<Workbench> {
        let stand_ins = self.stand_ins.iter().map(|stand_in| backend::StandIn {
            destination: stand_in.destination.to_string(),
            behaviour: stand_in.behaviour(),
        });
        Some(Workbench {
            samples: self.samples.clone(),
            stand_ins: stand_ins.collect(),
            webhook_url: format!("http://{}/vero/{}", self.ingest.address, self.ingest.secrets.webhook_token),
        })
    }

    async fn look(&self, _: &str) -> Result<(), Problem> {
        Ok(()) // the feed has all there is
    }

    async fn act(&self, action: Action) -> Result<String, Problem> {
        let done = match action {
            Action::Send { route, body } => self.send(route, body).await,
            Action::Behave { destination, behaviour } => self.stand_in(&destination).map(|stand_in| {
                stand_in.behave(behaviour);
                let words = backend::Behaviour::ALL.iter().find(|(one, _)| *one == behaviour);
                format!("{destination} {}", words.map_or("", |(_, words)| words))
            }),
            Action::Pause { destination, is_paused } => self.pause(&destination, is_paused).await,
            Action::Hurry => {
                self.watch("hurry").await.map(|()| "what waited for its next try is tried now".to_owned())
            }
            Action::Redrive(id) => self.redrive(&id).await,
        };
        done.map_err(|error| Problem(format!("{error:#}")))
    }
}

/// Where an SDK posts: a batch, or an event by its type.
fn path_of_sdk(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let kind = body["type"].as_str().map(str::to_lowercase).filter(|kind| is_plain(kind));
    format!("/v1/{}", kind.as_deref().filter(|_| body["batch"].is_null()).unwrap_or("batch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdk_posts_by_the_type_of_its_event() {
        let paths = [r#"{"type":"Track"}"#, r#"{"batch":[],"type":"track"}"#, r#"{"type":"a/b"}"#, "no JSON"];
        assert_eq!(paths.map(path_of_sdk), ["/v1/track", "/v1/batch", "/v1/batch", "/v1/batch"]);
    }
}
