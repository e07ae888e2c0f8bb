//! What a million webhooks cost, from what was measured in this run and from a table of prices with its date.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

const PRICES: &str = include_str!("../prices.json");

const WEBHOOKS: f64 = 1e6;

/// Of each function in the template.
const GIGABYTES: f64 = 0.25;

/// Lambda's poller receives and deletes up to so many messages in one request.
const MESSAGES_A_REQUEST: f64 = 10.0;

/// The values of `BatchWindowSeconds` that are shown, from none over the default to the longest.
const WINDOWS_S: [f64; 6] = [0.0, 1.0, 2.0, 10.0, 60.0, 300.0];
const DEFAULT_WINDOW_S: f64 = 2.0;

const BATCH_SIZE: f64 = 100.0;
const MONTH_S: f64 = 30.0 * 24.0 * 3_600.0;

/// Firehose rounds each record up to a multiple of this.
const FIREHOSE_STEP: f64 = 5_000.0;

/// Firehose writes an object for each partition every 15 minutes, in a month; rows have two, by source.
const PARTITIONED_OBJECTS: f64 = 2.0 * 30.0 * 24.0 * 4.0;
const OBJECTS: f64 = 1.5 * PARTITIONED_OBJECTS;

/// What the functions need, of this run. What stands for the other side is assumed, and printed.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Ingest's own time for one webhook at the CPU share of its memory.
    pub ingest: Duration,
    /// The worker's own time for a webhook at the CPU share of its memory.
    pub worker: Duration,
    /// What the worker logs for a batch of one.
    pub log_bytes_of_one: f64,
    /// What it logs for a batch of 100 or more, of which it tells as many latencies.
    pub log_bytes: f64,
    /// A webhook's row in the archive.
    pub row_bytes: f64,
}

/// How the services that are waited for answer. Nobody publishes it; the dashboard shows yours.
#[derive(Debug, Clone, Copy)]
pub struct Assumed {
    pub sqs: Duration,
    pub segment: Duration,
    pub vero: Duration,
    /// Calls to Vero side by side, as configured in the worker.
    pub in_flight: usize,
}

impl Default for Assumed {
    fn default() -> Self {
        let milliseconds = Duration::from_millis;
        Assumed { sqs: milliseconds(8), segment: milliseconds(100), vero: milliseconds(150), in_flight: 16 }
    }
}

impl Assumed {
    /// How long one batch of so many webhooks, on the average, holds a worker.
    pub fn batch(&self, webhooks: f64, own: Duration) -> Duration {
        let waves = (webhooks / self.in_flight as f64).ceil();
        own.mul_f64(webhooks) + self.segment.max(self.vero.mul_f64(waves))
    }
}

/// One line: what is paid for, how much of it, and at which price.
struct Line {
    what: &'static str,
    quantity: f64,
    price: &'static str,
}

/// How the million comes.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    /// Evenly over a month: the poller receives each as it comes, and gathers for so many seconds.
    Evenly(f64),
    /// In campaigns, which fill batches and what the poller receives.
    Campaigns,
}

impl Arrival {
    /// Webhooks a batch, on the average. Of those that come evenly it has the one that opens the window, and those that
    /// come within it: as if one poller gathered all.
    fn batch(self) -> f64 {
        match self {
            Arrival::Evenly(0.0) => 1.0,
            Arrival::Evenly(window) => (1.0 + window * WEBHOOKS / MONTH_S).min(BATCH_SIZE),
            Arrival::Campaigns => BATCH_SIZE,
        }
    }
}

