//! `cargo sdks`: real Segment SDKs against the pipeline, with nothing changed but host and write key.
//!
//! Each SDK's client under `clients/` makes every call that the SDK has. What it posts is counted at a [`recorder`] of
//! its own, and what arrives at Vero is held against what it was to send ([`expect`]). SDKs that do not compress go
//! through `cargo local`'s stack, the production template. Its Function URL turns gzip bodies under text types into
//! broken text, so compressed ones go to the functions' binaries on the harness ([`pipeline`]), as do the recorded
//! requests of SDKs that cannot run here ([`wire`]). With a wrong key, no SDK may send a second time
//! ([`run::Wanted`]). The exit code is 0 when all is so.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod client;
mod expect;
mod pipeline;
mod recorder;
mod run;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use faults::programs::Programs;
use faults::report::Report;
use local::{Project, Settings, Stack};

use crate::client::Client;
use crate::expect::Call;
use crate::pipeline::Pipeline;
use crate::recorder::Upstream;
use crate::run::{Outcome, Run};
use crate::wire::Wire;

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let project = Project::find().await?;
    let clients = Client::install(&project).await?;
    let wires = Wire::all(&project)?;
    let (gzip, plain): (Vec<Client>, Vec<Client>) = clients.into_iter().partition(|client| client.gzip);
    let mut report = Report {
        title: "Segment SDKs".into(),
        head: vec!["SDK", "version", "gzip", "through", "requests", "events", "calls at Vero", "result"],
        ..Report::default()
    };
    stack(&plain, &mut report).await?;
    harness(&Programs::build().await?, &gzip, &wires, &mut report).await?;
    report.legend = format!(
        "Delivered once: each call that the SDK has was posted once, answered 200, and is at Vero once with all \
         that it held,\nthrough the binaries in the order in which it was posted.\n\
         Refused once: the SDK reported it to its caller, and did not send again. {} runs.",
        report.rows.len(),
    );
    println!("{report}\n{:.0} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::from(u8::from(!report.failures.is_empty())))
}

/// The production template, and the SDKs that do not compress.
async fn stack(clients: &[Client], report: &mut Report) -> Result<()> {
    let stack = Stack::start(&Settings::default()).await?;
    let upstream = Upstream::Proxy(stack.address());
    let runs = client::run_all(clients, &upstream, stack.write_key()).await?;
    let calls = || {
        let deliveries = stack.journal.since(0).into_iter().filter(|one| one.status == 200);
        deliveries.map(|one| Call { method: one.method, path: one.path, body: one.message }).collect()
    };
    run::settle(&runs, calls).await;
    let dead_letters = stack.dead_letters().await? as usize;
    run::judge(
        &runs,
        &Outcome { pipeline: "template", in_order: false, calls: calls(), dead_letters },
        report,
    );
    Ok(())
}

/// The functions' binaries, the SDKs that compress, and those that are only recorded.
async fn harness(programs: &Programs, clients: &[Client], wires: &[Wire], report: &mut Report) -> Result<()> {
    let pipeline = Pipeline::start(programs).await?;
    let work = async {
        let mut runs = client::run_all(clients, &pipeline.upstream, harness::WRITE_KEY).await?;
        for wire in wires {
            runs.push(wire.replay(&pipeline.upstream).await?);
        }
        run::settle(&runs, || pipeline.calls()).await;
        Ok::<Vec<Run>, anyhow::Error>(runs)
    };
    let runs = tokio::select! {
        runs = work => runs?,
        never = pipeline.pump() => never,
    };
    let (calls, dead_letters) = (pipeline.calls(), pipeline.dead_letters());
    run::judge(&runs, &Outcome { pipeline: "binaries", in_order: true, calls, dead_letters }, report);
    Ok(())
}
