//! `cargo faults [matrix [fault] | answers | kill [seed] | burst | outage | fuzz [seed] | all]`: prints a table for each
//! proof, and fails when one does. Without a word: the matrix. Fuzz is faster as
//! `cargo run --release --package faults -- fuzz`.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod fuzz;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use faults::programs::Programs;
use faults::report::Report;
use faults::{answers, burst, kills, matrix, neighbour, outage};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let proof = arguments.next().unwrap_or_else(|| "matrix".to_owned());
    let more = arguments.next().unwrap_or_default();
    let start = Instant::now();
    let reports = prove(&proof, &more).await?;
    for report in &reports {
        println!("{report}");
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::from(u8::from(reports.iter().any(|report| !report.failures.is_empty()))))
}

async fn prove(proof: &str, more: &str) -> Result<Vec<Report>> {
    let seed = || if more.is_empty() { Ok(1) } else { more.parse().context("the seed is no number") };
    if proof == "fuzz" {
        return Ok(vec![fuzz::run(seed()?)?]);
    }
    let programs = Programs::build()?;
    Ok(match proof {
        "matrix" => vec![neighbour::run(&programs).await?, matrix::run(&programs, more).await?],
        "answers" => vec![answers::run(&programs).await?],
        "kill" => kills::run(&programs, seed()?).await?,
        "burst" => vec![burst::run(&programs).await?],
        "outage" => vec![outage::run(&programs).await?],
        "all" => {
            let mut all = vec![neighbour::run(&programs).await?, matrix::run(&programs, "").await?];
            all.push(answers::run(&programs).await?);
            all.extend(kills::run(&programs, seed()?).await?);
            all.extend([burst::run(&programs).await?, outage::run(&programs).await?, fuzz::run(seed()?)?]);
            all
        }
        _ => bail!("no proof is called {proof}: matrix, answers, kill, burst, outage, fuzz or all"),
    })
}
