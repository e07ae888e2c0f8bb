//! The command line of `cargo local`.

use anyhow::{Context, Result, bail};

use crate::stack::Settings;

/// What `--help` says.
pub const HELP: &str = "\
The whole product on this machine: template.yaml deployed to a local stand-in for AWS, with stand-ins for
Segment and Vero. Posts every sample of events/ and prints what arrives, then stays up until Ctrl-C.

Usage: cargo local [OPTIONS]

  --once                      end after the samples: 0 when all arrived where they should, else 1
  --replay                    the same, and then the archive: queries, a destination that loses all, and a replay
  --no-samples                post nothing, only stay up
  --port PORT                 the port to post to (default: 4580, or any when that is taken)
  --segment-write-key KEY     send to Segment itself
  --segment-endpoint URL      its base URL, for the EU https://events.eu1.segmentapis.com
  --vero-auth-token TOKEN     send to Vero itself
  --help                      print this
";

/// The command line, read.
#[derive(Debug, Default)]
pub struct Options {
    /// End after the samples.
    pub once: bool,
    /// Rehearse a replay after the samples, and end.
    pub replay: bool,
    /// Post no samples.
    pub no_samples: bool,
    /// Print [`HELP`] and end.
    pub help: bool,
    /// What to deploy.
    pub settings: Settings,
}

impl Options {
    /// Reads the arguments. Real keys come from nowhere else: one that lies about in the environment must not
    /// send samples to somebody's production.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        let settings = &mut options.settings;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || {
                inline.clone().or_else(|| arguments.next()).with_context(|| format!("{name} needs a value"))
            };
            match name {
                "--once" => options.once = true,
                "--replay" => options.replay = true,
                "--no-samples" => options.no_samples = true,
                "--help" | "-h" => options.help = true,
                "--port" => {
                    let port = value()?;
                    settings.port = Some(
                        port.parse().with_context(|| format!("--port {port}: not a port (1 to 65535)"))?,
                    );
                }
                "--segment-write-key" => settings.segment_write_key = Some(value()?),
                "--segment-endpoint" => settings.segment_endpoint = Some(value()?),
                "--vero-auth-token" => settings.vero_auth_token = Some(value()?),
                _ => bail!("unknown option {argument}\n\n{HELP}"),
            }
        }
        if settings.segment_endpoint.is_some() && settings.segment_write_key.is_none() {
            bail!("--segment-endpoint is for a real write key; give --segment-write-key too");
        }
        if options.replay && (options.no_samples || settings.segment_write_key.is_some()) {
            bail!(
                "--replay replays the samples to the stand-in of Segment: leave out --no-samples and real keys"
            );
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options> {
        Options::read(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn values_in_both_forms() {
        let options = read(&["--once", "--port=4600", "--vero-auth-token", "given"]).unwrap();
        assert!(options.once && options.settings.port == Some(4600));
        assert_eq!(options.settings.vero_auth_token.as_deref(), Some("given"));
        assert_eq!(options.settings.segment_write_key, None);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |arguments: &[&str]| read(arguments).unwrap_err().to_string();
        assert!(message(&["--onec"]).contains("--onec"));
        assert!(message(&["--port"]).contains("--port needs a value"));
        assert!(message(&["--port", "x"]).contains("--port x"));
        assert!(message(&["--segment-endpoint", "https://x"]).contains("--segment-write-key"));
        assert!(message(&["--replay", "--no-samples"]).contains("--no-samples"));
    }
}
