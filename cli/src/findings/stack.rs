//! Of the stack as a whole, and of the account.

use super::Severity::{Fault, Warning};
use super::{Check, Verdicts, when};
use crate::model::state::StackState;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "stack_failed",
        severity: Fault,
        why: "The last deployment did not go through, so that some of the stack may be missing or as it was before.",
        look: failed,
    },
    Check {
        code: "kms_key_disabled",
        severity: Fault,
        why: "Nothing can be queued, logged or archived without the key.",
        look: kms_key,
    },
    Check {
        code: "role_lacks_rights",
        severity: Fault,
        why: "Somebody changed the role by hand; what the function needs of it will be refused.",
        look: role_lacks,
    },
    Check {
        code: "role_has_more_rights",
        severity: Warning,
        why: "The template gives each function what it needs and no more. More rights are more harm if a function is taken over.",
        look: role_has_more,
    },
    Check {
        code: "concurrency_quota",
        severity: Warning,
        why: "If the worker takes all executions of the account, senders are answered 429, and Vero does not send again.",
        look: quota,
    },
    Check {
        code: "clock_skew",
        severity: Warning,
        why: "AWS refuses requests that are signed more than five minutes off.",
        look: clock,
    },
];

const AGAIN: &str = "sam build && sam deploy";

fn failed(state: &StackState) -> Verdicts {
    let status = &state.stack.status;
    let is_failed = status.ends_with("FAILED") || status.contains("ROLLBACK");
    when(is_failed, || {
        let reason = state.stack.status_reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        let mend = if status == "ROLLBACK_COMPLETE" || status == "ROLLBACK_FAILED" {
            "sam delete && sam deploy --parameter-overrides …".to_owned()
        } else {
            AGAIN.to_owned()
        };
        (format!("the stack is {status}{reason}"), mend)
    })
}

fn kms_key(state: &StackState) -> Verdicts {
    let key = state.kms_key.as_ref().and_then(|key| key.yes());
    when(key.is_some_and(|key| key != "Enabled"), || {
        let arn = state.stack.parameter("KmsKeyArn");
        let key = key.map(String::as_str).unwrap_or_default();
        (
            format!("the KMS key {arn} is {key}"),
            "enable the key in the console of KMS, or relay set KmsKeyArn= to do without".to_owned(),
        )
    })
}

/// The actions of a function's role, as template.yaml gives them, and the conditions of some.
pub(super) fn needed(function: &str, state: &StackState) -> Vec<&'static str> {
    let stack = &state.stack;
    let given = |name: &str| !stack.parameter(name).is_empty();
    let mut actions =
        vec!["logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "sqs:GetQueueAttributes"];
    match function {
        "ingest" => {
            if given("SegmentSharedSecretParameter") {
                actions.push("ssm:GetParameters");
            }
        }
        "worker" => {
            actions.extend(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]);
            if given("SegmentWriteKeyParameter")
                || given("VeroAuthTokenParameter")
                || given("BlueprintParameter")
                || given("AddressHashSecretParameter")
                || given("WebhookEndpoints")
            {
                actions.push("ssm:GetParameters");
            }
            if stack.has_archive() {
                actions.push("firehose:PutRecordBatch");
            }
        }
        _ => actions.extend([
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "logs:FilterLogEvents",
            "s3:ListBucket",
            "s3:GetObject",
            "s3:PutObject",
            "s3:AbortMultipartUpload",
        ]),
    }
    if given("KmsKeyArn") {
        actions.extend(["kms:GenerateDataKey", "kms:Decrypt"]);
    }
    if stack.parameter("Tracing") == "Active" {
        actions.extend(["xray:PutTraceSegments", "xray:PutTelemetryRecords"]);
    }
    actions
}

fn role_lacks(state: &StackState) -> Verdicts {
    let mut verdicts = Vec::new();
    for (function, role) in &state.roles {
        let Some(role) = role.yes() else { continue };
        let lacking: Vec<&str> = needed(function, state)
            .into_iter()
            .filter(|action| !role.actions.iter().any(|own| own == action))
            .collect();
        // What a managed policy allows is not known here.
        if !lacking.is_empty() && role.attached.is_empty() {
            verdicts.push((
                format!("the role of {function} does not allow {}", lacking.join(", ")),
                "relay repair".to_owned(),
            ));
        }
    }
    verdicts
}

fn role_has_more(state: &StackState) -> Verdicts {
    let mut verdicts = Vec::new();
    for (function, role) in &state.roles {
        let Some(role) = role.yes() else { continue };
        let needed = needed(function, state);
        let more = role.actions.iter().filter(|own| !needed.contains(&own.as_str()));
        let more: Vec<&str> = more.chain(&role.attached).map(String::as_str).collect();
        if !more.is_empty() {
            verdicts.push((
                format!("the role of {function} has more than the template gives it: {}", more.join(", ")),
                format!("relay repair (what it leaves, take away from {} in the console of IAM)", role.name),
            ));
        }
    }
    verdicts
}

fn quota(state: &StackState) -> Verdicts {
    let Some(account) = state.account.yes() else { return Vec::new() };
    let wanted: u64 = state.stack.parameter("WorkerMaximumConcurrency").parse().unwrap_or(10);
    // ingest needs a few of its own beside the worker's.
    when(account.unreserved < wanted + 5, || {
        let fitting = account.unreserved.saturating_sub(5).max(2);
        (
            format!(
                "the account has {} executions for everybody, and the worker may take {wanted} of them",
                account.unreserved
            ),
            format!(
                "relay set WorkerMaximumConcurrency={fitting} (and ask AWS for a higher quota: Service Quotas, Lambda, concurrent executions)"
            ),
        )
    })
}

fn clock(state: &StackState) -> Verdicts {
    let skew = state.health.yes().and_then(|health| health.clock_skew_s).unwrap_or(0);
    when(skew.abs() > 60, || {
        let how = if skew > 0 { "ahead of" } else { "behind" };
        (
            format!("this machine's clock is {} s {how} AWS's", skew.abs()),
            "set this machine's clock".to_owned(),
        )
    })
}
