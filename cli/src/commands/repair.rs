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
    // These are no drift to CloudFormation: the first is a state, and the template gives the others no value.
    let mut plan = Vec::new();
    let source = stack.resources.get("WorkerQueue");
    let is_disabled = match source {
        Some(id) => cloud.event_source(id).await?.state == "Disabled",
        None => false,
    };
    if is_disabled {
        plan.push("enable the event source mapping of the worker".to_owned());
    }
    let mut reserved = Vec::new();
    for name in ["Ingest", "Worker", "Replay"] {
        let is_meant = name == "Ingest" && stack.parameter("IngestReservedConcurrency") != "none";
        let Some(function) = stack.resources.get(name).filter(|_| !is_meant) else { continue };
        if cloud.function(function).await?.reserved.is_some() {
            plan.push(format!("take the reserved concurrency of {name} away"));
            reserved.push(function);
        }
    }
    for step in &plan {
        console.say(step);
    }
    if !plan.is_empty() {
        console.ask("Do this?", consent)?;
        if let Some(id) = source.filter(|_| is_disabled) {
            cloud.enable_event_source(id).await?;
        }
        for function in reserved {
            cloud.set_running(function, true).await?;
        }
    }
    // The stand-in of `cargo local` knows no drift.
    let changes = match cloud.local {
        Some(_) => None,
        None => console.wait("CloudFormation looks for drift", cloud.prepare_repair(&stack)).await?,
    };
    if let Some(set) = changes {
        confirm(cloud, console, &set, consent).await?;
        plan.extend(set.changes.iter().map(|change| change.resource.clone()));
    }
    console.show(&json!({"repaired": plan}), || {
        console.say(if plan.is_empty() {
            "Nothing was found that somebody changed by hand. Parameters stay as they are."
        } else {
            "Done. Parameters stay as they are: relay doctor says what else is wrong."
        });
    })?;
    Ok(ExitCode::SUCCESS)
}
