//! Of what the stack reads from SSM.

use super::Severity::Fault;
use super::{Check, Verdicts};
use crate::model::state::{Secret, StackState};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "secret_missing",
        severity: Fault,
        why: "The worker cannot start without a key that the stack names; its messages are dead letters after ten receives.",
        look: missing,
    },
    Check {
        code: "secret_empty",
        severity: Fault,
        why: "The worker cannot start with an empty key.",
        look: empty,
    },
    Check {
        code: "secret_has_blanks",
        severity: Fault,
        why: "No key has blanks or line breaks. It was copied with something around it, and the destination refuses it.",
        look: blanks,
    },
    Check {
        code: "secret_not_encrypted",
        severity: Fault,
        why: "A String of SSM is stored as it is, and shown to everybody who may list parameters.",
        look: plain,
    },
    Check {
        code: "secrets_alike",
        severity: Fault,
        why: "Two services do not give out the same key: one of them was stored in the place of the other.",
        look: alike,
    },
    Check {
        code: "blueprint_faulty",
        severity: Fault,
        why: "The worker goes on with the last blueprint that it could read, and a new one does not start with it at all.",
        look: blueprint,
    },
    Check {
        code: "endpoints_faulty",
        severity: Fault,
        why: "The worker goes on with the last settings of endpoints that it could read, and a new one does not start with them at all.",
        look: endpoints,
    },
];

const BLUEPRINT: &str = "BlueprintParameter";
const ENDPOINTS: &str = "WebhookEndpointSettingsParameter";

fn known(state: &StackState) -> impl Iterator<Item = (&str, &Secret)> {
    state.secrets.iter().filter_map(|(parameter, secret)| Some((parameter.as_str(), secret.yes()?)))
}

fn store(parameter: &str) -> String {
    match parameter {
        "SegmentWriteKeyParameter" => "relay key set segment",
        "VeroAuthTokenParameter" => "relay key set vero",
        "SegmentSharedSecretParameter" => "relay key set shared-secret",
        "AddressHashSecretParameter" => "relay key set address-hash",
        ENDPOINTS => "relay endpoints set FILE",
        _ => "relay rules set FILE",
    }
    .to_owned()
}

fn of_each(
    state: &StackState,
    is_faulty: fn(&str, &Secret) -> bool,
    what: fn(&Secret) -> String,
) -> Verdicts {
    let faulty = known(state).filter(|(parameter, secret)| is_faulty(parameter, secret));
    faulty.map(|(parameter, secret)| (what(secret), store(parameter))).collect()
}

fn missing(state: &StackState) -> Verdicts {
    of_each(state, |_, secret| secret.kind.is_none(), |secret| format!("{} is not in SSM", secret.name))
}

fn empty(state: &StackState) -> Verdicts {
    of_each(
        state,
        |_, secret| secret.kind.is_some() && secret.is_empty,
        |secret| format!("{} in SSM is empty", secret.name),
    )
}

fn blanks(state: &StackState) -> Verdicts {
    of_each(
        state,
        |_, secret| secret.has_blanks && !secret.is_empty,
        |secret| format!("{} in SSM has blanks or line breaks", secret.name),
    )
}

fn plain(state: &StackState) -> Verdicts {
    of_each(
        state,
        |parameter, secret| {
            parameter != BLUEPRINT && secret.kind.as_deref().is_some_and(|kind| kind != "SecureString")
        },
        |secret| format!("{} in SSM is no SecureString", secret.name),
    )
}

fn alike(state: &StackState) -> Verdicts {
    // Each pair once.
    let pairs = known(state).filter(|(_, secret)| secret.same_as.iter().any(|other| *other > secret.name));
    pairs
        .map(|(parameter, secret)| {
            (format!("{} and {} in SSM are alike", secret.name, secret.same_as.join(", ")), store(parameter))
        })
        .collect()
}

fn blueprint(state: &StackState) -> Verdicts {
    faulty(state, BLUEPRINT, "the blueprint")
}

fn endpoints(state: &StackState) -> Verdicts {
    faulty(state, ENDPOINTS, "the settings of endpoints in")
}

/// A document with a mistake.
fn faulty(state: &StackState, document: &str, what: &str) -> Verdicts {
    let faulty =
        known(state).filter_map(|(parameter, secret)| Some((parameter, secret, secret.fault.as_ref()?)));
    faulty
        .filter(|(parameter, secret, _)| *parameter == document && !secret.is_empty && secret.kind.is_some())
        .map(|(parameter, secret, fault)| {
            (format!("{what} {} cannot be used: {fault}", secret.name), store(parameter))
        })
        .collect()
}
