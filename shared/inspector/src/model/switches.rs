//! The template's parameters of a destination: what switches it on, and where it is.

use relay_core::destinations::{Access, DestinationRow};

use super::figures::prefix;
use super::state::Stack;

/// Whether a destination is off, by the parameter that switches it on.
pub fn is_off(stack: &Stack, row: &DestinationRow) -> bool {
    let value = stack.parameter(&switch_parameter(row));
    value.is_empty() || value == "false"
}

/// The template's parameter that switches a destination on: named after the variable of its key, or after itself.
fn switch_parameter(row: &DestinationRow) -> String {
    match &row.access {
        Access::Api { key, .. } => format!("{}Parameter", prefix(&key.name.to_lowercase())),
        Access::Stream { .. } => prefix(row.name),
        Access::Endpoints { names, .. } => prefix(&names.name.to_lowercase()),
    }
}

/// The template's parameter with a destination's base URL; `None` if it has none.
pub fn endpoint_parameter(row: &DestinationRow) -> Option<String> {
    match &row.access {
        Access::Api { endpoint, .. } => Some(prefix(&endpoint.name.to_lowercase())),
        Access::Stream { .. } | Access::Endpoints { .. } => None,
    }
}
