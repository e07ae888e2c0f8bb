//! Generated inputs by the million: nothing of them may make ingest's parsing or the mapper panic, and what comes out
//! must hold what the rest of the way relies on.
//!
//! Each input is a sample of `events/`, mutilated as its number and the seed say: a failure can be had again.

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use faults::report::Report;
use ingest::auth::authorized::Scope;
use ingest::first_party::Events;
use ingest::http::routes::TrackingEndpoint;
use ingest::queue_entry::QueueEntry;
use ingest::vero::Webhooks;
use relay_core::envelope::{Envelope, EventId, MAX_BYTES, Payload};
use relay_core::first_party::{CallType, FirstParty};
use relay_core::json::Json;
use relay_core::mapping::segment::{self, MAX_MESSAGE_BYTES};
use relay_core::mapping::vero_track::{self, FirstPartySettings, Tags};
use relay_core::names::{EventNames, Naming, TrackTypes, WEBHOOK_TYPES};
use relay_core::timestamp::Timestamp;
use relay_core::webhook::Webhook;
use serde_json::Value;

static NAMING: LazyLock<Naming> = LazyLock::new(|| Naming::new(EventNames::default(), TrackTypes::All, true));

static RULES: LazyLock<FirstPartySettings> =
    LazyLock::new(|| FirstPartySettings { forward_deletes: true, ..FirstPartySettings::default() });

const INPUTS: usize = 1_000_000;
/// Each is tried as three kinds of request.
const FIRST_PARTY_INPUTS: usize = 250_000;
/// What takes the place of a value, or is put between any two bytes.
const ODD: [&str; 24] = [
    "null",
    "true",
    "0",
    "-0",
    "1e999",
    "-1.5E-999",
    "123456789012345678901234567890",
    "1435016238",
    "9999999999999",
    r#""""#,
    r#"" ""#,
    r#""\ud800""#,
    r#""\udc00\ud800\u0000""#,
    r#""\/\b\f\uFFFE""#,
    r#""a@b.c""#,
    r#""2015-06-22T23:37:18Z""#,
    "\"\u{FFFF}é🦀\u{202E}\"",
    "[]",
    "{}",
    "[[[[{}]]]]",
    r#"{"id":{"id":[]}}"#,
    r#"{"add":["a"],"remove":[null]}"#,
    r#"{"a":1,"a":2,"\u0061":3}"#,
    "99999-99-99T99:99:99Z",
];

/// Inputs of any bytes for ingest and of JSON objects for the mapper.
pub fn run(seed: u64) -> Result<Report> {
    let samples = samples()?;
    let mut report = Report {
        title: "Fuzz".into(),
        head: vec!["what", "inputs", "taken", "a second", "failed"],
        legend: format!(
            "Taken: of ingest, held a webhook; of first-party events and of the mapper, went to Vero. Seed {seed}."
        ),
        ..Report::default()
    };
    let texts: Vec<String> = samples.iter().map(Value::to_string).collect();
    let any_bytes = |rng: &mut Rng| mutilated(&texts[rng.usize(..texts.len())], rng);
    row(&mut report, "ingest: a request to envelopes", INPUTS, seed, any_bytes, takes);
    let what = "first-party: a request to calls of Vero";
    row(&mut report, what, FIRST_PARTY_INPUTS, seed, any_bytes, takes_first_party);
    let any_object =
        |rng: &mut Rng| odd_values(samples[rng.usize(..samples.len())].clone(), rng).into_bytes();
    row(&mut report, "mapper: a webhook to both destinations", INPUTS, seed, any_object, maps);
    Ok(report)
}

fn samples() -> Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path)?).context("a sample is no JSON"))
        .collect()
}

