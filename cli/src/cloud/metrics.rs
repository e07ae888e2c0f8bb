//! CloudWatch: metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;
use relay_core::destinations::parts;

use super::Cloud;
use super::logs::Group;
use crate::error::Error;
use crate::model::figures::{Figures, OWN_METRICS, PART_METRICS, prefix};
use crate::model::state::Stack;
use crate::model::time::At;

/// The most queries of one call (GetMetricData).
const QUERIES: usize = 500;

/// The period of counts. CloudWatch keeps it for two months.
const SHORT: Duration = Duration::from_secs(300);

/// A metric, and how its values are put together.
#[derive(Debug, Clone)]
pub struct Series {
    /// The namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// The dimensions.
    pub dimensions: Vec<(String, String)>,
    /// `Sum`, `Maximum` or a percentile such as `p99`.
    pub statistic: String,
}

impl Cloud {
    pub(super) fn cloudwatch(&self) -> Client {
        Client::new(&self.config)
    }

    /// A dashboard, as JSON.
    ///
    /// # Errors
    /// If there is none of this name.
    pub async fn dashboard(&self, name: &str) -> Result<serde_json::Value, Error> {
        let call = self.cloudwatch().get_dashboard().dashboard_name(name).send().await;
        let answer = call.map_err(Error::aws("CloudWatch GetDashboard"))?;
        Ok(serde_json::from_str(answer.dashboard_body().unwrap_or_default()).unwrap_or_default())
    }

    /// The values of metrics since a time, one for each period that has any, in the order of time.
    ///
    /// # Errors
    /// If CloudWatch does not answer.
    pub async fn series(
        &self,
        metrics: &[Series],
        since: At,
        now: At,
        period: Duration,
    ) -> Result<Vec<Vec<(At, f64)>>, Error> {
        let mut values = vec![Vec::new(); metrics.len()];
        for (chunk, metrics) in metrics.chunks(QUERIES).enumerate() {
            let queries: Vec<MetricDataQuery> =
                metrics.iter().enumerate().map(|(place, series)| query(place, series, period)).collect();
            let mut token = None;
            loop {
                let call = self
                    .cloudwatch()
                    .get_metric_data()
                    .start_time(DateTime::from_millis(since.ms()))
                    .end_time(DateTime::from_millis(now.ms()))
                    .set_metric_data_queries(Some(queries.clone()))
                    .set_next_token(token.take());
                let answer = call.send().await.map_err(Error::aws("CloudWatch GetMetricData"))?;
                for result in answer.metric_data_results() {
                    let place = result.id().and_then(|id| id.strip_prefix('m')?.parse::<usize>().ok());
                    let Some(own) = place.and_then(|place| values.get_mut(chunk * QUERIES + place)) else {
                        continue;
                    };
                    let times = result.timestamps().iter().filter_map(|time| time.to_millis().ok());
                    own.extend(times.map(At::from_ms).zip(result.values().iter().copied()));
                }
                token = answer.next_token;
                if token.is_none() {
                    break;
                }
            }
        }
        values.iter_mut().for_each(|values| values.sort_by_key(|(at, _)| *at));
        Ok(values)
    }

    /// What a stack has done since `span` ago: by its metrics, or if there are none, by its log.
    ///
    /// # Errors
    /// If neither answers.
    pub async fn figures(&self, stack: &Stack, now: At, span: Duration) -> Result<Figures, Error> {
        let by_metrics = match self.figures_by_metrics(stack, now, span).await {
            Ok(figures) if !figures.is_empty() => return Ok(figures),
            other => other,
        };
        let since = now.before(span);
        let (worker, ingest) = tokio::try_join!(
            self.log_lines(Group::Worker, since, Some(("message", "batch"))),
            self.log_lines(Group::Ingest, since, Some(("message", "refused"))),
        )?;
        let by_log = Figures::of_log(worker.iter().chain(&ingest).map(|line| &line.fields));
        match by_metrics {
            Ok(by_metrics) if by_log.is_empty() && self.local.is_none() => Ok(by_metrics),
            Ok(by_metrics) => Ok(by_log.with_those_of_aws(&by_metrics)),
            Err(_) => Ok(by_log),
        }
    }

