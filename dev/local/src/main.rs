//! `cargo local`: see `cargo local --help`.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use local::samples::{self, Sample};
use local::{Delivery, Destination, Options, Project, Stack, rehearsal};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = tokio::select! {
        outcome = run() => outcome,
        outcome = stopped() => outcome,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Ctrl-C, or a polite kill. Whatever was started goes with the stack, which is dropped.
async fn stopped() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => (),
    }
    eprintln!("\nStopped");
    Ok(ExitCode::from(130)) // as shells say of an interrupted program
}

async fn run() -> Result<ExitCode> {
    let options = Options::parse();
    let stack = Stack::start(&options.settings).await?;
    println!("See it all at      {}\n", stack.inspector_url());
    // Dropping the watcher with the stack ends both.
    tokio::select! {
        outcome = relay(&stack, &options) => outcome,
        outcome = watch(&stack) => outcome,
    }
}

/// Posts the samples and says how they fared; then waits for ever, unless it is to end.
async fn relay(stack: &Stack, options: &Options) -> Result<ExitCode> {
    let mut missing = Vec::new();
    if !options.no_samples {
        let all = Sample::all(&Project::find().await?)?;
        let count = all.len();
        for destination in [Destination::Segment, Destination::VeroTrack] {
            if !stack.watched.contains(&destination) {
                println!(
                    "{destination} is the real one: look there for the samples of user 123, steve@example.com\n"
                );
            }
        }
        println!(
            "{:36}  {:14} {:11} {:6} {:26} {:>8}",
            "webhook or user", "type", "destination", "status", "event", "after"
        );
        let posted = samples::post(stack, all).await;
        missing = samples::check(stack, &posted).await?;
        if options.replay && missing.is_empty() {
            missing = rehearsal::replay(stack, &posted).await?;
        }
        match missing.len() {
            0 if stack.watched.is_empty() => println!("\nAll {count} samples are posted."),
            0 if stack.watched.len() < 2 => {
                println!(
                    "\nAll {count} samples arrived at the stand-in as they should; look in the real one for the rest."
                );
            }
            0 => println!("\nAll {count} samples arrived where they should, and nowhere else."),
            _ => {
                println!("\nNot all is well:\n  {}\n", missing.join("\n  "));
                stack.errors().iter().for_each(|error| println!("MiniStack: {error}"));
                println!("More is in {}", stack.log());
            }
        }
    }
    if !options.once && !options.replay {
        println!(
            "\nPost webhooks to   {url}\nfor example        curl -d @events/vero-opened.json {url}\n\
             \nSegment SDKs       host {host}, write key {key}\n\
             Segment webhooks   {segment}\n\
             for example        curl -d @events/segment-track.json {segment}\n\
             \nCtrl-C stops everything.\n\nIn another terminal  cargo relay --local status\n\nFor `cargo lambda` in another terminal:\n{exports}\n",
            url = stack.webhook_url(),
            host = stack.host(),
            key = stack.write_key(),
            segment = stack.segment_url(),
            exports = stack.exports(),
        );
        std::future::pending::<()>().await;
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what arrives, and what the functions complain about.
async fn watch(stack: &Stack) -> Result<ExitCode> {
    let mut seen = 0;
    for turn in 0_u64.. {
        let news = stack.journal.take_since(seen);
        seen += news.len();
        for delivery in news {
            print(stack, &delivery).await;
        }
        if turn % 20 == 19 {
            // Of a real destination the worker's log is all that can be seen here.
            for line in stack.logs.news(stack.watched.len() < 2).await? {
                println!("{line}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(stack: &Stack, delivery: &Delivery) {
    let Delivery { id, destination, status, event, after, .. } = delivery;
    let after = after.map(|after| format!("{} ms", after.as_millis())).unwrap_or_default();
    let (what, kind) = if delivery.is_webhook() {
        (id.as_str(), webhook_type(stack, id).await)
    } else {
        (delivery.user(), "first-party".to_owned())
    };
    println!("{what:36}  {kind:14} {destination:11} {status:<6} {event:26} {after:>8}");
}

async fn webhook_type(stack: &Stack, id: &str) -> String {
    // A delivery can be quicker than the answer to its webhook.
    if stack.journal.webhook_type(id).is_none() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stack.journal.webhook_type(id).unwrap_or_else(|| "-".to_owned())
}
