//! Logs: one JSON object a line on standard output, with `timestamp` and `level` as Lambda's level filter wants
//! them (Lambda developer guide, "Log level filtering"; a line without a timestamp counts as INFO).

use std::sync::Once;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::environment::Environment;

/// The crates whose level `RUST_LOG` sets. Dependencies stay at WARN: at TRACE the Lambda runtime logs whole
/// events.
const OWN: [&str; 4] = ["ingest", "worker", "relay_core", "relay_platform"];

/// Starts logging. A level that cannot be read is INFO.
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
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false);
    ONCE.call_once(|| {
        tracing_subscriber::registry().with(lines).with(filter).init();
        // The default hook prints the panic's message, which may quote the event.
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panicked");
        }));
    });
}
