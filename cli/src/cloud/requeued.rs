//! Which webhooks of the log were queued by hand, as a note in SSM; for stacks without an archive, where no function
//! marks them.

use serde::{Deserialize, Serialize};

use super::Cloud;
use crate::error::Error;
use crate::model::state::Stack;
use crate::model::time::At;

/// So many ranges are kept, the latest.
const MOST: usize = 50;

/// The times whose lines were looked at, each from one time up to but not with another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requeued(Vec<(At, At)>);

impl Requeued {
    /// Whether lines of this time were queued.
    pub fn has(&self, at: At) -> bool {
        self.0.iter().any(|(from, until)| (*from..*until).contains(&at))
    }

    /// With the lines from a time up to another.
    #[must_use]
    pub fn with(mut self, from: At, until: At) -> Self {
        self.0.push((from, until));
        self.0.sort();
        let mut ranges: Vec<(At, At)> = Vec::new();
        for (from, until) in self.0 {
            match ranges.last_mut().filter(|(_, last)| from <= *last) {
                Some((_, last)) => *last = (*last).max(until),
                None => ranges.push((from, until)),
            }
        }
        Requeued(ranges.split_off(ranges.len().saturating_sub(MOST)))
    }
}

fn name(stack: &Stack) -> String {
    format!("/{}/requeued", stack.name)
}

impl Cloud {
    /// What was queued by hand so far.
    ///
    /// # Errors
    /// If SSM does not answer, or has something else there.
    pub async fn requeued(&self, stack: &Stack) -> Result<Requeued, Error> {
        match self.read_secret(&name(stack)).await {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Error::Refused(format!("{} in SSM is no note of relay's: {error}", name(stack)))
            }),
            Err(error) if error.code() == "ParameterNotFound" => Ok(Requeued::default()),
            Err(error) => Err(error),
        }
    }

    /// Notes what is queued now.
    ///
    /// # Errors
    /// If SSM does not take it.
    pub async fn note_requeued(&self, stack: &Stack, requeued: &Requeued) -> Result<(), Error> {
        let text =
            serde_json::to_string(requeued).map_err(|error| Error::Io("JSON".to_owned(), error.into()))?;
        self.store_text(&name(stack), &text).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> At {
        At::from_ms(minute * 60_000)
    }

    #[test]
    fn what_was_never_looked_at_is_not_queued() {
        let requeued = Requeued::default().with(at(50), at(60));
        assert_eq!([49, 50, 59, 60].map(|minute| requeued.has(at(minute))), [false, true, true, false]);
        // A longer look back finds the rest.
        let requeued = requeued.with(at(80), at(90)).with(at(10), at(55));
        assert_eq!(requeued, Requeued(vec![(at(10), at(60)), (at(80), at(90))]));
        assert_eq!(requeued.with(at(0), at(100)), Requeued(vec![(at(0), at(100))]));
    }

    #[test]
    fn the_note_stays_small() {
        let many = (0..100).fold(Requeued::default(), |all, n| all.with(at(10 * n), at(10 * n + 1)));
        assert!(many.has(at(990)) && !many.has(at(0)));
        assert!(serde_json::to_string(&many).unwrap().len() < 4_000);
    }
}
