//! A share of users or messages, by a hash: the same one is always in or out, after any restart.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::event::RuledEvent;

/// How much is sent, as a bound on 64 bits of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Sample {
    bound: u128,
}

/// Of what a share is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleBy {
    /// All events of a user, or none.
    #[default]
    User,
    /// Each event on its own.
    Event,
}

impl TryFrom<Value> for Sample {
    type Error = &'static str;

    fn try_from(share: Value) -> Result<Self, &'static str> {
        Sample::try_from(share.as_f64().unwrap_or(f64::NAN))
    }
}

impl TryFrom<f64> for Sample {
    type Error = &'static str;

    fn try_from(share: f64) -> Result<Self, &'static str> {
        // 1 is all of them: the bound lies above the largest hash.
        const ALL: f64 = (1_u128 << u64::BITS) as f64;
        match share {
            0.0..=1.0 => Ok(Sample { bound: (share * ALL) as u128 }),
            _ => Err("no share, expected a number from 0 to 1, such as 0.2 for 20 %"),
        }
    }
}

impl Sample {
    pub fn has(self, by: SampleBy, event: RuledEvent<'_, '_>) -> bool {
        let (user, id) = (event.user(), event.envelope().id.as_str());
        match by {
            SampleBy::Event => self.has_key(id),
            // Who is known by an address alone has it in any case.
            SampleBy::User => match (&user.id, &user.email) {
                (Some(user_id), _) => self.has_key(user_id),
                (None, Some(email)) => self.has_key(&email.to_lowercase()),
                (None, None) => self.has_key(event.anonymous_id().as_deref().unwrap_or(id)),
            },
        }
    }

    pub fn has_key(self, key: &str) -> bool {
        let hash = Sha256::digest(key);
        let first = hash.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        u128::from(first) < self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(share: f64, users: u32) -> u32 {
        let sample = Sample::try_from(share).unwrap();
        (0..users).map(|user| u32::from(sample.has_key(&user.to_string()))).sum()
    }

    #[test]
    fn a_share_is_met_within_a_hundredth() {
        for (given, expected) in [(0.1, 10_000), (0.5, 50_000), (0.25, 25_000)] {
            assert!(share(given, 100_000).abs_diff(expected) <= 1_000, "{given}");
        }
        assert_eq!((share(0.0, 1_000), share(1.0, 1_000)), (0, 1_000));
    }

    #[test]
    fn the_same_user_is_always_in_or_out() {
        // Of the hash alone: no other machine and no later release may choose others.
        let tenth = Sample::try_from(0.1).unwrap();
        let chosen: Vec<u32> = (0..60).filter(|user| tenth.has_key(&user.to_string())).collect();
        let more = Sample::try_from(0.2).unwrap();
        assert!(
            chosen.iter().all(|user| more.has_key(&user.to_string())),
            "a larger share has the smaller one"
        );
        assert_eq!(chosen, [9, 39, 49, 51, 55]);
    }

    #[test]
    fn other_numbers_are_no_share() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Sample::try_from(share).is_err(), "{share}");
        }
    }
}
