//! `relay set`, `relay pause` and `relay resume`: the stack's parameters.

use std::collections::BTreeMap;
use std::process::ExitCode;

use relay_core::destinations;
use serde_json::json;

use super::Done;
use crate::cloud::{ChangeSet, Cloud, fault_of_endpoints};
use crate::console::{Console, DIM, RED, styled};
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::story::first_names;
use crate::options::{Consent, Destinations, Set};

const PAUSED: &str = "PausedDestinations";
const ENDPOINT_SETTINGS: &str = "WebhookEndpointSettingsParameter";

pub(super) async fn set(cloud: &Cloud, console: Console, options: &Set) -> Done {
    let stack = cloud.describe().await?;
    let mut values = BTreeMap::new();
    for pair in &options.values {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Error::Refused(format!("`{pair}` is no NAME=VALUE")))?;
        if !stack.parameters.contains_key(name) {
            return Err(Error::Refused(format!(
                "the stack has no parameter {name}{}",
                nearest(&stack, name)
            )));
        }
        values.insert(name.to_owned(), value.to_owned());
    }
    endpoints_are_described(cloud, &stack, &values).await?;
    change(cloud, console, &stack, &values, &options.consent).await?;
    console.show(&values, || console.say("The change is in place."))?;
    Ok(ExitCode::SUCCESS)
}

/// Without the settings of an endpoint that is on, no worker would start.
async fn endpoints_are_described(
    cloud: &Cloud,
    stack: &Stack,
    values: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if !["WebhookEndpoints", ENDPOINT_SETTINGS].iter().any(|name| values.contains_key(*name)) {
        return Ok(());
    }
    let mut after = stack.clone();
    after.parameters.extend(values.clone());
    let name = after.parameter(ENDPOINT_SETTINGS);
    if after.endpoints().is_empty() || name.is_empty() {
        return Ok(());
    }
    match fault_of_endpoints(&cloud.read_secret(name).await?, &after) {
        Some(fault) => Err(Error::Refused(format!(
            "nothing was changed: the settings of endpoints in {name} cannot be used, so that no worker would start: {fault}"
        ))),
        None => Ok(()),
    }
}

fn nearest(stack: &Stack, name: &str) -> String {
    let wanted = name.to_lowercase();
    let near = stack.parameters.keys().find(|own| {
        let own = own.to_lowercase();
        own.contains(&wanted) || wanted.contains(&own)
    });
    match near {
        Some(near) => format!("; is {near} meant?"),
        None => "; docs/configuration.md lists them".to_owned(),
    }
}

pub(super) async fn pause(cloud: &Cloud, console: Console, options: &Destinations) -> Done {
    set_paused(cloud, console, options, true).await
}

pub(super) async fn resume(cloud: &Cloud, console: Console, options: &Destinations) -> Done {
    set_paused(cloud, console, options, false).await
}

async fn set_paused(cloud: &Cloud, console: Console, options: &Destinations, is_paused: bool) -> Done {
    let stack = cloud.describe().await?;
    let known: Vec<String> = destinations::ALL.iter().flat_map(|row| first_names(row, &stack)).collect();
    if let Some(unknown) = options.names.iter().find(|name| !known.contains(name)) {
        return Err(Error::Refused(format!(
            "there is no destination {unknown}; there are {}",
            known.join(", ")
        )));
    }
    let before: Vec<&str> = stack.paused().collect();
    let after: Vec<&str> = { known.iter() }
        .filter(|name| if options.names.contains(name) { is_paused } else { before.contains(&name.as_str()) })
        .map(String::as_str)
        .collect();
    if after.len() == before.len() && after.iter().all(|name| before.contains(name)) {
        let word = if is_paused { "paused" } else { "not paused" };
        console.show(&json!({"paused": after}), || {
            console.say(format!("{} is {word} already", options.names.join(", ")))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let values = BTreeMap::from([(PAUSED.to_owned(), after.join(","))]);
    change(cloud, console, &stack, &values, &options.consent).await?;
    console.show(&json!({"paused": after}), || {
        console.say(if is_paused {
            "What it is owed waits in the queue for as long as the pause lasts."
        } else {
            "What it is owed arrives within 15 minutes, if the worker runs."
        });
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the change set of new values, asks, and carries it out. All other parameters keep their values.
pub(super) async fn change(
    cloud: &Cloud,
    console: Console,
    stack: &Stack,
    values: &BTreeMap<String, String>,
    consent: &Consent,
) -> Result<(), Error> {
    for (name, value) in values {
        let before = stack.parameter(name);
        console.say(format!("{name}: {} → {}", shown(before), shown(value)));
    }
    if values.iter().all(|(name, value)| stack.parameter(name) == value) {
        return Err(Error::Refused("the stack has these values already".to_owned()));
    }
    let set = console.wait("CloudFormation prepares the change", cloud.prepare(stack, values)).await?;
    confirm(cloud, console, &set, consent).await
}

/// Shows a change set, asks, and carries it out.
pub(super) async fn confirm(
    cloud: &Cloud,
    console: Console,
    set: &ChangeSet,
    consent: &Consent,
) -> Result<(), Error> {
    for change in &set.changes {
        let replaced = if change.replacement == "True" { styled(RED, ", made anew") } else { String::new() };
        console.say(styled(DIM, format!("  {} {}{replaced}", change.action, change.resource)));
    }
    if let Err(no) = console.ask("Make this change?", consent) {
        cloud.discard(set).await;
        return Err(no);
    }
    console.wait("CloudFormation makes the change", cloud.carry_out(set)).await
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(empty)" } else { value }
}
