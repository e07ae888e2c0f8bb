//! Of the alarms, and of who hears of them.

use super::Severity::Warning;
use super::{Check, Verdicts, when};
use crate::model::state::StackState;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "alarms_reach_nobody",
        severity: Warning,
        why: "Nobody hears of a failure until an event is missed.",
        look: subscribers,
    },
    Check {
        code: "subscription_unconfirmed",
        severity: Warning,
        why: "AWS sends no alarm to an address that has not confirmed it.",
        look: unconfirmed,
    },
    Check {
        code: "alarm_rings",
        severity: Warning,
        why: "The runbook has a heading for each alarm: what it means, and what to do.",
        look: ringing,
    },
    Check {
        code: "alarm_is_mute",
        severity: Warning,
        why: "Somebody has switched the alarm's actions off: it tells nobody.",
        look: mute,
    },
    Check {
        code: "alarm_is_gone",
        severity: Warning,
        why: "Somebody has deleted an alarm of the template.",
        look: gone,
    },
];

fn subscribers(state: &StackState) -> Verdicts {
    let nobody = state.subscribers.yes().is_some_and(Vec::is_empty);
    when(nobody && !state.stack.is_local, || {
        ("nobody has subscribed to the alarms".to_owned(), "relay set AlarmEmail=you@example.com".to_owned())
    })
}

fn unconfirmed(state: &StackState) -> Verdicts {
    let all = state.subscribers.yes().map(Vec::as_slice).unwrap_or_default();
    let waiting = all.iter().filter(|subscriber| !subscriber.is_confirmed);
    waiting
        .map(|subscriber| {
            (
                format!("a subscription to the alarms by {} is not confirmed", subscriber.protocol),
                "open the link in AWS's message, or relay set AlarmEmail=… for another address".to_owned(),
            )
        })
        .collect()
}

fn ringing(state: &StackState) -> Verdicts {
    let alarms = state.alarms.yes().map(Vec::as_slice).unwrap_or_default();
    let ringing = alarms.iter().filter(|alarm| alarm.state == "ALARM");
    ringing
        .map(|alarm| {
            let heading = alarm.name.strip_suffix("Alarm").unwrap_or(&alarm.name);
            let since = alarm.since.map(|at| format!(" since {at}")).unwrap_or_default();
            (
                format!("the alarm {heading} rings{since}"),
                format!("docs/runbook.md#{}", heading.to_lowercase()),
            )
        })
        .collect()
}

fn mute(state: &StackState) -> Verdicts {
    let alarms = state.alarms.yes().map(Vec::as_slice).unwrap_or_default();
    let mute = alarms.iter().filter(|alarm| !alarm.actions_enabled);
    mute.map(|alarm| (format!("{} has no actions", alarm.name), "relay repair".to_owned())).collect()
}

fn gone(state: &StackState) -> Verdicts {
    let Some(alarms) = state.alarms.yes() else { return Vec::new() };
    let wanted = state.stack.resources.keys().filter(|name| name.ends_with("Alarm"));
    let gone = wanted.filter(|name| !alarms.iter().any(|alarm| alarm.name == **name));
    gone.map(|name| (format!("{name} does not exist"), "relay repair".to_owned())).collect()
}
