//! What `relay` has asked of AWS, held against the two policies of docs/relay.md.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use local::Stack;
use serde_json::Value;

/// Actions that the stand-in takes for others, and IAM's names of them.
const STAND_IN: [(&str, &str); 2] = [
    ("lambda:GetFunction", "lambda:GetFunctionConfiguration"),
    ("lambda:ListEventSourceMappings", "lambda:GetEventSourceMapping"),
];

/// Which of them.
pub(crate) enum Policy {
    /// That of commands that change nothing.
    Look,
    Both,
}

/// Everything that was asked for so far is allowed.
pub(crate) fn are_documented(stack: &Stack, policy: Policy) -> Result<()> {
    let docs = include_str!("../../../docs/relay.md");
    let policies: Vec<Value> = { docs.split("```json").skip(1) }
        .filter_map(|block| serde_json::from_str(block.split("```").next()?).ok())
        .collect();
    let [look, change] = policies.as_slice() else { anyhow::bail!("docs/relay.md has not two policies") };
    let policies = match policy {
        Policy::Look => vec![look],
        Policy::Both => vec![look, change],
    };
    let mut allowed = BTreeSet::new();
    for policy in policies {
        let actions = policy["Statement"][0]["Action"].as_array().context("no actions")?;
        allowed.extend(actions.iter().filter_map(Value::as_str));
    }
    let calls = stack.calls()?;
    let asked: BTreeSet<&str> =
        calls.iter().filter(|call| call.function == "relay").map(|call| call.action.as_str()).collect();
    ensure!(asked.len() > 15, "{asked:?}");
    let iam = |action: &str| {
        let known = STAND_IN.iter().find(|(own, _)| *own == action);
        known.map_or(action, |(_, iam)| *iam).to_owned()
    };
    let others: Vec<String> =
        asked.into_iter().map(iam).filter(|action| !allowed.contains(action.as_str())).collect();
    ensure!(others.is_empty(), "docs/relay.md lacks {others:?}");
    Ok(())
}