/// Puts every input to the check, on all cores.
fn row(
    report: &mut Report,
    what: &str,
    inputs: usize,
    seed: u64,
    generate: impl Fn(&mut Rng) -> Vec<u8> + Sync,
    check: fn(&[u8]) -> Result<bool>,
) {
    let (next, taken, start) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let work = || {
        let mut failures = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= inputs {
                return failures;
            }
            let input =
                generate(&mut Rng::with_seed(seed.wrapping_mul(INPUTS as u64).wrapping_add(number as u64)));
            match catch_unwind(|| check(&input)) {
                Ok(Ok(true)) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => failures.push(format!("{error:#}: {}", String::from_utf8_lossy(&input))),
                Err(_) => failures.push(format!("a panic: {}", String::from_utf8_lossy(&input))),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let a_second = inputs as f64 / start.elapsed().as_secs_f64();
    let counts =
        [inputs, taken.into_inner(), a_second as usize, failures.len()].map(|count| count.to_string());
    report.rows.push(std::iter::once(what.to_owned()).chain(counts).collect());
    report.failures.extend(failures.into_iter().take(5).map(|failure| format!("{what}: {failure}")));
}

/// Where something that is no value of serde_json's goes in the end.
const HERE: &str = "\"put something odd here\"";

/// Some values and keys are replaced; it stays a JSON object.
fn odd_values(mut sample: Value, rng: &mut Rng) -> String {
    for _ in 0..rng.usize(1..6) {
        replace_one(&mut sample, rng);
    }
    if !sample.is_object() {
        return "{}".to_owned();
    }
    let text = sample.to_string();
    let mut parts = text.split(HERE);
    let mut odd = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // The last one is no JSON.
        odd.push_str(ODD[rng.usize(..ODD.len() - 1)]);
        odd.push_str(part);
    }
    odd
}

fn replace_one(place: &mut Value, rng: &mut Rng) {
    let stays = rng.u8(..5) == 0;
    match place {
        Value::Object(fields) if !fields.is_empty() && !stays => {
            let key = fields.keys().nth(rng.usize(..fields.len())).cloned().unwrap_or_default();
            if rng.u8(..8) == 0 {
                let name =
                    rng.choice(["type", "user", "campaign", "changes", "_tags", "sent_at", "\u{FFFE}"]);
                let value = fields.remove(&key).unwrap_or_default();
                fields.insert(name.unwrap_or_default().to_owned(), value);
            } else if let Some(inner) = fields.get_mut(&key) {
                replace_one(inner, rng);
            }
        }
        Value::Array(elements) if !elements.is_empty() && !stays => {
            let index = rng.usize(..elements.len());
            replace_one(&mut elements[index], rng);
        }
        _ => {
            *place = match rng.u8(..) {
                0..40 => WEBHOOK_TYPES[rng.usize(..WEBHOOK_TYPES.len())].name.into(),
                40 => "x".repeat(rng.usize(..40_000)).into(),
                _ => HERE.trim_matches('"').into(),
            };
        }
    }
}

/// Some bytes are cut, doubled, flipped or put in.
fn mutilated(sample: &str, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = match rng.u8(..4) {
        0 => format!("[{sample},{sample}]").into_bytes(),
        _ => sample.as_bytes().to_vec(),
    };
    for _ in 0..rng.usize(..4) {
        let start = rng.usize(..=bytes.len());
        let end = (start + rng.usize(..30)).min(bytes.len());
        match rng.u8(..6) {
            0 => drop(bytes.drain(start..end)),
            1 => bytes.truncate(start),
            2 => {
                let doubled = bytes[start..end].to_vec();
                bytes.splice(start..start, doubled);
            }
            3 if end > start => bytes[start] ^= 1 << rng.u8(..8),
            4 => drop(bytes.splice(start..start, ODD[rng.usize(..ODD.len())].bytes())),
            _ => drop(bytes.splice(start..end, (0..rng.usize(..4)).map(|_| rng.u8(..)).collect::<Vec<_>>())),
        }
    }
    bytes
}

fn now() -> Result<Timestamp> {
    Timestamp::parse("2026-11-21T05:04:03.123Z").context("no time")
}

/// As the body of a request; says whether a webhook was in it.
fn takes(body: &[u8]) -> Result<bool> {
    let webhooks = Webhooks::of(body, now()?);
    ensure!(!webhooks.entries.is_empty(), "nothing was kept");
    for entry in &webhooks.entries {
        check_entry(entry)?;
        let envelope = Envelope::parse(&entry.body).ok().context("the envelope cannot be read")?;
        ensure!(envelope.id == entry.id, "another id");
        match (envelope.payload, entry.dead_letter_reason) {
            (Payload::Object(payload), None) => drop(check_mapping(payload)?),
            (Payload::Base64(_), Some(_)) => {}
            _ => anyhow::bail!("neither a webhook nor a dead letter"),
        }
    }
    Ok(webhooks.entries.iter().any(|entry| entry.dead_letter_reason.is_none()))
}

/// First-party events, as Segment and as an SDK would send them.
fn takes_first_party(input: &[u8]) -> Result<bool> {
    const KEY: [u8; 32] = [7; 32];
    let batch = [br#"{"context":{"ip":"1"},"sentAt":5,"batch":["#, input, b"]}"].concat();
    let bodies = [
        Events::of_segment(input),
        Events::of_sdk(input, TrackingEndpoint::Event(CallType::Track)),
        Events::of_sdk(&batch, TrackingEndpoint::Batch),
    ];
    let mut called = false;
    for body in bodies.into_iter().flatten() {
        ensure!(body.entries(&KEY, Scope::TrackOnly, now()?).is_ok(), "a small body that grows large");
        let Ok(made) = body.entries(&KEY, Scope::Full, now()?) else {
            anyhow::bail!("a small body that grows large")
        };
        for entry in &made.entries {
            check_entry(entry)?;
            let envelope = Envelope::parse(&entry.body).ok().context("the envelope cannot be read")?;
            let Payload::Object(payload) = envelope.payload else { continue };
            let event = FirstParty::read(payload, envelope.received_at, envelope.through_segment);
            ensure!(event.is_ok() == entry.dead_letter_reason.is_none(), "ingest and worker disagree");
            let Ok(event) = event else { continue };
            if let Ok(requests) = vero_track::from_event(&envelope.id, &event, &RULES, Duration::ZERO) {
                called = true;
                serde_json::from_str::<Json<'_>>(&requests.request.body("token"))
                    .context("a call that is no JSON")?;
                if let Tags::Edit(call) = &requests.tags {
                    serde_json::from_str::<Json<'_>>(&call.body("token")).context("tags that are no JSON")?;
                }
            }
        }
    }
    Ok(called)
}

fn check_entry(entry: &QueueEntry) -> Result<()> {
    ensure!(entry.body.len() <= MAX_BYTES, "an envelope is too large");
    let is_legal =
        |c: char| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || matches!(c, '\t' | '\n' | '\r');
    ensure!(entry.body.chars().all(is_legal), "SQS refuses the envelope");
    Ok(())
}

fn maps(input: &[u8]) -> Result<bool> {
    check_mapping(serde_json::from_slice(input).context("the generator made no JSON")?)
}

/// What goes out is JSON and within the limits; says whether Vero is called.
fn check_mapping(payload: Json<'_>) -> Result<bool> {
    let webhook = Webhook::read(payload, now()?);
    let id = EventId::parse("01935f3a-0000-7000-8000-000000000001").context("no id")?;
    for message in segment::messages(&id, &webhook, &NAMING).unwrap_or_default() {
        ensure!(message.len() <= MAX_MESSAGE_BYTES, "a message of {} bytes", message.len());
        serde_json::from_str::<Json<'_>>(&message).context("a message that is no JSON")?;
    }
    let Ok(call) = vero_track::from_webhook(&id, &webhook, &NAMING) else { return Ok(false) };
    serde_json::from_str::<Json<'_>>(&call.body("token")).context("a call that is no JSON")?;
    Ok(true)
}
