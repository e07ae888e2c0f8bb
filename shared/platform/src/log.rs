//! Logs: one JSON object a line on standard output, with `timestamp` and `level` as Lambda's level filter wants
//! them (Lambda developer guide, "Log level filtering"; a line without a timestamp counts as INFO), and with the
//! `request_id` of the invocation.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Once;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::environment::Environment;
use crate::metrics;

/// The crates whose level `RUST_LOG` sets. Dependencies stay at WARN: at TRACE the Lambda runtime logs whole
/// events.
const OWN: [&str; 5] = ["ingest", "worker", "replay", "relay_core", "relay_platform"];

/// Where the Lambda runtime makes a span of each invocation, and the span's field with the request's id.
const INVOCATIONS: &str = "lambda_runtime::layers::trace";
const REQUEST_ID: &str = "requestId";

/// A field of an event whose value is a JSON object: the object's fields stand in the line as if they were the
/// event's own. Events themselves know no lists and no objects, which metrics need.
const JSON: &str = "json";

/// Starts logging. A level that cannot be read is INFO. Metrics are written at every level.
pub fn init(environment: &Environment) {
    static ONCE: Once = Once::new();
    let wanted: Targets =
        environment.get("RUST_LOG").and_then(|level| level.parse().ok()).unwrap_or_default();
    let filter = OWN.into_iter().fold(Targets::new().with_default(Level::WARN), |filter, own| {
        let level = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR]
            .into_iter()
            .find(|level| wanted.would_enable(own, level));
        filter.with_target(own, level.unwrap_or(Level::INFO))
    });
    let filter = filter.with_target(metrics::TARGET, Level::INFO).with_target(INVOCATIONS, Level::INFO);
    ONCE.call_once(|| {
        tracing_subscriber::registry().with(LogLines).with(filter).init();
        // The default hook prints the panic's message, which may quote the event.
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panicked");
        }));
    });
}

/// Writes events as lines.
struct LogLines;

/// What is remembered of the span of an invocation.
struct RequestId(String);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LogLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut request_id = None;
        attributes.record(&mut FindRequestId(&mut request_id));
        if let (Some(span), Some(request_id)) = (context.span(id), request_id) {
            span.extensions_mut().insert(RequestId(request_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut now = String::new();
        // Writing to a string cannot fail, nor can formatting a time of this age.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let mut line =
            LogLine(format!(r#"{{"timestamp":"{now}","level":"{}""#, event.metadata().level().as_str()));
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(RequestId(id)) = span.extensions().get() {
                line.put("request_id", id.as_str());
            }
        }
        line.0.push_str("}\n");
        // If the log cannot be written, there is no place to report that.
        let _ = std::io::stdout().lock().write_all(line.0.as_bytes());
    }
}

/// A JSON object under way.
struct LogLine(String);

impl LogLine {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, ",{}:{}", Value::from(name), value.into());
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        let fields = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match fields.filter(|_| field.name() == JSON) {
            Some("") => (),
            Some(fields) => {
                self.0.push(',');
                self.0.push_str(fields);
            }
            None => self.put(field.name(), value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

struct FindRequestId<'f>(&'f mut Option<String>);

impl Visit for FindRequestId<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == REQUEST_ID {
            *self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
