//! A file for each command.

mod doctor;
mod documents;
mod endpoints;
mod event;
mod events;
mod forget;
mod key;
mod letters;
mod metrics;
mod misplaced;
mod open;
mod parameters;
mod query;
mod repair;
mod replay;
mod requeue;
mod rules;
mod send;
mod status;
mod tail;
mod token;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cloud::Cloud;
use crate::console::{Console, RED, styled};
use crate::error::Error;
use crate::options::{Command, Endpoints, Options, Rules};

/// How a command ended that did what it was asked for.
type Done = Result<ExitCode, Error>;

/// Runs a command, and says how it ended: docs/relay.md lists the exit codes.
pub async fn run(options: Options) -> ExitCode {
    let console = Console { json: options.json };
    command(options, console).await.unwrap_or_else(|error| {
        anstream::eprintln!("{} {error}", styled(RED, "error:"));
        ExitCode::from(error.exit_code())
    })
}

async fn command(options: Options, console: Console) -> Done {
    if let Command::Completions { shell } = options.command {
        clap_complete::generate(shell, &mut Options::command(), "relay", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Rules(options) = &options.command
        && let Some(done) = rules::without_stack(console, options)
    {
        return done;
    }
    if let Command::Endpoints(Endpoints::Check(options)) = &options.command {
        return endpoints::check(console, options);
    }
    let cloud = &Cloud::connect(&options.target).await?;
    match options.command {
        Command::Completions { .. } => Ok(ExitCode::SUCCESS),
        Command::Status => status::run(cloud, console).await,
        Command::Doctor(options) => doctor::run(cloud, console, &options).await,
        Command::Open(options) => open::run(cloud, console, &options).await,
        Command::Tail(options) => tail::run(cloud, console, &options).await,
        Command::Event(options) => event::run(cloud, console, &options).await,
        Command::Events(options) => events::run(cloud, console, &options).await,
        Command::Letters(options) => letters::run(cloud, console, &options).await,
        Command::Send(options) => send::run(cloud, console, &options).await,
        Command::Token(options) => token::run(cloud, console, &options).await,
        Command::Key(options) => key::run(cloud, console, &options).await,
        Command::Rules(Rules::Set(options)) => rules::set(cloud, console, &options.file).await,
        Command::Rules(Rules::Try(options)) => rules::try_on_archive(cloud, console, &options).await,
        Command::Rules(Rules::Check(_)) => Ok(ExitCode::SUCCESS),
        Command::Endpoints(Endpoints::Set(options)) => endpoints::set(cloud, console, &options).await,
        Command::Endpoints(Endpoints::Check(_)) => Ok(ExitCode::SUCCESS),
        Command::Pause(options) => parameters::pause(cloud, console, &options).await,
        Command::Resume(options) => parameters::resume(cloud, console, &options).await,
        Command::Repair(consent) => repair::run(cloud, console, &consent).await,
        Command::Set(options) => parameters::set(cloud, console, &options).await,
        Command::Query(options) => query::run(cloud, console, &options).await,
        Command::Replay(options) => replay::run(cloud, console, &options).await,
        Command::Forget(options) => forget::run(cloud, console, &options).await,
        Command::Requeue(options) => requeue::run(cloud, console, &options).await,
        Command::Misplaced(options) => misplaced::run(cloud, console, &options).await,
        Command::Metrics(options) => metrics::run(cloud, console, &options).await,
    }
}
