//! Metrics in CloudWatch's embedded metric format: a log line whose numbers CloudWatch makes metrics of. Source: the
//! CloudWatch user guide, "Specification: Embedded metric format".
//!
//! Of our own, since it is one JSON object: the crate for it brings a metrics registry, and would write lines of its
//! own beside the ones that people read.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::environment::{ConfigError, Environment, Expected};
use crate::world;

/// What metrics' log events are marked with, so that no log level silences them.
pub(crate) const TARGET: &str = "metrics";

/// The most values of one metric in a line, by the specification.
const MAX_VALUES: usize = 100;

const NAMESPACE: &str = "METRICS_NAMESPACE";
const EXPECTED: Expected = Expected {
    form: "a CloudWatch namespace: up to 255 letters, digits and any of .-_/#: and blank, not beginning with AWS/ or a colon",
    example: "vero-relay",
};

/// Where metrics go. Each stack has a namespace of its own, so that none needs a dimension, which would make the same
/// metric cost once more for each of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    namespace: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { namespace: EXPECTED.example.to_owned() }
    }
}

impl Metrics {
    /// In the namespace that `METRICS_NAMESPACE` names; by default `vero-relay`.
    ///
    /// # Errors
    /// A [`ConfigError`] if CloudWatch would not take that name.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
        let namespace = environment.parsed(NAMESPACE, EXPECTED, |name| {
            match name.len() <= 255
                && name.chars().all(is_allowed)
                && !name.starts_with("AWS/")
                && !name.starts_with(':')
            {
                true => Ok(name.to_owned()),
                false => Err("is none that CloudWatch takes"),
            }
        })?;
        Ok(namespace.map_or_else(Metrics::default, |namespace| Metrics { namespace }))
    }

    /// Begins a line.
    pub fn line(&self) -> MetricLine<'_> {
        MetricLine {
            namespace: &self.namespace,
            definitions: Vec::new(),
            values: Map::new(),
            fields: Map::new(),
        }
    }
}

/// What a metric's numbers are numbers of (CloudWatch API reference, MetricDatum).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "Count",
            Unit::Seconds => "Seconds",
            Unit::Milliseconds => "Milliseconds",
        }
    }
}

/// A log line that is a document in embedded metric format: metrics, and fields that are only for people. It may have
/// 100 metrics.
#[derive(Debug)]
#[must_use = "it is written by `info` or `warn`"]
pub struct MetricLine<'m> {
    namespace: &'m str,
    definitions: Vec<Value>,
    values: Map<String, Value>,
    fields: Map<String, Value>,
}

impl MetricLine<'_> {
    /// How often something happened. What did not happen costs nothing: 0 is left out.
    pub fn count(self, name: impl Into<String>, count: usize) -> Self {
        if count == 0 { self } else { self.metric(name.into(), Unit::Count, count.into()) }
    }

    /// A measurement.
    pub fn measured(self, name: impl Into<String>, unit: Unit, value: u64) -> Self {
        self.metric(name.into(), unit, value.into())
    }

    /// Measurements of the same. Of more than 100, 100 that are spread evenly from the least to the greatest.
    pub fn all_measured(self, name: impl Into<String>, unit: Unit, mut values: Vec<u64>) -> Self {
        if values.len() > MAX_VALUES {
            values.sort_unstable();
            let last = values.len() - 1;
            values = (0..MAX_VALUES).map(|index| values[index * last / (MAX_VALUES - 1)]).collect();
        }
        if values.is_empty() { self } else { self.metric(name.into(), unit, values.into()) }
    }

    /// A field that is no metric.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    fn metric(mut self, name: String, unit: Unit, value: Value) -> Self {
        self.definitions.push(json!({"Name": name, "Unit": unit.as_str()}));
        self.values.insert(name, value);
        self
    }

    /// Writes the line at INFO, whatever the log level is.
    pub fn info(self, message: &str) {
        let json = self.into_json(world::now());
        tracing::info!(target: TARGET, json, "{message}");
    }

    /// Writes the line at WARN, whatever the log level is.
    pub fn warn(self, message: &str) {
        let json = self.into_json(world::now());
        tracing::warn!(target: TARGET, json, "{message}");
    }

    fn into_json(self, now: SystemTime) -> String {
        let MetricLine { namespace, definitions, values, mut fields } = self;
        if !definitions.is_empty() {
            let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let directive = json!({"Namespace": namespace, "Dimensions": [[]], "Metrics": definitions});
            fields
                .insert("_aws".to_owned(), json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]}));
        }
        fields.extend(values);
        Value::Object(fields).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn document(line: MetricLine<'_>) -> Value {
        serde_json::from_str(&line.into_json(UNIX_EPOCH + Duration::from_millis(1_795_237_443_123))).unwrap()
    }

    #[test]
    fn a_document_as_the_specification_has_it() {
        let metrics = Metrics::default();
        let line = metrics.line().count("Messages", 3).count("Poison", 0).field("messages", 3);
        let line = line.measured("OldestOwed", Unit::Seconds, 0);
        assert_eq!(
            document(line.all_measured("SegmentLatency", Unit::Milliseconds, vec![7, 5])),
            json!({
                "_aws": {
                    "Timestamp": 1_795_237_443_123_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "vero-relay",
                        "Dimensions": [[]],
                        "Metrics": [
                            {"Name": "Messages", "Unit": "Count"},
                            {"Name": "OldestOwed", "Unit": "Seconds"},
                            {"Name": "SegmentLatency", "Unit": "Milliseconds"},
                        ],
                    }],
                },
                "Messages": 3,
                "OldestOwed": 0,
                "SegmentLatency": [7, 5],
                "messages": 3,
            })
        );
    }

    #[test]
    fn without_a_metric_it_is_a_plain_line() {
        let metrics = Metrics::default();
        let line = metrics.line().count("Messages", 0).all_measured("Latency", Unit::Milliseconds, vec![]);
        assert_eq!(document(line.field("messages", 0)), json!({"messages": 0}));
    }

    #[test]
    fn of_many_values_a_hundred_tell_the_spread() {
        let values = |count: u64| {
            let line = Metrics::default();
            let line = line.line().all_measured("Latency", Unit::Milliseconds, (0..count).rev().collect());
            let values = document(line)["Latency"].clone();
            values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(values(100).len(), 100);
        for count in [101, 150, 1_000, 10_000] {
            let values = values(count);
            assert_eq!((values.len(), values[0], values[99]), (100, 0, count - 1));
            assert!(values.is_sorted() && values[50].abs_diff(count / 2) <= count / 100 + 1, "{values:?}");
        }
    }

    #[test]
    fn a_namespace_is_one_that_cloudwatch_takes() {
        let read = |name: &str| Metrics::from_environment(&Environment::of([(NAMESPACE, name)]));
        assert_eq!(read("").unwrap(), Metrics::default());
        assert_eq!(read("relay-staging").unwrap().namespace, "relay-staging");
        for name in ["AWS/Lambda", ":a", "a\u{e9}", "a\"b", &"x".repeat(256)] {
            assert!(read(name).unwrap_err().to_string().contains(NAMESPACE), "{name}");
        }
    }
}
