//! `cargo bench-relay`: see `cargo bench-relay --help`.
//!
//! - Measured: [`cold`] and [`warm`] for ingest, [`batch`] for the worker, [`core`], [`unauthorized`] callers, and the
//!   same functions in other languages ([`twins`]).
//! - Computed from that: [`cost`], [`newsletter`].
//! - Needed for it: [`binaries`], [`scene`], [`cpu_share`]. Shown by [`table`] and [`plot`].

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod batch;
mod binaries;
mod cold;
mod core;
mod cost;
mod cpu_share;
mod newsletter;
mod plot;
mod scene;
mod table;
mod twins;
mod unauthorized;
mod warm;

use std::fs;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::binaries::Binaries;
use crate::table::Row;

/// Builds the functions for release, measures them on the harness, and prints one table. A missed target is a line of
/// it, not an error.
#[derive(Parser)]
#[command(bin_name = "cargo bench-relay")]
struct Options {
    /// Measure these alone. Without, the command also says what a million webhooks cost and how a newsletter to five
    /// million goes, and draws speed.svg
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Cold,
    Warm,
    Batch,
    Core,
    Unauthorized,
}

/// The plot of docs/performance.md.
const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/speed.svg");

/// Of a core, of which Lambda gives a function of 256 MB so much.
const SHARE: f64 = 1_769.0 / 256.0;

const LEGEND: &str = "\
Times are medians; what stands in one line was measured in turn. hello: a bare lambda_runtime function; SendMessage:
one that does nothing but send the webhook to SQS, by the same client of the same SDK. The webhook has 1 KB.
start                 from spawning the process to its first answer, with a webhook on SQS without TLS
init with TLS         up to asking for the first event, with the connection to SQS open; the certificate
                      authorities are this machine's and SQS's
CPU share of 256 MB   256/1,769 of a core from the first request on (quota of a cgroup, in periods of 20 ms)
its own               of the median answer, what it takes longer than SendMessage's; the envelope around the webhook
                      and the two message attributes are in it
3,000 webhooks        as ingest queued them, in one batch, to both destinations, which answer at once
its twin              started, answering and holding memory after 550 answers in turn with ingest, which the others'
                      use of the caches slows down; the JavaScript is not bundled
no key, unknown token CPU time of the process for one request of a caller that is not known; 6 MB are nearly the most
                      that a Function URL takes, of which the runtime reads the whole event before ingest sees any
core                  the samples of events/, without a function around it; the first two lines by criterion, the
                      others in turn
";

#[tokio::main]
async fn main() -> Result<()> {
    let Options { parts } = Options::parse();
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    if parts == [Part::Unauthorized] {
        let rows = unauthorized::measure(&binaries::ingest().await?).await?;
        println!("{}\n{LEGEND}", table::render(&rows));
        return Ok(());
    }
    let binaries = Binaries::build().await?;
    let mut rows: Vec<Row> = cold::sizes(&binaries)?;
    let mut contenders = Vec::new();
    if wanted(Part::Cold) {
        eprintln!("Starting functions, {} times each", cold::RUNS);
        rows.push(cold::start(&binaries).await?);
        eprintln!("The same beside its twins");
        contenders = twins::measure(&binaries).await?;
        rows.extend(twins::rows(&contenders));
        eprintln!("The same behind TLS, with a share of the CPU");
        rows.extend(cold::on_lambda(&binaries).await?);
    }
    let mut own = None;
    if wanted(Part::Warm) {
        eprintln!("Sending {} requests", warm::REQUESTS);
        let answers = warm::answers(&binaries).await?;
        own = Some(answers.own);
        rows.extend(answers.rows);
        eprintln!("Sending {} requests, for a minute or two", warm::MANY_REQUESTS);
        rows.push(warm::memory_over_time(&binaries).await?);
    }
    let mut worker = None;
    if wanted(Part::Batch) {
        eprintln!("Handing webhooks to worker");
        let batch = batch::whole(&binaries).await?;
        worker = Some((batch.own, batch.log_bytes_of_one, batch.log_bytes));
        rows.extend(batch.rows);
    }
    if wanted(Part::Core) {
        eprintln!("Mapping webhooks, by criterion");
        rows.extend(core::measure().await?);
    }
    if wanted(Part::Unauthorized) {
        eprintln!("Sending what nobody has asked for");
        rows.extend(unauthorized::measure(&binaries.ingest).await?);
    }
    println!("{}\n{LEGEND}", table::render(&rows));
    if let (Some(ingest), Some((worker, log_bytes_of_one, log_bytes))) = (own, worker) {
        let (ingest, worker) = (ingest.mul_f64(SHARE), worker.mul_f64(SHARE));
        let row_bytes = core::row_bytes()?;
        let measured = cost::Measured { ingest, worker, log_bytes_of_one, log_bytes, row_bytes };
        let assumed = cost::Assumed::default();
        println!("{}", cost::render(&measured, &assumed)?);
        println!("{}", newsletter::render(&measured, &assumed)?);
    }
    if parts.is_empty() && twins::all_are(&contenders) {
        fs::write(PLOT, plot::render(&contenders)).context(PLOT)?;
        eprintln!("Drawn in {PLOT}");
    }
    Ok(())
}
