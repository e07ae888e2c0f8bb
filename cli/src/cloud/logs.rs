//! CloudWatch Logs: what the functions write.

use aws_sdk_cloudwatchlogs::Client;

use super::Cloud;
use crate::error::Error;
use crate::model::log_line::LogLine;
use crate::model::time::At;

/// So many pages at most: each has up to 1 MB, and CloudWatch looks through a range of the log for each.
const PAGES: usize = 2_000;

/// A function's log group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    Ingest,
    Worker,
    Replay,
}

impl Group {
    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Group::Ingest => "ingest",
            Group::Worker => "worker",
            Group::Replay => "replay",
        }
    }
}

impl Cloud {
    /// The lines of a function's log since a time, in their order; `field` is a field and the text that it must have.
    ///
    /// # Errors
    /// If CloudWatch does not answer. A log group that is not there has no lines.
    pub async fn log_lines(
        &self,
        group: Group,
        since: At,
        field: Option<(&str, &str)>,
    ) -> Result<Vec<LogLine>, Error> {
        let client = Client::new(&self.config);
        let pattern = field.map(|(name, text)| format!("{{ $.{name} = \"{text}\" }}"));
        let (mut lines, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let call = client
                .filter_log_events()
                .log_group_name(format!("/aws/lambda/{}-{}", self.stack, group.name()))
                .start_time(since.ms())
                .set_filter_pattern(pattern.clone())
                .set_next_token(token.take());
            let page = match call.send().await.map_err(Error::aws("Logs FilterLogEvents")) {
                Err(error) if error.code() == "ResourceNotFoundException" => break,
                page => page?,
            };
            lines.extend(page.events().iter().filter_map(|event| {
                LogLine::read(group.name(), At::from_ms(event.timestamp()?), event.message()?)
            }));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        if token.is_some() {
            // Half a log would be taken for the whole.
            return Err(Error::Refused(format!(
                "the log of {} since {since} is too long to be read: ask for a shorter time",
                group.name()
            )));
        }
        // A stand-in may not know every pattern.
        lines.retain(|line| field.is_none_or(|(name, text)| line.fields[name] == text));
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }
}