/// What a million webhooks cost.
fn lines(arrival: Arrival, measured: &Measured, assumed: &Assumed) -> Vec<Line> {
    let batch = arrival.batch();
    let batches = WEBHOOKS / batch;
    // Lambda charges whole milliseconds.
    let billed = |time: Duration| (time.as_secs_f64() * 1e3).ceil() / 1e3;
    let ingest = billed(measured.ingest + assumed.sqs);
    let worker = billed(assumed.batch(batch, measured.worker));
    let receives = match arrival {
        Arrival::Evenly(_) => WEBHOOKS,
        Arrival::Campaigns => WEBHOOKS / MESSAGES_A_REQUEST,
    };
    let deletes = WEBHOOKS / MESSAGES_A_REQUEST.min(batch);
    let more_bytes = measured.log_bytes - measured.log_bytes_of_one;
    let log_bytes = measured.log_bytes_of_one + more_bytes * (batch - 1.0) / (BATCH_SIZE - 1.0);
    let line = |what, quantity, price| Line { what, quantity, price };
    vec![
        line("ingest, requests", WEBHOOKS, "lambda_requests"),
        line("ingest, time", WEBHOOKS * ingest * GIGABYTES, "lambda_gb_seconds"),
        line("SQS, sends", WEBHOOKS, "sqs_requests"),
        line("SQS, receives and deletes", receives + deletes, "sqs_requests"),
        line("worker, requests", batches, "lambda_requests"),
        line("worker, time", batches * worker * GIGABYTES, "lambda_gb_seconds"),
        line("logs", batches * log_bytes, "log_bytes"),
    ]
}

/// The archive of a million webhooks, the first month's storage included.
fn archive(arrival: Arrival, measured: &Measured) -> Vec<Line> {
    let rounded = |bytes: f64| (bytes / FIREHOSE_STEP).ceil() * FIREHOSE_STEP;
    let batches = WEBHOOKS / arrival.batch();
    // The delivery log: a row a destination, those of a batch in one record.
    let log_bytes = rounded(3.0 * 250.0 * arrival.batch());
    let gzipped = WEBHOOKS * (measured.row_bytes + 3.0 * 250.0) / 5.0;
    let line = |what, quantity, price| Line { what, quantity, price };
    vec![
        line("Firehose, rows", WEBHOOKS * rounded(measured.row_bytes), "firehose_bytes"),
        line("Firehose, delivery log", batches * log_bytes, "firehose_bytes"),
        line("Firehose, partitions", WEBHOOKS * measured.row_bytes, "partitioned_bytes"),
        line("Firehose, objects, a month", PARTITIONED_OBJECTS, "partitioned_objects"),
        line("S3, objects, a month", OBJECTS, "s3_puts"),
        line("S3, storage, a month", gzipped, "s3_byte_months"),
    ]
}

fn usd(prices: &Value, line: &Line) -> Result<f64> {
    let price = &prices["prices"][line.price];
    let number = |key: &str| price[key].as_f64().with_context(|| format!("{}: no {key}", line.price));
    Ok(line.quantity * number("usd")? / number("per")?)
}

