//! `relay metrics`: the dashboard's figures, with a small picture of each.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::Done;
use crate::cloud::{Cloud, Series};
use crate::console::{BOLD, Console, DIM, sparkline, styled};
use crate::error::Error;
use crate::model::time::At;
use crate::options::Metrics;

/// So many bars beside each figure.
const BARS: u32 = 24;

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Metrics) -> Done {
    let stack = cloud.describe().await?;
    let name = stack
        .resources
        .get("Dashboard")
        .cloned()
        .unwrap_or_else(|| format!("{}-{}", cloud.stack, cloud.region));
    let body = cloud.dashboard(&name).await?;
    let widgets = widgets(&body, &cloud.stack);
    if widgets.is_empty() {
        return Err(Error::Refused(format!("the dashboard {name} has no figures")));
    }
    let now = At::now();
    // CloudWatch wants whole minutes.
    let period = (options.since.0 / BARS).as_secs().div_ceil(60).max(1) * 60;
    let all: Vec<Series> =
        widgets.iter().flat_map(|(_, figures)| figures.iter().map(|(_, series)| series.clone())).collect();
    let look = cloud.series(&all, now.before(options.since.0), now, Duration::from_secs(period));
    let mut values = console.wait("Reading metrics", look).await?.into_iter();
    let mut document = Vec::new();
    for (title, figures) in &widgets {
        console.say_unless_json(styled(BOLD, title));
        for (label, series) in figures {
            let points = values.next().unwrap_or_default();
            let bars = bars(&points, now, period);
            let total = total(&series.statistic, &points);
            console.say_unless_json(format!("  {label:40} {:>12}  {}", total, styled(DIM, sparkline(&bars))));
            document.push(json!({"widget": title, "label": label, "namespace": series.namespace, "metric": series.metric,
                "statistic": series.statistic, "points": points.iter().map(|(at, value)| json!([at, value])).collect::<Vec<_>>()}));
        }
    }
    if cloud.local.is_some() {
        console
            .say("`cargo local` has no metrics of the functions: `relay --local status` counts in the log.");
    }
    console.show(&document, || ())?;
    Ok(ExitCode::SUCCESS)
}

/// A widget's title, and its figures with their labels.
type Widget = (String, Vec<(String, Series)>);

fn widgets(body: &Value, stack: &str) -> Vec<Widget> {
    let mut widgets = Vec::new();
    for widget in body["widgets"].as_array().into_iter().flatten() {
        let properties = &widget["properties"];
        let usual = properties["stat"].as_str().unwrap_or("Sum");
        let figures = properties["metrics"].as_array().into_iter().flatten().filter_map(|metric| {
            let fields = metric.as_array()?;
            let texts: Vec<&str> = fields.iter().filter_map(Value::as_str).collect();
            let options = fields.last().filter(|last| last.is_object()).cloned().unwrap_or_default();
            let [namespace, name, dimensions @ ..] = &texts[..] else { return None };
            let pairs = dimensions.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
            let series = Series {
                namespace: (*namespace).to_owned(),
                metric: (*name).to_owned(),
                dimensions: pairs.collect(),
                statistic: options["stat"].as_str().unwrap_or(usual).to_owned(),
            };
            Some((options["label"].as_str().unwrap_or(name).to_owned(), series))
        });
        let figures: Vec<(String, Series)> = figures.collect();
        if !figures.is_empty() {
            widgets.push((properties["title"].as_str().unwrap_or(stack).to_owned(), figures));
        }
    }
    widgets
}

fn bars(points: &[(At, f64)], now: At, period: u64) -> Vec<f64> {
    let mut bars = vec![0.0; BARS as usize];
    for (at, value) in points {
        let back = (now.since(*at).as_secs() / period) as usize;
        if let Some(bar) = bars.len().checked_sub(back + 1).and_then(|place| bars.get_mut(place)) {
            *bar += value;
        }
    }
    bars
}

fn total(statistic: &str, points: &[(At, f64)]) -> String {
    let values = points.iter().map(|(_, value)| *value);
    let total = if statistic == "Sum" { values.reduce(|a, b| a + b) } else { values.reduce(f64::max) };
    total.map_or("-".to_owned(), |total| format!("{}", (total * 10.0).round() / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_is_read_as_cloudwatch_reads_it() {
        let body = json!({"widgets": [
            {"type": "alarm", "properties": {"title": "Alarms", "alarms": ["a"]}},
            {"type": "metric", "properties": {"title": "Segment", "stat": "Sum", "metrics": [
                ["vero-relay", "SegmentAccepted", {"label": "accepted"}],
                ["AWS/Lambda", "Duration", "FunctionName", "f", {"stat": "p99"}]]}}]});
        let widgets = widgets(&body, "vero-relay");
        assert_eq!((widgets.len(), &*widgets[0].0), (1, "Segment"));
        let [(accepted, _), (duration, series)] = &widgets[0].1[..] else { panic!("two figures") };
        assert_eq!((&**accepted, &**duration, &*series.statistic), ("accepted", "Duration", "p99"));
        assert_eq!(series.dimensions, [("FunctionName".to_owned(), "f".to_owned())]);
    }

    #[test]
    fn bars_are_in_the_order_of_time() {
        let now = At::from_ms(10_000_000);
        let at = |minutes: i64| At::from_ms(10_000_000 - minutes * 60_000);
        let bars = bars(&[(at(1), 2.0), (at(0), 1.0), (at(99), 9.0)], now, 60);
        assert_eq!(bars[bars.len() - 2..], [2.0, 1.0]);
        assert_eq!(bars.iter().sum::<f64>(), 3.0);
    }
}
