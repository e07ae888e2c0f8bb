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
    /// What the worker logs for a batch.
    pub log_bytes: f64,
    /// A webhook's row in the archive.
    pub row_bytes: f64,
}

/// How the services that are waited for answer. Nobody publishes it; the dashboard shows yours.
#[derive(Debug, Clone, Copy)]
pub struct Assumed {
    /// One SendMessage.
    pub sqs: Duration,
    /// One batch at Segment.
    pub segment: Duration,
    /// One call at Vero.
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
    /// How long one batch of so many webhooks holds a worker.
    pub fn batch(&self, webhooks: usize, own: Duration) -> Duration {
        let waves = webhooks.div_ceil(self.in_flight) as u32;
        own * webhooks as u32 + self.segment.max(self.vero * waves)
    }
}

/// One line: what is paid for, how much of it, and at which price.
struct Line {
    what: &'static str,
    quantity: f64,
    price: &'static str,
}

/// A million webhooks in batches of so many.
fn lines(batch: usize, measured: &Measured, assumed: &Assumed) -> Vec<Line> {
    let batches = WEBHOOKS / batch as f64;
    // Lambda charges whole milliseconds.
    let billed = |time: Duration| (time.as_secs_f64() * 1e3).ceil() / 1e3;
    let ingest = billed(measured.ingest + assumed.sqs);
    let worker = billed(assumed.batch(batch, measured.worker));
    let polls = WEBHOOKS / MESSAGES_A_REQUEST.min(batch as f64);
    let line = |what, quantity, price| Line { what, quantity, price };
    vec![
        line("ingest, requests", WEBHOOKS, "lambda_requests"),
        line("ingest, time", WEBHOOKS * ingest * GIGABYTES, "lambda_gb_seconds"),
        line("SQS, sends", WEBHOOKS, "sqs_requests"),
        line("SQS, receives and deletes", 2.0 * polls, "sqs_requests"),
        line("worker, requests", batches, "lambda_requests"),
        line("worker, time", batches * worker * GIGABYTES, "lambda_gb_seconds"),
        line("logs", batches * measured.log_bytes, "log_bytes"),
    ]
}

/// The archive of a million webhooks, the first month's storage included.
fn archive(batch: usize, measured: &Measured) -> Vec<Line> {
    let rounded = |bytes: f64| (bytes / FIREHOSE_STEP).ceil() * FIREHOSE_STEP;
    let batches = WEBHOOKS / batch as f64;
    // The delivery log: a row a destination, those of a batch in one record.
    let log_bytes = rounded(3.0 * 250.0 * batch as f64);
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
    let total = section("together", lines(1, measured, assumed), lines(100, measured, assumed))?;
    section("archive", archive(1, measured), archive(100, measured))?;
    let met = if total < 1.0 { "met" } else { "MISSED" };
    writeln!(out, "Target for campaigns, without archive and tracing: under 1.00, {met}.")?;
    writeln!(
        out,
        "Evenly: every webhook a batch of its own. Campaigns: batches of 100. Assumed: SQS {} ms, Segment {} ms a \
         batch, Vero {} ms a call, {} side by side.\n",
        assumed.sqs.as_millis(),
        assumed.segment.as_millis(),
        assumed.vero.as_millis(),
        assumed.in_flight,
    )?;
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
        log_bytes: 1_000.0,
        row_bytes: 1_500.0,
    };

    fn total(lines: &[Line]) -> f64 {
        let prices = serde_json::from_str(PRICES).unwrap();
        lines.iter().map(|line| usd(&prices, line).unwrap()).sum()
    }

    #[test]
    fn every_price_is_in_the_table() {
        let assumed = Assumed::default();
        let (single, full) = (total(&lines(1, &MEASURED, &assumed)), total(&lines(100, &MEASURED, &assumed)));
        assert!(single > full && full > 0.6, "requests alone are 0.60: {single} {full}");
        assert!(total(&archive(1, &MEASURED)) > 0.145, "5 GB at 0.029");
        assert!(render(&MEASURED, &assumed).unwrap().contains("Hookdeck"));
    }

    #[test]
    fn a_batch_waits_for_the_slower_of_both() {
        let assumed = Assumed::default();
        assert_eq!(assumed.batch(1, Duration::ZERO), Duration::from_millis(150));
        assert_eq!(assumed.batch(100, Duration::from_millis(1)), Duration::from_millis(7 * 150 + 100));
    }
}
