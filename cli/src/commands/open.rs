//! `relay open`: the inspector's page for a deployed stack, read from the archive, the logs and the dead-letter queue.

use std::collections::{BTreeSet, HashMap};
use std::io::IsTerminal;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inspector::backend::{Action, Backend, Problem, Workbench};
use inspector::feed::Feed;
use inspector::server;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::event::{delivery_of, envelope_of, gather};
use super::letters::put_back;
use super::{Done, token};
use crate::cloud::{Cloud, Group};
use crate::console::{BOLD, Console, styled};
use crate::error::Error;
use crate::model::evidence::Evidence;
use crate::model::known::Known;
use crate::model::letter::{Letter, is_plain};
use crate::model::state::Stack;
use crate::model::story::tell;
use crate::model::time::At;
use crate::options::{Open, Selection};

/// So often the stack is looked at again.
const TURN: Duration = Duration::from_secs(30);
/// So many letters are looked at.
const LETTERS: usize = 2_000;

/// The id of an event whose letters are to be redriven, and who waits for what becomes of it.
type Redrive = (String, oneshot::Sender<Result<usize, Problem>>);

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Open) -> Done {
    let (redrives, mut asked) = mpsc::channel::<Redrive>(1);
    let page = Arc::new(Page {
        redrives,
        stack: Mutex::new(cloud.describe().await?),
        cloud: cloud.clone(),
        feed: Arc::default(),
        shows_addresses: options.show_addresses,
    });
    console.wait("Looking for events", page.look_at_all(options)).await?;
    let listener = TcpListener::bind(("127.0.0.1", options.port.unwrap_or(0))).await;
    let listener = listener.map_err(|error| Error::Io("a port of 127.0.0.1".to_owned(), error))?;
    let address = listener.local_addr().map_err(|error| Error::Io("127.0.0.1".to_owned(), error))?;
    let secret = token::make()?;
    let url = server::url(address, &secret);
    console.show(&json!({"url": url}), || {
        console.say(styled(BOLD, &url));
        console.say("The page looks at the stack every half a minute. Ctrl-C ends it.");
    })?;
    show_in_browser(&url);
    let follow = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TURN) => {
                    if let Err(error) = page.look_at_all(options).await {
                        anstream::eprintln!("the page shows what was there before: {error}");
                    }
                }
                Some((id, waits)) = asked.recv() => {
                    let selection = Selection { ids: vec![id], ..Selection::default() };
                    let moved = put_back(cloud, &page.stack(), &selection).await;
                    let moved = moved.map(|moved| moved.moved).map_err(|error| Problem(error.to_string()));
                    // Who asked may have gone.
                    let _ = waits.send(moved);
                }
            }
        }
    };
    tokio::select! {
        served = server::serve(listener, secret, Arc::clone(&page)) => {
            served.map_err(|error| Error::Io("the page".to_owned(), error))?;
            Ok(ExitCode::SUCCESS)
        }
        () = follow => Ok(ExitCode::SUCCESS),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

/// Where there is a terminal there may be a browser. Who has none opens the URL.
fn show_in_browser(url: &str) {
    if std::io::stdout().is_terminal() {
        let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let quiet =
            std::process::Command::new(program).arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        drop(quiet);
    }
}

/// A deployed stack, seen by the page.
struct Page {
    cloud: Cloud,
    stack: Mutex<Stack>,
    feed: Arc<Feed>,
    shows_addresses: bool,
    redrives: mpsc::Sender<Redrive>,
}

impl Page {
    fn locked(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_at_all(&self, options: &Open) -> Result<(), Error> {
        let stack = self.cloud.describe().await?;
        *self.locked() = stack.clone();
        if stack.has_archive() {
            self.look_at_archive(&stack, options).await?;
        }
        self.look_at_letters_and_log(&stack, options).await
    }

    async fn look_at_archive(&self, stack: &Stack, options: &Open) -> Result<(), Error> {
        let since = At::now().before(options.since.0).to_string();
        let (day, limit) = (&since[..10], options.limit.min(10_000));
        let wanted = format!(
            "from data where day >= '{day}' and received_at >= '{since}' order by received_at desc limit {limit}"
        );
        let events = format!("select id, received_at, source, place, through_segment, payload {wanted}");
        let deliveries = format!(
            "select id, destination, outcome, reason, status, attempt, \"at\" from deliveries
             where day >= '{day}' and id in (select id {wanted}) order by \"at\""
        );
        let (events, deliveries) =
            tokio::try_join!(self.cloud.query(stack, &events), self.cloud.query(stack, &deliveries))?;
        for row in events.rows.iter().rev() {
            let Some(id) = events.cell(row, "id") else { continue };
            let envelope = envelope_of(&events, row, id);
            let own = deliveries.rows.iter().filter(|row| deliveries.cell(row, "id") == Some(id));
            let own: Vec<_> = own.filter_map(|row| delivery_of(&deliveries, row)).collect();
            self.feed.change(id, |event| {
                let evidence = &mut event.evidence;
                let is_new = event.version == 0 || evidence.deliveries.yes() != Some(&own);
                evidence.envelope = envelope;
                evidence.archived = Known::Yes(true);
                evidence.deliveries = Known::Yes(own);
                is_new
            });
        }
        Ok(())
    }

    async fn look_at_letters_and_log(&self, stack: &Stack, options: &Open) -> Result<(), Error> {
        let since = At::now().before(options.since.0);
        let url = stack.output("DeadLetterQueueUrl").unwrap_or_default();
        let (letters, lines) = tokio::try_join!(
            self.cloud.look_at_letters(url, LETTERS),
            self.cloud.log_lines(Group::Worker, since, None)
        )?;
        let mut by_id: HashMap<String, Vec<Letter>> = HashMap::new();
        for letter in letters.letters {
            by_id.entry(letter.name().to_owned()).or_default().push(letter);
        }
        // Of the others it is known that they have none, if all were seen.
        if letters.is_complete {
            for id in self.feed.each(|event| event.evidence.id.clone()) {
                by_id.entry(id).or_default();
            }
        }
        for (id, letters) in by_id {
            self.feed.change(&id, |event| {
                let evidence = &mut event.evidence;
                let ids = |letters: &[Letter]| {
                    letters.iter().map(|letter| letter.message_id.clone()).collect::<BTreeSet<_>>()
                };
                let is_new = evidence.letters.yes().is_none_or(|before| ids(before) != ids(&letters));
                let body = letters.first().map(|letter| letter.body.to_string());
                evidence.envelope = evidence.envelope.take().or(body);
                evidence.letters = Known::Yes(letters);
                is_new
            });
        }
        for line in lines {
            let Some(id) = line.id.clone() else { continue };
            self.feed.change(&id, |event| {
                let others = event.evidence.lines.yes().cloned().unwrap_or_default();
                let is_new = others.iter().all(|other| (other.at, &other.fields) != (line.at, &line.fields));
                event.evidence.lines = Known::Yes(others.into_iter().chain(is_new.then_some(line)).collect());
                is_new
            });
        }
        Ok(())
    }
}

impl Backend for Page {
    fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    fn stack(&self) -> Stack {
        self.locked().clone()
    }

    fn limits(&self) -> Vec<String> {
        let stack = self.locked();
        let mut limits = vec!["What is in the queue: AWS shows it nobody.".to_owned()];
        limits.push(if stack.has_archive() {
            "Events of the last quarter of an hour may not be in the archive yet.".to_owned()
        } else {
            "Without an archive: events that went well. Here are dead letters, and what the logs have of other failures.".to_owned()
        });
        limits.push("The requests as they came and as they went over the wire. Those shown are what the event is mapped to by the present settings.".to_owned());
        if !self.shows_addresses {
            limits.push("The data of events: start `relay open` with --show-addresses.".to_owned());
        }
        limits
    }

    fn shows_addresses(&self) -> bool {
        self.shows_addresses
    }

    fn workbench(&self) -> Option<Workbench> {
        None
    }

    async fn look(&self, id: &str) -> Result<(), Problem> {
        if !is_plain(id) {
            return Err(Problem("no event has such an id".to_owned()));
        }
        let stack = self.stack();
        let evidence = gather(&self.cloud, &stack, id, true).await;
        self.feed.change(id, |event| {
            let (now, before) = (At::now(), event.evidence.clone());
            let told = |evidence: &Evidence| json!(tell(evidence, &stack, now, true));
            let is_new = event.version == 0;
            event.evidence = evidence.or(before.clone());
            // A row that only was looked at has not changed.
            if is_new { event.evidence.is_anything() } else { told(&event.evidence) != told(&before) }
        });
        Ok(())
    }

    async fn act(&self, action: Action) -> Result<String, Problem> {
        let Action::Redrive(id) = action else {
            return Err(Problem("a deployed stack is only looked at here, but for a redrive".to_owned()));
        };
        let (waits, done) = oneshot::channel();
        let gone = || Problem("the command is ending".to_owned());
        self.redrives.send((id.clone(), waits)).await.map_err(|_| gone())?;
        let moved = done.await.map_err(|_| gone())??;
        self.look(&id).await?;
        if moved == 0 {
            return Err(Problem(format!(
                "no dead letter of {id} could be received: somebody else may be looking at it; try again in a minute"
            )));
        }
        Ok(format!("{moved} dead letters of {id} are on the queue again"))
    }
}
