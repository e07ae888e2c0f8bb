//! `relay endpoints`: checks the settings of webhook endpoints by the worker's own code, and stores them.

use std::process::ExitCode;

use relay_core::endpoints::{Endpoints, Reach};
use serde_json::json;

use super::Done;
use super::documents::{Place, read, stack};
use crate::cloud::Cloud;
use crate::console::Console;
use crate::error::Error;
use crate::model::state::Stack;
use crate::options::EndpointsFile;

const SETTINGS: Place =
    Place { parameter: "WebhookEndpointSettingsParameter", usual_name: "webhook-endpoints", is_secret: true };

/// Needs no stack.
pub(super) fn check(console: Console, options: &EndpointsFile) -> Done {
    let reach = if options.private_addresses { Reach::Anywhere } else { Reach::Public };
    let (_, endpoints) = read(&options.file, |text| Endpoints::parse(text, reach))?;
    let names: Vec<&str> = endpoints.names().collect();
    console.show(&json!({"is_valid": true, "endpoints": names}), || {
        let names = if names.is_empty() { "no endpoint".to_owned() } else { names.join(", ") };
        console.say(format!("{} can be used; it describes {names}", options.file.display()));
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn set(cloud: &Cloud, console: Console, options: &EndpointsFile) -> Done {
    let stack = stack(cloud).await?;
    let allows_private = |stack: &Stack| stack.parameter("WebhookPrivateAddresses") == "true";
    let is_allowed = options.private_addresses || stack.as_ref().is_some_and(allows_private);
    let reach = if is_allowed { Reach::Anywhere } else { Reach::Public };
    let (text, endpoints) = read(&options.file, |text| Endpoints::parse(text, reach))?;
    let on = stack.as_ref().map(Stack::endpoints).unwrap_or_default();
    if let Some(name) = on.iter().find(|name| endpoints.get(name).is_none()) {
        return Err(Error::Refused(format!(
            "the settings were not stored: they do not describe {name}, which is on, so that no worker would start"
        )));
    }
    SETTINGS.store(cloud, console, stack.as_ref(), &text).await?;
    let off: Vec<&str> = endpoints.names().filter(|name| !on.contains(*name)).collect();
    if !off.is_empty() {
        let all: Vec<&str> = endpoints.names().collect();
        console.say(format!("Not on yet: {}. relay set WebhookEndpoints={}", off.join(", "), all.join(",")));
    }
    Ok(ExitCode::SUCCESS)
}
