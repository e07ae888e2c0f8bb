//! What the functions write: metrics, and webhooks that only the log holds.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::heap::outside;
use crate::state::{EPOCH, Simulation};

/// Reads along on this thread, until the guard is dropped.
pub fn read_along(simulation: &Arc<Simulation>) -> tracing::subscriber::DefaultGuard {
    let filter = Targets::new().with_target("metrics", Level::INFO).with_target("ingest", Level::ERROR);
    tracing_subscriber::registry().with(Reader(Arc::clone(simulation)).with_filter(filter)).set_default()
}

struct Reader(Arc<Simulation>);

impl<S: Subscriber> Layer<S> for Reader {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        outside(|| self.read(event));
    }
}

impl Reader {
    fn read(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut state = self.0.lock();
        if line.message == "unqueued_webhook" {
            let now = EPOCH + state.now;
            let text = json!({
                "message": line.message, "id": line.id, "part": line.part, "parts": line.parts,
                "envelope": line.envelope,
            });
            state.aws.log(text.to_string(), now);
            state.ledger.logged.insert(line.id);
        }
        let metrics: Value = serde_json::from_str(&line.json).unwrap_or_default();
        for (name, value) in metrics.as_object().into_iter().flatten() {
            if let Some(count) = value.as_u64() {
                *state.ledger.metrics.entry(name.clone()).or_default() += count;
            }
        }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    id: String,
    json: String,
    envelope: String,
    part: u64,
    parts: u64,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "json" => value.clone_into(&mut self.json),
            "envelope" => value.clone_into(&mut self.envelope),
            _ => (),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "part" => self.part = value,
            "parts" => self.parts = value,
            _ => (),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "id" => self.id = format!("{value:?}"),
            _ => (),
        }
    }
}
