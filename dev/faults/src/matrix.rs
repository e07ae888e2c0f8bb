//! The fault matrix: every way for a destination to fail, at each of them, for all requests or some.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use harness::{Behaviour, When};

use crate::account::{Account, deliveries};
use crate::programs::Programs;
use crate::report::Report;
use crate::rig::{Destination, Rig};

/// Events a cell, and in a batch.
const EVENTS: usize = 30;
const BATCH: usize = 10;
/// Cells side by side: they mostly wait.
const CELLS: usize = 20;
/// A fault that meets all requests ends after so many passes over the queue.
const FAULTY_PASSES: usize = 2;
/// More would mean that the queue never empties.
const MAX_PASSES: usize = 40;
/// Longer than the breaker's first pause.
const BREAKER: Duration = Duration::from_millis(10_300);
/// What a failing destination may hold an invocation for (10 s), and the rest of its work.
const LONGEST: Duration = Duration::from_millis(11_500);

/// A way to fail.
struct Fault {
    name: &'static str,
    behaviour: fn(Destination) -> Option<Behaviour>,
    /// The destination may have taken what it seems to have failed at.
    may_double: bool,
    /// The answer that ends in the dead-letter queue.
    is_final: bool,
}

const fn fault(name: &'static str, behaviour: fn(Destination) -> Option<Behaviour>) -> Fault {
    Fault { name, behaviour, may_double: false, is_final: false }
}

const fn doubling(name: &'static str, behaviour: fn(Destination) -> Option<Behaviour>) -> Fault {
    Fault { may_double: true, ..fault(name, behaviour) }
}

const fn refusal(name: &'static str, behaviour: fn(Destination) -> Option<Behaviour>) -> Fault {
    Fault { is_final: true, ..fault(name, behaviour) }
}

