//! `cargo simulate`: plays seeds, and tells of those that fail.

mod plants;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;
use clap::Parser;
use simulation::heap::Heap;
use simulation::play::{Report, play};
use simulation::scenario::{Clock, Mishap, Place, Scenario};
use simulation::shrink::shrink;

/// Runs the functions in a simulated world, a seed at a time.
#[derive(Debug, Parser)]
#[command(name = "cargo simulate")]
struct Options {
    /// How many seeds, from `--from` on.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed alone, with its story.
    #[arg(long)]
    seed: Option<u64>,
    /// How many hours things happen for, before all troubles end.
    #[arg(long, default_value_t = 24)]
    hours: u64,
    /// Ends at the first seed that fails.
    #[arg(long)]
    first: bool,
    /// Plants each fault of `plants/`, or those whose names contain this, and tells which seed finds it.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    plants: Option<String>,
    /// Prints the trace hash of each seed.
    #[arg(long)]
    hashes: bool,
    /// Tells a failing seed as it is, without looking for the least that fails.
    #[arg(long)]
    whole: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match (&options.plants, options.seed) {
        (Some(named), _) => plants::all(named, options.seeds),
        (None, Some(seed)) => one(&options, seed),
        (None, None) => many(&options),
    }
}

#[expect(clippy::print_stdout, reason = "the report of a command")]
fn one(options: &Options, seed: u64) -> Result<ExitCode> {
    let scenario = Scenario::of(seed, options.hours);
    let report = play(scenario.clone(), true)?;
    let again = play(scenario.clone(), false)?;
    if again.trace != report.trace {
        println!("seed {seed} is not the same twice: {:016x}, {:016x}", report.trace, again.trace);
        return Ok(ExitCode::FAILURE);
    }
    let (scenario, report) = match report.violations.is_empty() || options.whole {
        true => (scenario, report),
        false => shrink(scenario, &report)?,
    };
    tell(&scenario, &report);
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the report of a command")]
fn tell(scenario: &Scenario, report: &Report) {
    println!("seed {}, trace {:016x}", scenario.seed, report.trace);
    for trouble in &scenario.troubles {
        println!("  {trouble}");
    }
    for line in &report.story {
        println!("{line}");
    }
    for violation in &report.violations {
        println!("VIOLATION {violation}");
    }
}

#[expect(clippy::print_stdout, reason = "the report of a command")]
fn many(options: &Options) -> Result<ExitCode> {
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let reports = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let report = play(Scenario::of(seed, options.hours), false)?;
            if !report.violations.is_empty() {
                println!("seed {seed}: {}", report.violations[0]);
                if options.first {
                    next.store(end, Ordering::Relaxed);
                }
            }
            if let Ok(mut reports) = reports.lock() {
                reports.insert(seed, report);
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    let reports = reports.into_inner().unwrap_or_default();
    if options.hashes {
        for (seed, report) in &reports {
            println!("{seed} {:016x}", report.trace);
        }
    }
    let failed: Vec<u64> =
        reports.iter().filter(|(_, report)| !report.violations.is_empty()).map(|(seed, _)| *seed).collect();
    summary(&reports, failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the report of a command")]
fn summary(reports: &BTreeMap<u64, Report>, failed: usize) {
    let sum = |of: fn(&Report) -> usize| reports.values().map(of).sum::<usize>();
    println!("{} seeds, {failed} with violations", reports.len());
    println!(
        "{} events, {} deliveries, {} of them after the first; {} invocations of the worker failed",
        sum(|report| report.events),
        sum(|report| report.deliveries),
        sum(|report| report.repeated),
        sum(|report| report.failures as usize),
    );
    println!("Segment and Vero took {} events again for new", sum(|report| report.doubled));
    let longest = reports.values().map(|report| report.healing).max().unwrap_or_default();
    println!("settled at the latest {} after the last trouble", Clock(longest));
    let mut heaps: BTreeMap<Place, Heap> = BTreeMap::new();
    for (place, heap) in reports.values().flat_map(|report| &report.heaps) {
        heaps.entry(*place).or_default().widen(heap);
    }
    for (place, Heap { held, most }) in heaps {
        println!("{place:?} had at most {most} bytes on its heap, and held {held} between two invocations");
    }
    let mut mishaps: BTreeMap<(Place, Mishap), u64> = BTreeMap::new();
    for (kind, count) in reports.values().flat_map(|report| &report.mishaps) {
        *mishaps.entry(*kind).or_default() += count;
    }
    for ((place, mishap), count) in mishaps {
        println!("  {place:?} {mishap}: {count}");
    }
}
