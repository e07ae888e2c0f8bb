//! Times and spans of time, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use relay_core::timestamp::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time; in JSON as `2026-11-21T05:04:03.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub Timestamp);

impl At {
    /// This moment.
    pub fn now() -> Self {
        At(Timestamp::from_system(SystemTime::now()))
    }

    /// By milliseconds since 1970.
    pub fn from_ms(milliseconds: i64) -> Self {
        let since = Duration::from_millis(milliseconds.max(0) as u64);
        At(Timestamp::from_system(SystemTime::UNIX_EPOCH + since))
    }

    /// Milliseconds since 1970.
    pub fn ms(self) -> i64 {
        self.0.milliseconds()
    }

    /// The time of day, for whoever counts down to it.
    pub fn clock(self) -> String {
        format!("{} UTC", self.0.iso().get(11..19).unwrap_or_default())
    }

    /// So long before.
    pub fn before(self, span: Duration) -> Self {
        At(self.0.earlier_by(span))
    }

    /// How long after `earlier` this is; zero if it is before it.
    pub fn since(self, earlier: At) -> Duration {
        Duration::from_millis(self.0.milliseconds_since(earlier.0))
    }

    /// When the event of this id was received: ids of `ingest` are UUIDs of version 7, which begin with a time.
    pub fn of_id(id: &str) -> Option<Self> {
        let hex: String = id.chars().filter(|c| *c != '-').collect();
        if hex.len() != 32 || hex.as_bytes()[12] != b'7' {
            return None;
        }
        i64::from_str_radix(&hex[..12], 16).ok().map(At::from_ms)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.iso())
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iso())
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).map(At).ok_or_else(|| serde::de::Error::custom("no RFC 3339 time"))
    }
}

/// A span such as `30m`, `2h` or `3d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write a number and s, m, h or d, such as 30m, 2h or 3d";
        let unit = text.chars().last().ok_or(FORM)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(FORM),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| FORM)?;
        if number > 10 * 366 * 86_400 / seconds {
            return Err("that is longer than anything is kept: ten years at most");
        }
        Ok(Span(Duration::from_secs(number * seconds)))
    }
}

/// A duration for people: the two largest units at most.
pub fn for_people(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => match seconds % 3_600 / 60 {
            0 => format!("{} h", seconds / 3_600),
            minutes => format!("{} h {minutes} min", seconds / 3_600),
        },
        _ => match seconds % 86_400 / 3_600 {
            0 => format!("{} d", seconds / 86_400),
            hours => format!("{} d {hours} h", seconds / 86_400),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs());
        assert_eq!((seconds("90s"), seconds("2h"), seconds("3d")), (Ok(90), Ok(7_200), Ok(259_200)));
        for wrong in ["", "5", "h", "-1h", "1.5h", "2 h", "1w", "é", "99999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_says_when_its_event_was_received() {
        let at = At::of_id("01935f3a-0000-7000-8000-000000000001").unwrap();
        assert_eq!(at.to_string(), "2024-11-24T17:30:56.896Z");
        for other in ["", "e1", "01935f3a-0000-4000-8000-000000000001", "éééé"] {
            assert_eq!(At::of_id(other), None, "{other}");
        }
    }

    #[test]
    fn durations_are_short() {
        let text = |seconds| for_people(Duration::from_secs(seconds));
        assert_eq!([text(0), text(59), text(3_599), text(3_600)], ["0 ms", "59 s", "59 min", "1 h"]);
        assert_eq!([text(5_000), text(90_000), text(172_800)], ["1 h 23 min", "1 d 1 h", "2 d"]);
    }
}
