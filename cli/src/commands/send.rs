//! `relay send`: webhooks from files, posted as Vero does, and what becomes of them.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::event::{gather, has_proof, is_settled, print};
use super::{Done, token};
use crate::cloud::Cloud;
use crate::console::{BOLD, Console, GREEN, styled};
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::story::{State, Story, tell};
use crate::model::time::At;
use crate::options::Send;

/// A new event takes seconds, and its row in the archive a quarter of an hour.
const FOLLOW: Duration = Duration::from_secs(30);
const FOLLOW_LOCAL: Duration = Duration::from_secs(15);

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Send) -> Done {
    let mut webhooks = Vec::new();
    for file in &options.files {
        let webhook = fs::read(file).map_err(|error| Error::Io(file.display().to_string(), error))?;
        webhooks.push((file.display().to_string(), webhook));
    }
    let stack = cloud.describe().await?;
    let token = token::present(cloud, console)?;
    let mut stories = Vec::new();
    for (file, webhook) in webhooks {
        let ids = post(cloud, &stack, &token, &file, webhook).await?;
        for id in ids {
            console.say(format!("{file}: {}", styled(BOLD, &id)));
            if options.no_follow {
                stories.push(json!({"file": file, "id": id}));
                continue;
            }
            let story = console.wait("Following the event", follow(cloud, &stack, &id)).await;
            if !console.json {
                print(console, &story);
            }
            stories.push(json!({"file": file, "id": id, "story": story}));
        }
    }
    console.show(&stories, || ())?;
    Ok(ExitCode::SUCCESS)
}

async fn post(
    cloud: &Cloud,
    stack: &Stack,
    token: &str,
    file: &str,
    webhook: Vec<u8>,
) -> Result<Vec<String>, Error> {
    let answer = cloud.post(stack, token, webhook).await?;
    match answer.status {
        202 => Ok(answer.ids),
        401 => Err(Error::Refused(
            "the stack does not know this token: `relay token rotate` makes another one".to_owned(),
        )),
        status => {
            let why = answer.error.unwrap_or_else(|| "no reason given".to_owned());
            Err(Error::Refused(format!("{file} was answered {status}: {why}")))
        }
    }
}

/// Waits until every destination has settled the event, or for as long as it may take.
async fn follow(cloud: &Cloud, stack: &Stack, id: &str) -> Story {
    let timeout = if cloud.local.is_some() { FOLLOW_LOCAL } else { FOLLOW };
    let deadline = Instant::now() + timeout;
    loop {
        let evidence = gather(cloud, stack, id, false).await;
        let story = tell(&evidence, stack, At::now(), false);
        let has_failed = !has_proof(&evidence) && evidence.lines.yes().is_some_and(|lines| !lines.is_empty());
        if is_settled(&story) || has_failed || Instant::now() > deadline {
            let evidence = gather(cloud, stack, id, true).await;
            return tell(&evidence, stack, At::now(), false);
        }
        let pause = if cloud.local.is_some() { 200 } else { 2_000 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Sends a `Relay Check`, and says where to look for it.
pub(super) async fn check(cloud: &Cloud, console: Console, stack: &Stack) -> Result<Vec<Story>, Error> {
    let token = token::present(cloud, console)?;
    let webhook = json!({"type": "relay_check", "user": {"id": "vero-relay-check"}}).to_string();
    let ids = post(cloud, stack, &token, "the check", webhook.into_bytes()).await?;
    let mut stories = Vec::new();
    for id in ids {
        let story = console.wait("Following the check", follow(cloud, stack, &id)).await;
        if !console.json {
            print(console, &story);
        }
        let segment = story.destinations.iter().find(|one| one.name == "segment");
        if segment.is_some_and(|one| one.state != State::Off) && cloud.local.is_none() {
            console.say(format!(
                "{} Segment answers 200 to a wrong key, too: look for `Vero Relay Check` in Segment under Connections → Sources → your source → Debugger. If it is not there within a minute, the write key is wrong (relay key set segment), or the workspace is of the other region (relay set SegmentEndpoint=…: docs/configuration.md has both)",
                styled(GREEN, "→")
            ));
        }
        stories.push(story);
    }
    Ok(stories)
}
