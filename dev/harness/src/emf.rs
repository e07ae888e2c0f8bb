//! What CloudWatch makes of log lines in embedded metric format. Source: the CloudWatch user guide, "Specification:
//! Embedded metric format" with its schema, and, where they are narrower, the limits of PutMetricData and MetricDatum.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock::unix_ms;

/// Those of the schema. From `Count` on they are also there by the second, as in `Bytes/Second`.
const UNITS: [&str; 16] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Percent",
    "None",
    "Count",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
];
const MAX_METRICS: usize = 100;
const MAX_VALUES: usize = 100;
const MAX_DIMENSIONS: usize = 30;
const HOUR_MS: u64 = 3_600_000;

/// A metric that a line holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub namespace: String,
    pub name: String,
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
                let name = name.as_str().context("a dimension is a name")?;
                ensure!((1..=250).contains(&name.len()), "a dimension {name}");
                let value = line[name].as_str().with_context(|| format!("{name} has no text"))?;
                ensure!((1..=1024).contains(&value.len()), "{name} is {value}");
            }
        }
        let definitions = directive["Metrics"].as_array().context("no Metrics")?;
        ensure!((1..=MAX_METRICS).contains(&definitions.len()), "{} metrics", definitions.len());
        for definition in definitions {
            let name = definition["Name"].as_str().context("no Name")?;
            ensure!((1..=255).contains(&name.len()), "{definition}");
            let unit = definition.get("Unit").map_or(Some("None"), Value::as_str);
            let unit =
                unit.filter(|unit| is_unit(unit)).with_context(|| format!("the unit of {definition}"))?;
            let resolution = definition.get("StorageResolution").map_or(Some(60), Value::as_u64);
            ensure!(matches!(resolution, Some(1 | 60)), "the resolution of {definition}");
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

fn is_unit(unit: &str) -> bool {
    let by_the_second = unit.strip_suffix("/Second");
    let place = UNITS.iter().position(|known| *known == by_the_second.unwrap_or(unit));
    place.is_some_and(|place| by_the_second.is_none() || place >= 5)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A line with a directive for `n`, and what `change` makes of it.
    fn read(change: impl Fn(&mut Value)) -> Result<Vec<Metric>> {
        let mut line = json!({
            "_aws": {
                "Timestamp": unix_ms(),
                "CloudWatchMetrics": [
                    {"Namespace": "relay", "Dimensions": [[]], "Metrics": [{"Name": "n", "Unit": "Count"}]}
                ],
            },
            "n": 1,
            "d": "value",
        });
        change(&mut line);
        metrics(&line)
    }

    fn set(path: &'static str, value: Value) -> impl Fn(&mut Value) {
        move |line| *line.pointer_mut(path).unwrap() = value.clone()
    }

    const DIRECTIVE: &str = "/_aws/CloudWatchMetrics/0";
    const DIMENSIONS: &str = "/_aws/CloudWatchMetrics/0/Dimensions";
    const METRIC: &str = "/_aws/CloudWatchMetrics/0/Metrics/0";

    #[test]
    fn what_cloudwatch_takes() {
        assert_eq!(read(|_| ()).unwrap()[0].values, [1.0]);
        let taken = [
            ("/n", json!([1, 2.5, 2.5])),
            ("/n", json!(vec![1; 100])),
            (DIMENSIONS, json!([["d"], []])),
            (METRIC, json!({"Name": "n"})),
            (METRIC, json!({"Name": "n", "Unit": "Kilobytes/Second", "StorageResolution": 1})),
            ("/d", json!({"any": ["thing"]})),
        ];
        for (path, value) in taken {
            assert!(read(set(path, value.clone())).is_ok(), "{path} {value}");
        }
        assert_eq!(metrics(&json!({"level": "INFO"})).unwrap(), []);
    }

    #[test]
    fn what_it_does_not_take() {
        let refused = [
            ("/_aws", json!({})),
            ("/_aws", json!("text")),
            ("/_aws/Timestamp", json!("2026-11-21T05:04:03Z")),
            ("/_aws/Timestamp", json!(1_800_000_000_000.5)),
            ("/_aws/Timestamp", json!(unix_ms() / 1000)), // seconds
            ("/_aws/CloudWatchMetrics", json!({})),
            ("/_aws/CloudWatchMetrics", json!([])),
            (DIRECTIVE, json!({"Namespace": "relay", "Metrics": [{"Name": "n"}]})),
            (DIRECTIVE, json!({"Namespace": "relay", "Dimensions": [[]]})),
            (DIRECTIVE, json!({"Namespace": "", "Dimensions": [[]], "Metrics": [{"Name": "n"}]})),
            (DIRECTIVE, json!({"Namespace": "AWS/SQS", "Dimensions": [[]], "Metrics": [{"Name": "n"}]})),
            (DIMENSIONS, json!([])),
            (DIMENSIONS, json!(["d"])),
            (DIMENSIONS, json!([["n"]])),
            (DIMENSIONS, json!([["absent"]])),
            (DIMENSIONS, json!([vec!["d"; 31]])),
            (METRIC, json!({"Unit": "Count"})),
            (METRIC, json!({"Name": "absent", "Unit": "Count"})),
            (METRIC, json!({"Name": "n", "Unit": "count"})),
            (METRIC, json!({"Name": "n", "Unit": "Seconds/Second"})),
            (METRIC, json!({"Name": "n", "Unit": null})),
            (METRIC, json!({"Name": "n", "StorageResolution": 30})),
            ("/n", json!("1")),
            ("/n", json!(null)),
            ("/n", json!([])),
            ("/n", json!([1, "2"])),
            ("/n", json!(vec![1; 101])),
        ];
        for (path, value) in refused {
            assert!(read(set(path, value.clone())).is_err(), "{path} {value}");
        }
    }
}