    async fn figures_by_metrics(&self, stack: &Stack, now: At, span: Duration) -> Result<Figures, Error> {
        let own = |metric: &str, statistic: &str| Series {
            namespace: self.stack.clone(),
            metric: metric.to_owned(),
            dimensions: Vec::new(),
            statistic: statistic.to_owned(),
        };
        let of = |namespace: &str, metric: &str, dimension: &str, resource: &str, statistic: &str| {
            let physical = stack.resources.get(resource).map_or("", String::as_str);
            let value = physical.rsplit('/').next().unwrap_or_default().to_owned();
            Series {
                namespace: namespace.to_owned(),
                dimensions: vec![(dimension.to_owned(), value)],
                ..own(metric, statistic)
            }
        };
        type Put = Box<dyn Fn(&mut Figures, u64) + Send>;
        let mut wanted: Vec<(Series, Put)> = Vec::new();
        for (name, count) in OWN_METRICS {
            wanted.push((own(name, "Sum"), Box::new(move |figures, value| *count(figures) = value)));
        }
        wanted.push((own("OldestOwed", "Maximum"), Box::new(|figures, value| figures.oldest_owed_s = value)));
        type Count = fn(&mut Figures) -> &mut u64;
        let of_aws: [(Series, Count); 7] = [
            (of("AWS/Lambda", "Url5xxCount", "FunctionName", "Ingest", "Sum"), |f| &mut f.ingest_5xx),
            (of("AWS/Lambda", "Throttles", "FunctionName", "Ingest", "Sum"), |f| &mut f.ingest_throttles),
            (of("AWS/Lambda", "Errors", "FunctionName", "Worker", "Sum"), |f| &mut f.worker_errors),
            (of("AWS/Lambda", "Throttles", "FunctionName", "Worker", "Sum"), |f| &mut f.worker_throttles),
            (of("AWS/Lambda", "Errors", "FunctionName", "Replay", "Sum"), |f| &mut f.replay_errors),
            (of("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "Queue", "Maximum"), |f| {
                &mut f.queue_age_s
            }),
            (
                of(
                    "AWS/Firehose",
                    "DeliveryToS3.DataFreshness",
                    "DeliveryStreamName",
                    "ArchiveStream",
                    "Maximum",
                ),
                |f| &mut f.archive_age_s,
            ),
        ];
        for (series, count) in of_aws {
            if series.dimensions.iter().all(|(_, value)| !value.is_empty()) {
                wanted.push((series, Box::new(move |figures, value| *count(figures) = value)));
            }
        }
        for part in parts() {
            let name = part.name;
            let prefix = prefix(name);
            let of_part =
                move |figures: &mut Figures, put: &dyn Fn(&mut crate::model::figures::PartFigures)| {
                    put(figures.parts.entry(name.to_owned()).or_default());
                };
            for (metric, count) in PART_METRICS {
                let put = move |figures: &mut Figures, value| of_part(figures, &|part| *count(part) = value);
                wanted.push((own(&format!("{prefix}{metric}"), "Sum"), Box::new(put)));
            }
            let latency = format!("{prefix}Latency");
            wanted.push((
                own(&latency, "p50"),
                Box::new(move |f, value| of_part(f, &|p| p.p50_ms = Some(value))),
            ));
            wanted.push((
                own(&latency, "p99"),
                Box::new(move |f, value| of_part(f, &|p| p.p99_ms = Some(value))),
            ));
        }
        // CloudWatch may begin its periods at other times than `since`. Short ones add up to the span whatever it does;
        // a percentile is of one period.
        let (counts, times): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|(series, _)| series.statistic == "Sum");
        let of = |some: &[&(Series, Put)]| some.iter().map(|(series, _)| series.clone()).collect::<Vec<_>>();
        let (of_counts, of_times) = (of(&counts), of(&times));
        let since = now.before(span);
        let (summed, measured) = tokio::try_join!(
            self.series(&of_counts, since, now, SHORT),
            self.series(&of_times, since, now, span),
        )?;
        let mut figures =
            Figures { from: "metrics".to_owned(), parts: BTreeMap::new(), ..Figures::default() };
        for ((_, put), values) in counts.iter().zip(summed) {
            put(&mut figures, rounded(values.into_iter().map(|(_, value)| value).sum()));
        }
        for ((_, put), values) in times.iter().zip(measured) {
            if let Some(most) = values.into_iter().map(|(_, value)| value).reduce(f64::max) {
                put(&mut figures, rounded(most));
            }
        }
        Ok(figures)
    }
}

fn rounded(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

fn query(place: usize, series: &Series, period: Duration) -> MetricDataQuery {
    let dimensions =
        series.dimensions.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let metric = Metric::builder()
        .namespace(&series.namespace)
        .metric_name(&series.metric)
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let statistic =
        MetricStat::builder().metric(metric).period(period.as_secs() as i32).stat(&series.statistic).build();
    MetricDataQuery::builder().id(format!("m{place}")).metric_stat(statistic).build()
}
