//! The command line of `cargo local`.

use clap::Parser;

use crate::stack::Settings;

/// The whole product on this machine: template.yaml deployed to a local stand-in for AWS, with stand-ins for Segment and
/// Vero. Posts every sample of events/ and prints what arrives, then stays up until Ctrl-C.
// Real keys come from these options and from nowhere else: a key in the environment must not send samples to
// somebody's production.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo local")]
pub struct Options {
    /// End after the samples: 0 when all arrived where they should, else 1
    #[arg(long)]
    pub once: bool,
    /// The same, and then the archive: queries, a destination that loses all, and a replay
    #[arg(long, conflicts_with_all = ["no_samples", "segment_write_key"])]
    pub replay: bool,
    /// Post nothing, only stay up
    #[arg(long)]
    pub no_samples: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["cargo local"].iter().chain(arguments))
    }

    #[test]
    fn values_in_both_forms() {
        Options::command().debug_assert();
        let options = read(&["--once", "--port=4600", "--vero-auth-token", "given"]).unwrap();
        assert!(options.once && options.settings.port == Some(4600));
        assert_eq!(options.settings.vero_auth_token.as_deref(), Some("given"));
        assert_eq!(options.settings.segment_write_key, None);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |arguments: &[&str]| read(arguments).unwrap_err().to_string();
        assert!(message(&["--onec"]).contains("--onec"));
        assert!(message(&["--port"]).contains("--port <PORT>"));
        assert!(message(&["--port", "x"]).contains("'x' for '--port <PORT>'"));
        assert!(message(&["--segment-endpoint", "https://x"]).contains("--segment-write-key"));
        assert!(message(&["--replay", "--no-samples"]).contains("--no-samples"));
        assert!(message(&["--replay", "--segment-write-key", "key"]).contains("--segment-write-key"));
    }
}
