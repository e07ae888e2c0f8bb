//! `relay`: see `relay --help`.

use std::process::ExitCode;

use clap::Parser;
use relay::options::Options;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    relay::run(Options::parse()).await
}
