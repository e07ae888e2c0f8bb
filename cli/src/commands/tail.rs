//! `relay tail`: the logs of ingest and worker, as they are written.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::Done;
use crate::cloud::{Cloud, Group};
use crate::console::{Console, DIM, RED, YELLOW, printable, styled};
use crate::model::letter::bare_id;
use crate::model::log_line::LogLine;
use crate::model::time::{At, for_people};
use crate::options::Tail;

/// A line may come late.
const LATE: Duration = Duration::from_secs(10);

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Tail) -> Done {
    let mut since = At::now().before(options.since.0);
    let mut shown = HashSet::new();
    loop {
        let groups = options.function.map_or(vec![Group::Ingest, Group::Worker], |one| vec![one]);
        let look = try_join_all(groups.into_iter().map(|group| cloud.log_lines(group, since, None))).await;
        let found = match look {
            Ok(found) => found,
            // Who follows a log wants to go on doing so.
            Err(error) if !options.no_follow && !shown.is_empty() => {
                anstream::eprintln!("{error}; trying again");
                tokio::time::sleep(LATE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut lines: Vec<LogLine> =
            found.into_iter().flatten().filter(|line| is_wanted(line, options)).collect();
        lines.sort_by_key(|line| line.at);
        for line in lines {
            if shown.insert((line.at.ms(), line.function.clone(), line.fields.to_string())) {
                print(console, &line)?;
            }
        }
        if options.no_follow {
            if shown.is_empty() {
                anstream::eprintln!("no such line in the last {}", for_people(options.since.0));
            }
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        since = since.max(At::now().before(LATE));
        shown.retain(|(at, _, _)| *at >= since.ms());
    }
}

fn is_wanted(line: &LogLine, options: &Tail) -> bool {
    options.destination.as_ref().is_none_or(|name| line.is_about(name))
        && options.reason.as_ref().is_none_or(|reason| line.has_reason(reason))
        && options.id.as_ref().is_none_or(|id| line.id.as_deref() == Some(bare_id(id)))
}

fn print(console: Console, line: &LogLine) -> Result<(), crate::error::Error> {
    if console.json {
        // A document in a line each, so that a script can read them as they come.
        let text = serde_json::to_string(line).unwrap_or_default();
        return Console { json: false }.show(&(), || Console { json: false }.say(text));
    }
    let style = match line.level.as_str() {
        "ERROR" => RED,
        "WARN" => YELLOW,
        _ => DIM,
    };
    console.say(format!(
        "{} {:6} {} {}",
        line.at,
        line.function,
        styled(style, format!("{:5}", line.level)),
        printable(&line.text())
    ));
    Ok(())
}
