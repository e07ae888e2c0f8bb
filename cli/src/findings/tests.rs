//! A healthy stack is silent; of each check one fault is planted, and named with its mend.

use std::collections::{BTreeMap, BTreeSet};

use clap::Parser;

use super::*;
use crate::model::figures::{Figures, PartFigures};
use crate::model::known::Known;
use crate::model::state::{
    Account, Alarm, Archive, EventSource, Function, FunctionUrl, Health, LetterCount, Queue, Role, Secret,
    Stack, Subscriber,
};
use crate::model::time::At;
use crate::options::Options;

const TEMPLATE: &str = include_str!("../../../template.yaml");
const DIGEST: &str = "33b4ede268bafdc0af425fff0a05058de7a7fa9dd3909c7d7a6c0ea7131244fd";

fn at(text: &str) -> At {
    serde_json::from_value(text.into()).unwrap()
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn secret(name: &str) -> Known<Secret> {
    Known::Yes(Secret {
        name: name.to_owned(),
        kind: Some("SecureString".to_owned()),
        is_empty: false,
        has_blanks: false,
        same_as: Vec::new(),
        fault: None,
    })
}

fn healthy() -> StackState {
    let figures = || {
        let mut figures = Figures { from: "metrics".to_owned(), received: 100, ..Figures::default() };
        let part =
            PartFigures { accepted: 100, p50_ms: Some(900), p99_ms: Some(2_500), ..PartFigures::default() };
        figures.parts.insert("segment".to_owned(), part.clone());
        figures.parts.insert("vero_track".to_owned(), part);
        Known::Yes(figures)
    };
    let stack = Stack {
        name: "vero-relay".to_owned(),
        region: "eu-west-1".to_owned(),
        status: "UPDATE_COMPLETE".to_owned(),
        changed_at: Some(at("2026-11-01T00:00:00.000Z")),
        parameters: texts([
            ("WebhookTokenSha256", DIGEST),
            ("BrowserKeySha256", ""),
            ("SegmentWriteKeyParameter", "/vero-relay/segment-write-key"),
            ("SegmentEndpoint", "https://events.eu1.segmentapis.com"),
            ("VeroAuthTokenParameter", "/vero-relay/vero-auth-token"),
            ("VeroEndpoint", "https://api.getvero.com"),
            ("BlueprintParameter", "/vero-relay/blueprint"),
            ("PausedDestinations", ""),
            ("Archive", "true"),
            ("QuietHours", "24"),
            ("LogLevel", "info"),
            ("KmsKeyArn", "arn:aws:kms:eu-west-1:000000000000:key/k"),
            ("WorkerMaximumConcurrency", "10"),
        ]),
        resources: texts([("WorkerQueue", "u-u-i-d"), ("QuietAlarm", "vero-relay-QuietAlarm-1")]),
        ..Stack::default()
    };
    let function = |timeout_s| {
        Known::Yes(Function {
            name: "f".to_owned(),
            state: "Active".to_owned(),
            last_update: "Successful".to_owned(),
            runtime: "provided.al2023".to_owned(),
            architecture: "arm64".to_owned(),
            timeout_s,
            reserved: None,
            stops_recursion: Some(false),
        })
    };
    let queue = |visibility_s, retention_s, max_receives| {
        let (visible, delayed, in_flight) = (0, 0, 0);
        Known::Yes(Queue { visible, delayed, in_flight, visibility_s, retention_s, max_receives })
    };
    let named = |pairs: Vec<(&str, Known<Role>)>| {
        pairs.into_iter().map(|(name, role)| (name.to_owned(), role)).collect()
    };
    let mut state = StackState {
        at: at("2026-11-21T12:00:00.000Z"),
        stack,
        functions: [("ingest", function(5)), ("worker", function(25)), ("replay", function(900))]
            .into_iter()
            .map(|(name, function)| (name.to_owned(), function))
            .collect(),
        event_source: Known::Yes(EventSource {
            state: "Enabled".to_owned(),
            max_concurrency: Some(10),
            reports_failures: true,
        }),
        function_url: Known::Yes(FunctionUrl {
            auth_type: "NONE".to_owned(),
            public_actions: vec!["lambda:InvokeFunction".to_owned(), "lambda:InvokeFunctionUrl".to_owned()],
        }),
        health: Known::Yes(Health { status: 200, took_ms: 20, clock_skew_s: Some(0) }),
        queues: [
            ("Queue", queue(150, 604_800, Some(10))),
            ("DeadLetterQueue", queue(30, 1_209_600, None)),
            ("ReplayQueue", queue(960, 1_209_600, Some(5))),
        ]
        .into_iter()
        .map(|(name, queue)| (name.to_owned(), queue))
        .collect(),
        letters: Known::Yes(Vec::new()),
        secrets: [
            ("SegmentWriteKeyParameter", secret("/vero-relay/segment-write-key")),
            ("VeroAuthTokenParameter", secret("/vero-relay/vero-auth-token")),
            ("BlueprintParameter", secret("/vero-relay/blueprint")),
            ("WebhookEndpointSettingsParameter", secret("/vero-relay/webhook-endpoints")),
        ]
        .into_iter()
        .map(|(name, secret)| (name.to_owned(), secret))
        .collect(),
        alarms: Known::Yes(vec![Alarm {
            name: "QuietAlarm".to_owned(),
            state: "OK".to_owned(),
            since: None,
            actions_enabled: true,
        }]),
        subscribers: Known::Yes(vec![Subscriber { protocol: "email".to_owned(), is_confirmed: true }]),
        account: Known::Yes(Account { concurrency: 1_000, unreserved: 1_000 }),
        last_hour: figures(),
        last_day: figures(),
        unqueued: Known::Yes(0),
        archive: Some(Archive {
            streams: [("ArchiveStream", "ACTIVE"), ("DeliveriesStream", "ACTIVE")]
                .into_iter()
                .map(|(name, is)| (name.to_owned(), Known::Yes(is.to_owned())))
                .collect(),
            misplaced_objects: Known::Yes(0),
        }),
        kms_key: Some(Known::Yes("Enabled".to_owned())),
        roles: BTreeMap::new(),
    };
    let roles = ["ingest", "worker", "replay"].map(|function| {
        let actions = stack::needed(function, &state).into_iter().map(str::to_owned).collect();
        (function, Known::Yes(Role { name: format!("{function}-role"), actions, attached: Vec::new() }))
    });
    state.roles = named(roles.into());
    state
}

fn known<T>(known: &mut Known<T>) -> &mut T {
    match known {
        Known::Yes(value) => value,
        Known::No { unknown } => panic!("{unknown}"),
    }
}

fn set(state: &mut StackState, parameter: &str, value: &str) {
    state.stack.parameters.insert(parameter.to_owned(), value.to_owned());
}

fn of<'s, T>(map: &'s mut BTreeMap<String, Known<T>>, name: &str) -> &'s mut T {
    known(map.get_mut(name).unwrap())
}