/// The table, and whether the target of one dollar is met.
pub fn render(measured: &Measured, assumed: &Assumed) -> Result<String> {
    let prices: Value = serde_json::from_str(PRICES)?;
    let mut out = String::new();
    let header = ["evenly", "campaigns"];
    writeln!(out, "{:28}{:>10}{:>12}   of {}", "US dollars a million", header[0], header[1], prices["date"])?;
    let mut section = |name: &str, evenly: Vec<Line>, campaigns: Vec<Line>| -> Result<f64> {
        let mut sums = [0.0; 2];
        for (one, many) in evenly.iter().zip(&campaigns) {
            let both = [usd(&prices, one)?, usd(&prices, many)?];
            writeln!(out, "{:28}{:>10.2}{:>12.2}", one.what, both[0], both[1])?;
            sums = [sums[0] + both[0], sums[1] + both[1]];
        }
        writeln!(out, "{name:28}{:>10.2}{:>12.2}", sums[0], sums[1])?;
        Ok(sums[1])
    };
    let (even, campaigns) = (Arrival::Evenly(DEFAULT_WINDOW_S), Arrival::Campaigns);
    let total = section("together", lines(even, measured, assumed), lines(campaigns, measured, assumed))?;
    section("archive", archive(even, measured), archive(campaigns, measured))?;
    let met = if total < 1.0 { "met" } else { "MISSED" };
    writeln!(out, "Target for campaigns, without archive and tracing: under 1.00, {met}.")?;
    writeln!(
        out,
        "Evenly: over a month, with BatchWindowSeconds={DEFAULT_WINDOW_S}. Campaigns: batches of 100. Assumed: SQS {} ms, \
         Segment {} ms a batch, Vero {} ms a call, {} side by side.\n",
        assumed.sqs.as_millis(),
        assumed.segment.as_millis(),
        assumed.vero.as_millis(),
        assumed.in_flight,
    )?;
    writeln!(out, "{:28}{:>10}{:>12}", "BatchWindowSeconds", "a batch", "evenly")?;
    for window in WINDOWS_S {
        let arrival = Arrival::Evenly(window);
        let costs =
            lines(arrival, measured, assumed).iter().map(|line| usd(&prices, line)).sum::<Result<f64>>()?;
        writeln!(out, "{window:<28}{:>10.1}{costs:>12.2}", arrival.batch())?;
    }
    writeln!(out)?;
    writeln!(out, "{:28}{:>10}{:>12}{:>12}", "hosted gateways", "a month", "events", "a million")?;
    for gateway in prices["gateways"].as_array().into_iter().flatten() {
        let [month, events] = ["usd_a_month", "events"].map(|key| gateway[key].as_f64().unwrap_or_default());
        let name = gateway["name"].as_str().unwrap_or_default();
        let million = match gateway["metered"].as_bool() {
            Some(true) => "metered".to_owned(),
            _ => format!("{:.0}", month / events * 1e6),
        };
        writeln!(out, "{name:28}{month:>10.0}{events:>12.0}{million:>12}")?;
    }
    Ok(out)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Figures of the usual size.
    pub const MEASURED: Measured = Measured {
        ingest: Duration::from_micros(400),
        worker: Duration::from_micros(200),
        log_bytes_of_one: 750.0,
        log_bytes: 1_750.0,
        row_bytes: 1_500.0,
    };

    fn total(lines: &[Line]) -> f64 {
        let prices = serde_json::from_str(PRICES).unwrap();
        lines.iter().map(|line| usd(&prices, line).unwrap()).sum()
    }

    #[test]
    fn every_price_is_in_the_table() {
        let assumed = Assumed::default();
        let cost = |arrival| total(&lines(arrival, &MEASURED, &assumed));
        let (single, full) = (cost(Arrival::Evenly(0.0)), cost(Arrival::Campaigns));
        assert!(single > full && full > 0.6, "requests alone are 0.60: {single} {full}");
        assert!(total(&archive(Arrival::Evenly(0.0), &MEASURED)) > 0.145, "5 GB at 0.029");
        assert!(render(&MEASURED, &assumed).unwrap().contains("Hookdeck"));
    }

    #[test]
    fn a_batch_waits_for_the_slower_of_both() {
        let assumed = Assumed::default();
        assert_eq!(assumed.batch(1.0, Duration::ZERO), Duration::from_millis(150));
        assert_eq!(assumed.batch(100.0, Duration::from_millis(1)), Duration::from_millis(7 * 150 + 100));
    }

    #[test]
    fn a_longer_window_costs_less() {
        let assumed = Assumed::default();
        let costs = WINDOWS_S.map(|window| total(&lines(Arrival::Evenly(window), &MEASURED, &assumed)));
        assert!(costs.is_sorted_by(|shorter, longer| shorter > longer), "{costs:?}");
        assert!(WINDOWS_S.contains(&DEFAULT_WINDOW_S));
        assert_eq!(Arrival::Evenly(300.0).batch(), BATCH_SIZE);
    }
}
