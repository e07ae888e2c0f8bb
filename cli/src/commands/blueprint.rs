//! `relay blueprint set`: checks the blueprint by the worker's own code, and stores it.

use std::fs;
use std::process::ExitCode;

use relay_core::blueprint::Blueprint as Parsed;
use serde_json::json;

use super::Done;
use crate::cloud::Cloud;
use crate::console::Console;
use crate::error::Error;
use crate::options::Blueprint;

pub(super) async fn run(cloud: &Cloud, console: Console, Blueprint::Set(options): &Blueprint) -> Done {
    let file = options.file.display().to_string();
    let text = fs::read_to_string(&options.file).map_err(|error| Error::Io(file.clone(), error))?;
    Parsed::parse(&text).map_err(|error| Error::Refused(format!("{file} is no blueprint: {error}")))?;
    if options.dry_run {
        console.show(&json!({"is_valid": true}), || console.say(format!("{file} can be used")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let stack = match cloud.describe().await {
        Err(Error::NotFound(_)) => None,
        stack => Some(stack?),
    };
    let named =
        stack.as_ref().map(|stack| stack.parameter("BlueprintParameter")).filter(|name| !name.is_empty());
    let name = named.map_or_else(|| format!("/{}/blueprint", cloud.stack), str::to_owned);
    cloud.store_text(&name, &text).await?;
    console.show(&json!({"name": name, "is_read": named.is_some()}), || {
        console.say(format!("stored as {name}"));
        console.say(if named.is_some() {
            "The worker uses it within five minutes.".to_owned()
        } else {
            format!("The stack does not read it yet: relay set BlueprintParameter={name}")
        });
    })?;
    Ok(ExitCode::SUCCESS)
}
