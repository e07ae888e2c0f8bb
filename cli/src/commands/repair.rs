//! `relay repair`: what somebody changed by hand, set back to what the template says.

use std::process::ExitCode;

use serde_json::json;

use super::Done;
use super::parameters::confirm;
use crate::cloud::Cloud;
use crate::console::Console;
use crate::options::Consent;

pub(super) async fn run(cloud: &Cloud, console: Console, consent: &Consent) -> Done {
    let stack = cloud.describe().await?;
    console.ask("Set back what was changed by hand, so that it is as the template says?", consent)?;
    let mut repaired = Vec::new();
    // These are no drift to CloudFormation: the first is a state, and the template gives the others no value.
    if let Some(id) = stack.resources.get("WorkerQueue")
        && cloud.event_source(id).await?.state == "Disabled"
    {
        cloud.enable_event_source(id).await?;
        repaired.push("the event source mapping of the worker is enabled".to_owned());
    }
    let is_reserved = stack.parameter("IngestReservedConcurrency") != "none";
    for name in ["Ingest", "Worker", "Replay"] {
        let Some(function) = stack.resources.get(name).filter(|_| name != "Ingest" || !is_reserved) else {
            continue;
        };
        if cloud.function(function).await?.reserved.is_some() {
            cloud.set_running(function, true).await?;
            repaired.push(format!("the reserved concurrency of {name} is gone"));
        }
    }
    repaired.iter().for_each(|one| console.say(one));
    // The stand-in of `cargo local` knows no drift.
    let changes = match cloud.local {
        Some(_) => None,
        None => console.wait("CloudFormation looks for drift", cloud.prepare_repair(&stack)).await?,
    };
    if let Some(set) = changes {
        confirm(cloud, console, &set, consent).await?;
        repaired.extend(set.changes.iter().map(|change| change.resource.clone()));
    }
    console.show(&json!({"repaired": repaired}), || {
        console.say(if repaired.is_empty() {
            "Nothing was changed by hand."
        } else {
            "It is as the template says."
        });
    })?;
    Ok(ExitCode::SUCCESS)
}
