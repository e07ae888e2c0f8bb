//! `cargo bench-relay`: builds the functions for release, measures them on the harness, and prints one table.
//! A missed target is a line of it, not an error.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod binaries;
mod cost;
mod cpu_share;
mod measurements;
mod newsletter;
mod table;

use anyhow::Result;

use crate::binaries::Binaries;
use crate::measurements::{RUNS, on_lambda, sizes, start, thousand_requests, whole_batch};
use crate::table::Row;

const LEGEND: &str = "\
Times are medians; ingest and its baseline, a bare lambda_runtime function that says hello, were measured in turn.
start                 from spawning the process to its first answer, with a webhook on SQS without TLS
after 1,000           requests, one after the other, to one process
init with TLS         up to asking for the first event, with the connection to SQS open; the certificate
                      authorities are this machine's and SQS's
CPU share of 256 MB   256/1,769 of a core from the first request on (quota of a cgroup, in periods of 20 ms)
600 webhooks          as ingest queued them, in one batch, to both destinations, which answer at once
";

#[tokio::main]
async fn main() -> Result<()> {
    let binaries = Binaries::build()?;
    let mut rows: Vec<Row> = sizes(&binaries)?;
    eprintln!("Starting ingest and hello {RUNS} times each");
    rows.extend(start(&binaries).await?);
    eprintln!("Sending 1,000 requests to each");
    let (more, webhooks) = thousand_requests(&binaries).await?;
    rows.extend(more);
    eprintln!("Starting both {RUNS} times behind TLS with a share of the CPU");
    rows.extend(on_lambda(&binaries).await?);
    eprintln!("Handing 600 webhooks to worker");
    rows.extend(whole_batch(&binaries, &webhooks).await?);
    println!("{}\n{LEGEND}", table::render(&rows));
    let measured = cost::Measured {
        ingest: std::time::Duration::from_micros(400),
        worker: std::time::Duration::from_micros(300),
        log_bytes: 1_000.0,
        row_bytes: 1_500.0,
    };
    let assumed = cost::Assumed::default();
    println!("{}", cost::render(&measured, &assumed)?);
    println!("{}", newsletter::render(&measured, &assumed)?);
    Ok(())
}