type Fault = fn(&mut StackState);

/// For each check, how its fault comes about.
const FAULTS: [(&str, Fault); 51] = [
    ("stack_failed", |s| s.stack.status = "UPDATE_ROLLBACK_COMPLETE".to_owned()),
    ("kms_key_disabled", |s| s.kms_key = Some(Known::Yes("Disabled".to_owned()))),
    ("role_lacks_rights", |s| {
        of(&mut s.roles, "worker").actions.retain(|action| action != "sqs:DeleteMessage")
    }),
    ("role_has_more_rights", |s| of(&mut s.roles, "ingest").attached.push("AdministratorAccess".to_owned())),
    ("concurrency_quota", |s| known(&mut s.account).unreserved = 10),
    ("clock_skew", |s| known(&mut s.health).clock_skew_s = Some(-400)),
    ("ingest_does_not_answer", |s| s.health = Known::No { unknown: "no connection".to_owned() }),
    ("url_wants_signatures", |s| known(&mut s.function_url).auth_type = "AWS_IAM".to_owned()),
    ("url_lacks_permission", |s| known(&mut s.function_url).public_actions.clear()),
    ("ingest_may_not_run", |s| of(&mut s.functions, "ingest").reserved = Some(0)),
    ("ingest_throttled", |s| known(&mut s.last_day).ingest_throttles = 3),
    ("ingest_answers_5xx", |s| known(&mut s.last_hour).ingest_5xx = 1),
    ("digest_is_none", |s| set(s, "WebhookTokenSha256", "my-token")),
    ("digest_of_nothing", |s| {
        set(s, "SegmentTokenSha256", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855");
    }),
    ("digests_alike", |s| set(s, "BrowserKeySha256", DIGEST)),
    ("rotation_unfinished", |s| {
        set(s, "WebhookTokenSha256", &format!("{DIGEST},{}", DIGEST.replace('3', "4")))
    }),
    ("token_rejected", |s| known(&mut s.last_hour).unauthorized = 10),
    ("no_webhook_for_long", |s| known(&mut s.last_day).received = 0),
    ("webhooks_in_log", |s| s.unqueued = Known::Yes(2)),
    ("event_too_large", |s| known(&mut s.last_day).truncated = 1),
    ("event_source_disabled", |s| known(&mut s.event_source).state = "Disabled".to_owned()),
    ("event_source_reports_no_failures", |s| known(&mut s.event_source).reports_failures = false),
    ("worker_may_not_run", |s| of(&mut s.functions, "worker").reserved = Some(5)),
    ("worker_fails", |s| known(&mut s.last_hour).worker_errors = 2),
    ("worker_throttled", |s| known(&mut s.last_hour).worker_throttles = 2),
    ("worker_stopped_as_loop", |s| of(&mut s.functions, "worker").stops_recursion = Some(true)),
    ("function_unusable", |s| of(&mut s.functions, "replay").last_update = "Failed".to_owned()),
    ("runtime_is_old", |s| of(&mut s.functions, "ingest").runtime = "provided.al2".to_owned()),
    ("processors_differ", |s| of(&mut s.functions, "ingest").architecture = "x86_64".to_owned()),
    ("endpoint_is_wrong", |s| set(s, "SegmentEndpoint", "https://api.segment.io/v1")),
    ("key_refused", |s| {
        known(&mut s.last_hour).parts.get_mut("vero_track").unwrap().unauthorized = 1;
    }),
    ("destination_paused", |s| set(s, "PausedDestinations", "segment")),
    ("log_is_silent", |s| set(s, "LogLevel", "error")),
    ("secret_missing", |s| of(&mut s.secrets, "VeroAuthTokenParameter").kind = None),
    ("secret_empty", |s| of(&mut s.secrets, "VeroAuthTokenParameter").is_empty = true),
    ("secret_has_blanks", |s| of(&mut s.secrets, "SegmentWriteKeyParameter").has_blanks = true),
    ("secret_not_encrypted", |s| {
        of(&mut s.secrets, "SegmentWriteKeyParameter").kind = Some("String".to_owned())
    }),
    ("secrets_alike", |s| {
        of(&mut s.secrets, "SegmentWriteKeyParameter").same_as =
            vec!["/vero-relay/vero-auth-token".to_owned()];
        of(&mut s.secrets, "VeroAuthTokenParameter").same_as =
            vec!["/vero-relay/segment-write-key".to_owned()];
    }),
    ("blueprint_faulty", |s| {
        of(&mut s.secrets, "BlueprintParameter").fault = Some("events: no object".to_owned())
    }),
    ("endpoints_faulty", |s| {
        of(&mut s.secrets, "WebhookEndpointSettingsParameter").fault = Some("crm.url: no URL".to_owned())
    }),
    ("dead_letters", |s| {
        of(&mut s.queues, "DeadLetterQueue").visible = 3;
        let row = LetterCount { reason: "timeout".to_owned(), destination: "segment".to_owned(), count: 3 };
        s.letters = Known::Yes(vec![row]);
    }),
    ("queue_is_late", |s| known(&mut s.last_hour).queue_age_s = 1_300),
    ("owed_for_long", |s| known(&mut s.last_hour).oldest_owed_s = 4_000),
    ("visibility_too_short", |s| of(&mut s.queues, "Queue").visibility_s = 30),
    ("redrive_policy_changed", |s| of(&mut s.queues, "Queue").max_receives = Some(3)),
    ("retention_changed", |s| of(&mut s.queues, "DeadLetterQueue").retention_s = 3_600),
    ("alarms_reach_nobody", |s| s.subscribers = Known::Yes(Vec::new())),
    ("subscription_unconfirmed", |s| known(&mut s.subscribers)[0].is_confirmed = false),
    ("alarm_rings", |s| known(&mut s.alarms)[0].state = "ALARM".to_owned()),
    ("alarm_is_mute", |s| known(&mut s.alarms)[0].actions_enabled = false),
    ("alarm_is_gone", |s| known(&mut s.alarms).clear()),
];

/// Those of the archive.
const FAULTS_OF_ARCHIVE: [(&str, Fault); 6] = [
    ("firehose_fails", |s| {
        s.archive
            .as_mut()
            .unwrap()
            .streams
            .insert("ArchiveStream".to_owned(), Known::Yes("CREATING_FAILED".to_owned()));
    }),
    ("archive_is_late", |s| known(&mut s.last_hour).archive_age_s = 4_000),
    ("misplaced_rows", |s| s.archive.as_mut().unwrap().misplaced_objects = Known::Yes(2)),
    ("delivery_log_lacks_rows", |s| known(&mut s.last_day).unrecorded = 2),
    ("replay_fails", |s| known(&mut s.last_day).replay_errors = 1),
    ("archive_is_off", |s| {
        set(s, "Archive", "false");
        s.unqueued = Known::Yes(2);
        let needed = stack::needed("worker", s).into_iter().map(str::to_owned).collect();
        of(&mut s.roles, "worker").actions = needed;
    }),
];

/// Faults that cannot be alone.
const TOGETHER: [(&str, &str); 1] = [("archive_is_off", "webhooks_in_log")];

fn faults() -> impl Iterator<Item = (&'static str, Fault)> {
    FAULTS.into_iter().chain(FAULTS_OF_ARCHIVE)
}

#[test]
fn a_healthy_stack_is_silent() {
    assert_eq!(findings(&healthy()), []);
}

#[test]
fn what_is_not_known_is_no_finding() {
    let mut state = healthy();
    let unknown = || "no right to look".to_owned();
    state.event_source = Known::No { unknown: unknown() };
    state.function_url = Known::No { unknown: unknown() };
    state.letters = Known::No { unknown: unknown() };
    state.alarms = Known::No { unknown: unknown() };
    state.subscribers = Known::No { unknown: unknown() };
    state.account = Known::No { unknown: unknown() };
    state.last_hour = Known::No { unknown: unknown() };
    state.last_day = Known::No { unknown: unknown() };
    state.unqueued = Known::No { unknown: unknown() };
    state.kms_key = Some(Known::No { unknown: unknown() });
    state.functions.values_mut().for_each(|function| *function = Known::No { unknown: unknown() });
    state.queues.values_mut().for_each(|queue| *queue = Known::No { unknown: unknown() });
    state.secrets.values_mut().for_each(|secret| *secret = Known::No { unknown: unknown() });
    state.roles.values_mut().for_each(|role| *role = Known::No { unknown: unknown() });
    assert_eq!(findings(&state), []);
}

#[test]
fn each_planted_fault_is_named_and_nothing_else() {
    for (code, plant) in faults() {
        let mut state = healthy();
        plant(&mut state);
        let found: BTreeSet<&str> = findings(&state).iter().map(|finding| finding.code).collect();
        let others = TOGETHER.iter().filter(|(one, _)| *one == code).map(|(_, other)| *other);
        assert_eq!(found, others.chain([code]).collect(), "{code}");
    }
}

#[test]
fn every_check_has_a_planted_fault_and_a_line_in_the_docs() {
    let planted: BTreeSet<&str> = faults().map(|(code, _)| code).collect();
    let checks: BTreeSet<&str> = checks().map(|check| check.code).collect();
    assert_eq!(planted, checks);
    let docs = include_str!("../../../docs/relay.md");
    for code in checks {
        assert!(docs.contains(&format!("| `{code}` |")), "docs/relay.md has no line of {code}");
    }
}

/// A mend is a command, or a place to look. What stands in parentheses behind it is for people.
#[test]
fn every_command_that_is_advised_is_one() {
    let mut commands = 0;
    for (code, plant) in faults() {
        let mut state = healthy();
        plant(&mut state);
        for finding in findings(&state) {
            let command = finding.mend.split(" (").next().unwrap_or_default();
            if command.starts_with("relay ") {
                let parsed = Options::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{code}: {command}");
                commands += 1;
            }
            let headings = finding.mend.strip_prefix("docs/runbook.md#");
            let runbook = include_str!("../../../docs/runbook.md").to_lowercase();
            assert!(headings.is_none_or(|heading| runbook.contains(&format!("\n## {heading}\n"))), "{code}");
        }
    }
    assert!(commands > 25, "{commands}");
}

#[test]
fn findings_hold_nobody_s_secrets() {
    for (code, plant) in faults() {
        let mut state = healthy();
        plant(&mut state);
        let text = serde_json::to_string(&findings(&state)).unwrap();
        assert!(!text.contains(DIGEST), "{code}: {text}");
    }
}

/// The table of rights is that of the template.
#[test]
fn the_roles_of_a_fresh_stack_are_as_the_template_has_them() {
    let mut state = healthy();
    set(&mut state, "Tracing", "Active");
    set(&mut state, "SegmentSharedSecretParameter", "/other");
    for (function, role) in [("ingest", "IngestRole"), ("worker", "WorkerRole"), ("replay", "ReplayRole")] {
        let (_, block) = TEMPLATE.split_once(&format!("\n  {role}:\n")).unwrap();
        let end = block.find("\n\n").unwrap();
        let is_service = |word: &str| ["sqs", "ssm", "logs", "kms", "xray", "s3", "firehose"].contains(&word);
        let lines = block[..end].lines().map(|line| line.split(" #").next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split([' ', ',', '[', ']']));
        let actions = words.filter(|word| {
            word.split_once(':').is_some_and(|(service, action)| {
                is_service(service) && action.chars().all(char::is_alphanumeric) && !action.is_empty()
            })
        });
        let needed: BTreeSet<&str> = stack::needed(function, &state).into_iter().collect();
        assert_eq!(actions.collect::<BTreeSet<_>>(), needed, "{function}");
    }
}
