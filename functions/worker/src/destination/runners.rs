//! The destinations that are on, a line each.

use relay_core::destinations::owed_to;
use relay_platform::aws::Aws;

use super::archive::Archive;
use super::runner::{Destination, DestinationRunner, Runner, Setup};
use super::segment::Segment;
use super::vero_track::VeroTrack;
use super::webhook::Webhook;
use crate::config::Config;
use crate::start::StartError;

/// Starts the destinations that are on.
///
/// # Errors
/// If an HTTP client cannot be made.
pub fn runners(config: &Config, aws: &Aws) -> Result<Vec<Box<dyn Runner>>, StartError> {
    let runners = [
        start::<Segment>(config, aws)?,
        start::<VeroTrack>(config, aws)?,
        start::<Archive>(config, aws)?,
        start::<Webhook>(config, aws)?,
    ];
    Ok(runners.into_iter().flatten().collect())
}

/// Those of a row: one, or of endpoints as many as there are.
fn start<D: Destination + 'static>(config: &Config, aws: &Aws) -> Result<Vec<Box<dyn Runner>>, StartError> {
    let of_row = |name: &str| owed_to(name).is_some_and(|(row, _)| row.name == D::ROW.name);
    let on = config.destinations.iter().filter(|(name, _)| of_row(name));
    on.map(|(name, destination)| {
        let setup = Setup {
            name,
            address: &destination.address,
            reach: config.endpoint_reach,
            naming: &config.naming,
            aws,
        };
        let others = D::ROW.parts.iter().skip(1).map(|part| part.name);
        let runner = DestinationRunner {
            destination: D::start(&setup)?,
            names: std::iter::once(*name).chain(others).collect(),
            is_paused: destination.is_paused,
        };
        Ok(Box::new(runner) as Box<dyn Runner>)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use relay_core::destinations::ALL;
    use relay_platform::environment::Environment;

    #[test]
    fn every_row_of_the_table_has_its_destination() {
        let environment = Environment::of([
            ("QUEUE_URL", "http://127.0.0.1/1/q"),
            ("DEAD_LETTER_QUEUE_URL", "http://127.0.0.1/1/d"),
            ("SEGMENT_WRITE_KEY", "k"),
            ("VERO_AUTH_TOKEN", "t"),
            ("ARCHIVE_STREAM", "s"),
            ("WEBHOOK_ENDPOINTS", "crm, billing,crm"),
            ("WEBHOOK_ENDPOINT_SETTINGS", "{}"),
        ]);
        let config = Config::read(&environment).unwrap();
        let runners = runners(&config, &Aws::from_environment(&environment, crate::SQS)).unwrap();
        let names: Vec<&str> = runners.iter().flat_map(|runner| runner.names()).copied().collect();
        assert_eq!(
            names,
            ["segment", "vero_track", "vero_tags", "archive", "webhook:billing", "webhook:crm"]
        );
        let rows: BTreeSet<&str> = names.iter().map(|name| owed_to(name).unwrap().0.name).collect();
        assert_eq!(rows, ALL.iter().map(|row| row.name).collect());
    }
}
