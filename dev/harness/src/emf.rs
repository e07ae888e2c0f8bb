//! What CloudWatch makes of log lines in embedded metric format. Source: the CloudWatch user guide, "Specification:
//! Embedded metric format", and the limits of PutMetricData and MetricDatum.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::unix_ms;

const UNITS: [&str; 4] = ["Count", "Seconds", "Milliseconds", "Bytes"];
const MAX_METRICS: usize = 100;
const MAX_VALUES: usize = 100;
const MAX_DIMENSIONS: usize = 30;
const HOUR_MS: u64 = 3_600_000;

/// A metric that a line holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// One number, or those of an array.
    pub values: Vec<f64>,
}

/// The metrics of a log line; none when it is an ordinary one.
///
/// # Errors
/// If it is a document that CloudWatch would not take.
pub fn metrics(line: &Value) -> Result<Vec<Metric>> {
    let Some(metadata) = line.get("_aws") else { return Ok(Vec::new()) };
    let timestamp = metadata["Timestamp"].as_u64().context("Timestamp is no whole number")?;
    let now = unix_ms();
    ensure!(timestamp <= now + 2 * HOUR_MS && timestamp + 14 * 24 * HOUR_MS > now, "not of these days");
    let directives = metadata["CloudWatchMetrics"].as_array().context("no CloudWatchMetrics")?;
    ensure!(!directives.is_empty(), "no directive");
    let mut names = HashSet::new();
    let mut metrics = Vec::new();
    for directive in directives {
        let namespace = directive["Namespace"].as_str().context("no Namespace")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
        ensure!((1..=255).contains(&namespace.len()) && namespace.chars().all(allowed), "{namespace}");
        ensure!(!namespace.starts_with("AWS/") && !namespace.starts_with(':'), "{namespace}");
        let sets = directive["Dimensions"].as_array().context("no Dimensions")?;
        ensure!(!sets.is_empty(), "no set of dimensions, not even an empty one");
        for set in sets {
            let set = set.as_array().context("a set of dimensions is a list")?;
            ensure!(set.len() <= MAX_DIMENSIONS, "{} dimensions", set.len());
            for name in set {
                let value = &line[name.as_str().context("a dimension is a name")?];
                ensure!(value.as_str().is_some_and(|value| (1..=1024).contains(&value.len())), "{name}");
            }
        }
        let definitions = directive["Metrics"].as_array().context("no Metrics")?;
        ensure!((1..=MAX_METRICS).contains(&definitions.len()), "{} metrics", definitions.len());
        for definition in definitions {
            let name = definition["Name"].as_str().context("no Name")?;
            let unit = definition["Unit"].as_str().context("no Unit")?;
            ensure!((1..=1024).contains(&name.len()) && UNITS.contains(&unit), "{definition}");
            ensure!(names.insert(name), "{name} is defined twice");
            let values: Option<Vec<f64>> = match &line[name] {
                Value::Array(values) => values.iter().map(Value::as_f64).collect(),
                value => value.as_f64().map(|value| vec![value]),
            };
            let values = values.with_context(|| format!("{name} is no number, nor a list of numbers"))?;
            ensure!((1..=MAX_VALUES).contains(&values.len()), "{name} has {} values", values.len());
            let (namespace, name, unit) = (namespace.to_owned(), name.to_owned(), unit.to_owned());
            metrics.push(Metric { namespace, name, unit, values });
        }
    }
    Ok(metrics)
}
