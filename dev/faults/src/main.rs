//! `cargo faults`: see `cargo faults --help`.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod fuzz;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use faults::programs::Programs;
use faults::report::Report;
use faults::{answers, burst, kills, matrix, neighbour};

/// Prints a table for each proof, and fails when one does.
#[derive(Parser)]
#[command(bin_name = "cargo faults")]
struct Options {
    /// Without one: the matrix
    #[command(subcommand)]
    proof: Option<Proof>,
}

#[derive(Subcommand)]
enum Proof {
    /// Every way for a destination to fail, at each of them, for all requests or some
    Matrix {
        /// Only faults whose name contains this
        #[arg(default_value = "")]
        fault: String,
    },
    /// How soon ingest answers, whatever SQS does
    Answers,
    /// Processes that die at any moment
    Kill {
        #[arg(default_value_t = 1)]
        seed: u64,
    },
    /// Ten thousand webhooks at once, while SQS throttles
    Burst,
    /// Generated inputs by the million; faster as `cargo run --release --package faults -- fuzz`
    Fuzz {
        #[arg(default_value_t = 1)]
        seed: u64,
    },
    /// All of these
    All {
        #[arg(default_value_t = 1)]
        seed: u64,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let proof = Options::parse().proof.unwrap_or(Proof::Matrix { fault: String::new() });
    let start = Instant::now();
    let reports = prove(proof).await?;
    for report in &reports {
        println!("{report}");
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::from(u8::from(reports.iter().any(|report| !report.failures.is_empty()))))
}

async fn prove(proof: Proof) -> Result<Vec<Report>> {
    let programs = Programs::build; // fuzz needs none
    Ok(match proof {
        Proof::Matrix { fault } => {
            let programs = programs().await?;
            vec![neighbour::run(&programs).await?, matrix::run(&programs, &fault).await?]
        }
        Proof::Answers => vec![answers::run(&programs().await?).await?],
        Proof::Kill { seed } => kills::run(&programs().await?, seed).await?,
        Proof::Burst => vec![burst::run(&programs().await?).await?],
        Proof::Fuzz { seed } => vec![fuzz::run(seed)?],
        Proof::All { seed } => {
            let programs = programs().await?;
            let mut all = vec![neighbour::run(&programs).await?, matrix::run(&programs, "").await?];
            all.push(answers::run(&programs).await?);
            all.extend(kills::run(&programs, seed).await?);
            all.extend([burst::run(&programs).await?, fuzz::run(seed)?]);
            all
        }
    })
}
