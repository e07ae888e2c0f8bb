//! The destinations that are on, a line each.

use relay_platform::aws::Aws;

use super::archive::Archive;
use super::runner::{Destination, DestinationRunner, Runner, Setup};
use super::segment::Segment;
use super::vero_track::VeroTrack;
use crate::config::Config;
use crate::start::StartError;

/// Starts the destinations that are on.
///
/// # Errors
/// If an HTTP client cannot be made.
pub fn runners(config: &Config, aws: &Aws) -> Result<Vec<Box<dyn Runner>>, StartError> {
    let runners =
        [start::<Segment>(config, aws)?, start::<VeroTrack>(config, aws)?, start::<Archive>(config, aws)?];
    Ok(runners.into_iter().flatten().collect())
}

fn start<D: Destination + 'static>(
    config: &Config,
    aws: &Aws,
) -> Result<Option<Box<dyn Runner>>, StartError> {
    let Some(destination) = config.destinations.get(D::ROW.name) else { return Ok(None) };
    let setup = Setup { address: &destination.address, naming: &config.naming, aws };
    let runner = DestinationRunner { destination: D::start(&setup)?, is_paused: destination.is_paused };
    Ok(Some(Box::new(runner)))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        ]);
        let config = Config::read(&environment).unwrap();
        let runners = runners(&config, &Aws::from_environment(&environment, crate::SQS)).unwrap();
        let names: Vec<&str> = runners.iter().map(|runner| runner.row().name).collect();
        assert_eq!(names, ALL.each_ref().map(|row| row.name));
    }
}