/// `None` closes the port. The slowest first, so that none is left over at the end.
static FAULTS: [Fault; 22] = [
    fault("hang", |_| Some(Behaviour::Hang)),
    doubling("taken, then hang", |_| Some(Behaviour::Slow(Duration::from_secs(60)))),
    // Of Vero the body decides: one that does not come in full is no yes.
    doubling("drip", |_| Some(Behaviour::Drip)),
    fault("slow, 3 s", |_| Some(Behaviour::Slow(Duration::from_secs(3)))),
    doubling("endless body", |_| Some(Behaviour::EndlessBody)),
    fault("refuse", |_| None),
    fault("reset before answer", |_| Some(Behaviour::Reset)),
    doubling("reset mid-answer", |_| Some(Behaviour::ResetMidAnswer)),
    doubling("lost answer", |_| Some(Behaviour::LostAnswer)),
    fault("408", |_| Some(Behaviour::status(408))),
    fault("429", |_| Some(Behaviour::status(429))),
    fault("429, Retry-After 120", |_| Some(Behaviour::status(429).with_header("retry-after", "120"))),
    fault("500", |_| Some(Behaviour::status(500))),
    fault("503", |_| Some(Behaviour::status(503))),
    fault("401", |_| Some(Behaviour::status(401))),
    refusal("400", |_| Some(Behaviour::status(400))),
    fault("404", |_| Some(Behaviour::status(404))),
    refusal("413", |_| Some(Behaviour::status(413))),
    refusal("422", |_| Some(Behaviour::status(422))),
    fault("302", |_| Some(Behaviour::Redirect("/elsewhere".into()))),
    fault("wrong content type", |_| Some(Behaviour::WrongContentType)),
    fault("200, error in body", |destination| {
        Some(match destination {
            // Documented for Vero alone; of the others a 2xx is a yes.
            Destination::Vero => {
                Behaviour::answer(200, r#"{"status":401,"message":"Invalid authentication"}"#)
            }
            Destination::Segment | Destination::Endpoint => {
                Behaviour::answer(200, r#"{"success":false,"message":"Invalid"}"#)
            }
        })
    }),
];

/// Whom a fault meets.
#[derive(Clone, Copy, PartialEq)]
enum Schedule {
    All,
    EveryThird,
    FirstTen,
}

const SCHEDULES: [Schedule; 3] = [Schedule::All, Schedule::EveryThird, Schedule::FirstTen];

impl Schedule {
    fn when(self) -> When {
        match self {
            Self::All => When::always(),
            Self::EveryThird => When::every(3),
            Self::FirstTen => When::first(10),
        }
    }

    /// A closed port meets whole batches, counted from 1.
    fn meets(self, batch: usize) -> bool {
        match self {
            Self::All => true,
            Self::EveryThird => batch.is_multiple_of(3),
            Self::FirstTen => batch <= 10,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::All => "all requests",
            Self::EveryThird => "every third",
            Self::FirstTen => "first ten",
        }
    }
}

struct Cell {
    fault: &'static Fault,
    destination: Destination,
    schedule: Schedule,
}

/// What a cell came to.
struct CellResult {
    lost: usize,
    doubled: usize,
    dead: usize,
    maybe_doubled: usize,
    longest: Duration,
    failures: Vec<String>,
}

/// Runs all cells whose fault's name contains `only`.
pub async fn run(programs: &Programs, only: &str) -> Result<Report> {
    let faults: Vec<&'static Fault> = FAULTS.iter().filter(|fault| fault.name.contains(only)).collect();
    ensure!(!faults.is_empty(), "no fault is called {only}");
    let cells = faults.iter().flat_map(|fault| Destination::ALL.map(|destination| (*fault, destination)));
    let cells = cells
        .flat_map(|(fault, destination)| SCHEDULES.map(|schedule| Cell { fault, destination, schedule }));
    let runs = stream::iter(cells.enumerate()).map(|(number, cell)| async move {
        let outcome = cell.run(programs).await?;
        anyhow::Ok((number, cell, outcome))
    });
    let mut outcomes: Vec<(usize, Cell, CellResult)> = runs.buffer_unordered(CELLS).try_collect().await?;
    outcomes.sort_by_key(|(number, ..)| *number);
    Ok(report(&outcomes))
}

fn report(outcomes: &[(usize, Cell, CellResult)]) -> Report {
    let mut report = Report {
        title: "Fault matrix".into(),
        head: vec!["fault", "at", "all requests", "every third", "first ten", "longest invocation"],
        ..Report::default()
    };
    let mut total = [0; 4];
    for row in outcomes.chunks(SCHEDULES.len()) {
        let Some((_, Cell { fault, destination, .. }, _)) = row.first() else { continue };
        let mut cells = vec![fault.name.to_owned(), destination.name().to_owned()];
        for (_, cell, outcome) in row {
            let counts = [outcome.lost, outcome.doubled, outcome.dead, outcome.maybe_doubled];
            total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            cells.push(counts.map(|count| count.to_string()).join(" / "));
            let place = format!("{} at {}, {}", fault.name, destination.name(), cell.schedule.name());
            report.failures.extend(outcome.failures.iter().map(|failure| format!("{place}: {failure}")));
        }
        let longest = row.iter().map(|(.., outcome)| outcome.longest).max().unwrap_or_default();
        cells.push(format!("{:.1} s", longest.as_secs_f64()));
        report.rows.push(cells);
    }
    let [lost, doubled, dead, maybe_doubled] = total;
    report.legend = format!(
        "Each cell: {EVENTS} events in batches of {BATCH}; lost / doubled / dead letters / maybe_doubled of the log.
In all {} cells: {lost} lost, {doubled} doubled, {dead} dead letters, {maybe_doubled} maybe_doubled. The other
destinations got each event once. Doubled is allowed only where an answer was lost after the destination had taken
the events, and then to the byte the same. Dead letters were redriven at the end and arrived. Faults of all requests
ended after {FAULTY_PASSES} passes; a closed port meets batches in place of requests.",
        outcomes.len()
    );
    report
}

impl Cell {
    async fn run(&self, programs: &Programs) -> Result<CellResult> {
        let rig = Rig::start(programs).await?;
        let receiver = rig.receiver(self.destination);
        let ids = rig.enqueue(EVENTS)?;
        if let Some(behaviour) = (self.fault.behaviour)(self.destination) {
            receiver.behave(behaviour, self.schedule.when());
        }
        let (mut batches, mut passes, mut longest, mut failures) =
            (0, Vec::new(), Duration::ZERO, Vec::new());
        let mut recovered = false;
        loop {
            while rig.queue.next_due() == Some(Duration::ZERO) {
                batches += 1;
                self.set_port(&rig, !recovered && self.schedule.meets(batches)).await?;
                let Some(invocation) = rig.step(BATCH).await else { continue };
                longest = longest.max(invocation.took);
                failures.extend(invocation.result.err().map(|error| error.to_string()));
            }
            passes.push(receiver.count());
            if rig.queue.next_due().is_none() || passes.len() == MAX_PASSES {
                break;
            }
            if self.schedule == Schedule::All && passes.len() == FAULTY_PASSES {
                recovered = true;
                receiver.recover();
                // The one time that the same process finds out by itself.
                tokio::time::sleep(BREAKER).await;
            } else {
                rig.worker.restart().await?;
            }
            rig.make_all_due();
        }
        if passes.len() == MAX_PASSES {
            failures.push(format!("the queue was not empty after {MAX_PASSES} passes"));
        }
        if longest > LONGEST {
            failures.push(format!("an invocation took {longest:?}"));
        }
        let account = Account::of(&rig, self.destination, &ids, &passes);
        failures.extend(account.failures(self.fault.may_double));
        failures.extend(self.unjust_dead_letters(&rig, &account));
        self.redrive(&rig, &ids, &mut failures).await?;
        Ok(CellResult {
            lost: account.lost.len(),
            doubled: account.doubled,
            dead: account.dead.len(),
            maybe_doubled: account.maybe_doubled,
            longest,
            failures,
        })
    }

    async fn set_port(&self, rig: &Rig, closed: bool) -> Result<()> {
        match (self.fault.behaviour)(self.destination) {
            None if closed => rig.receiver(self.destination).refuse().await,
            _ => rig.receiver(self.destination).reopen().await,
        }
    }

    /// Dead letters of events that the destination has not refused for good.
    fn unjust_dead_letters(&self, rig: &Rig, account: &Account) -> Vec<String> {
        let seen = deliveries(rig, self.destination);
        let refused = |id: &str, status: u64| {
            // What may be the fault of another event in the batch is not final.
            seen.iter().any(|delivery| {
                delivery.id == id
                    && delivery.status.map(u64::from) == Some(status)
                    && delivery.batch_size == 1
            })
        };
        let unjust = account.dead.iter().filter(|(id, letters)| {
            let status = letters.first().and_then(|letter| letter["status"].as_u64()).unwrap_or_default();
            !self.fault.is_final || !refused(id, status)
        });
        unjust.map(|(id, letters)| format!("{id} is a dead letter unjustly: {letters:?}")).collect()
    }

    /// The destination is mended and the dead letters are redriven: then all have everything, once.
    async fn redrive(&self, rig: &Rig, ids: &[String], failures: &mut Vec<String>) -> Result<()> {
        self.set_port(rig, false).await?;
        rig.receiver(self.destination).recover();
        rig.dead.redrive_to(&rig.queue)?;
        if !rig.drain(BATCH).await? {
            failures.push("the queue was not empty after the redrive".into());
        }
        if let Some(letter) = rig.dead.messages().first() {
            failures.push(format!("dead after the redrive: {}", letter.body));
        }
        let account = Account::of(rig, self.destination, ids, &[usize::MAX]);
        failures.extend(
            account.failures(self.fault.may_double).into_iter().map(|failure| format!("redriven: {failure}")),
        );
        for neighbour in self.destination.neighbours() {
            let account = Account::of(rig, neighbour, ids, &[usize::MAX]);
            let of_other = account.failures(false).into_iter();
            failures.extend(of_other.map(|failure| format!("{}: {failure}", neighbour.name())));
        }
        Ok(())
    }
}
