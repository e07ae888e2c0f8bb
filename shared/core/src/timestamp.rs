//! Points in time, as webhooks tell them and as destinations want them.

use std::time::SystemTime;

use serde_json::value::RawValue;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::macros::{datetime, format_description};
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::json;

const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const VERO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000");

/// From here on a bare number is taken for milliseconds: as seconds it would lie in the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;

/// Vero did not exist before; an earlier time is a unit mix-up or a sample.
const EARLIEST: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);

/// Clocks differ, time zones get lost: a webhook's own time may lie this far after its receipt.
const TOLERANCE: Duration = Duration::DAY;

/// A point in time in UTC, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// From the system's clock.
    pub fn from_system(time: SystemTime) -> Self {
        Timestamp(OffsetDateTime::from(time)).to_milliseconds()
    }

    /// Parses RFC 3339, the form of `received_at`.
    pub fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        time.checked_to_offset(UtcOffset::UTC).map(|time| Timestamp(time).to_milliseconds())
    }

    /// What a webhook says of its own time: unix seconds as number or text, milliseconds from 10¹¹ on, or
    /// ISO 8601 (without a zone: UTC). Source: Vero's samples, all of which have unix seconds.
    pub fn told_by(value: &RawValue) -> Option<Self> {
        let time = match json::kind(value) {
            json::Kind::Number => from_unix(value.get())?,
            json::Kind::Text => {
                let text = json::text(value)?;
                let text = text.trim();
                from_unix(text).or_else(|| from_iso(text))?
            }
            _ => return None,
        };
        Some(Timestamp(time).to_milliseconds())
    }

    /// Whether a webhook's own time can be true, given when the webhook was received.
    pub fn is_believable(self, received_at: Timestamp) -> bool {
        let latest = received_at.0.checked_add(TOLERANCE);
        self.0 >= EARLIEST && latest.is_none_or(|latest| self.0 <= latest)
    }

    /// This time by another clock: of two clocks that showed `there` and `here` at the same moment, this was told
    /// by the first. `None` beyond the calendar.
    pub fn by_clock(self, there: Timestamp, here: Timestamp) -> Option<Self> {
        self.0.checked_add(here.0 - there.0).map(Timestamp)
    }

    /// Whole seconds since an earlier time; 0 when the clocks disagree.
    pub fn seconds_since(self, earlier: Timestamp) -> u64 {
        (self.0 - earlier.0).whole_seconds().try_into().unwrap_or(0)
    }

    /// Milliseconds since an earlier time; 0 when the clocks disagree.
    pub fn milliseconds_since(self, earlier: Timestamp) -> u64 {
        (self.0 - earlier.0).whole_milliseconds().try_into().unwrap_or(0)
    }

    /// Milliseconds since 1970.
    pub fn milliseconds(self) -> i64 {
        (self.0.unix_timestamp_nanos() / 1_000_000) as i64
    }

    /// `2015-06-22T23:37:18.000Z`: Segment's form, and the envelope's.
    pub fn iso(self) -> String {
        // Formatting into a string fails only for years beyond the format's range, which `is_believable` and
        // the system clock exclude.
        self.0.format(MILLISECONDS).unwrap_or_default()
    }

    /// `2015-06-22T23:37:18+0000`: the form in Vero's Track API documentation.
    pub fn vero(self) -> String {
        self.0.format(VERO).unwrap_or_default()
    }

    fn to_milliseconds(self) -> Self {
        let millisecond = self.0.millisecond();
        Timestamp(self.0.replace_millisecond(millisecond).unwrap_or(self.0))
    }
}

fn from_unix(number: &str) -> Option<OffsetDateTime> {
    let number: f64 = number.parse().ok()?;
    let milliseconds = if number.abs() >= FIRST_MILLISECONDS { number } else { number * 1000.0 };
    // A NaN becomes 0, which nobody believes; what is beyond an i64 is beyond the calendar.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds as i64) * 1_000_000).ok()
}

fn from_iso(text: &str) -> Option<OffsetDateTime> {
    // Ruby, which Vero is written in, prints `2015-06-22 23:37:18 UTC` and `… +0000`.
    let text = text.to_ascii_uppercase().replacen(' ', "T", 1).replace(' ', "").replace("UTC", "Z");
    OffsetDateTime::parse(&text, &Iso8601::DEFAULT)
        .ok()
        .or_else(|| {
            PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).ok().map(PrimitiveDateTime::assume_utc)
        })
        .or_else(|| Date::parse(&text, &Iso8601::DEFAULT).ok().map(|date| date.midnight().assume_utc()))
        .and_then(|time| time.checked_to_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Option<String> {
        Timestamp::told_by(serde_json::from_str(json).unwrap()).map(Timestamp::iso)
    }

    #[test]
    fn every_form_of_a_webhook_time() {
        for (json, expected) in [
            ("1435016238", "2015-06-22T23:37:18.000Z"),
            ("1435016238.25", "2015-06-22T23:37:18.250Z"),
            ("1.435016238e9", "2015-06-22T23:37:18.000Z"),
            ("\" 1435016238 \"", "2015-06-22T23:37:18.000Z"),
            ("1435016238123", "2015-06-22T23:37:18.123Z"),
            ("\"1435016238123\"", "2015-06-22T23:37:18.123Z"),
            ("\"2015-06-22T23:37:18Z\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-22T23:37:18+0000\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-23T01:37:18.5+02:00\"", "2015-06-22T23:37:18.500Z"),
            ("\"2015-06-22T23:37:18.123456789Z\"", "2015-06-22T23:37:18.123Z"),
            ("\"2015-06-22 23:37:18\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-22 23:37:18 UTC\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-23 01:37:18 +0200\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-22t23:37:18z\"", "2015-06-22T23:37:18.000Z"),
            ("\"2015-06-22\"", "2015-06-22T00:00:00.000Z"),
        ] {
            assert_eq!(told(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for json in ["null", "true", "{}", "[1435016238]", "\"\"", "\"soon\"", "1e300", "\"inf\""] {
            assert_eq!(told(json), None, "{json}");
        }
    }

    #[test]
    fn belief_ends_before_2000_and_a_day_after_receipt() {
        let received = Timestamp::parse("2026-11-21T05:04:03.123Z").unwrap();
        let believed = |text| Timestamp::parse(text).unwrap().is_believable(received);
        assert!(believed("2000-01-01T00:00:00Z"));
        assert!(!believed("1999-12-31T23:59:59Z"));
        assert!(believed("2026-11-22T05:04:03.123Z"));
        assert!(!believed("2026-11-22T05:04:03.124Z"));
        let end_of_time = Timestamp::parse("9999-12-31T23:00:00Z").unwrap();
        assert!(received.is_believable(end_of_time));
    }

    #[test]
    fn a_clock_that_is_wrong_can_be_corrected() {
        let time = |text| Timestamp::parse(text).unwrap();
        let told = time("2026-11-21T05:00:00Z");
        let corrected = told.by_clock(time("2026-11-21T05:00:10Z"), time("2026-11-21T07:00:12.5Z"));
        assert_eq!(corrected, Some(time("2026-11-21T07:00:02.5Z")));
        assert_eq!(told.by_clock(time("0001-01-01T00:00:00Z"), time("9999-12-31T00:00:00Z")), None);
    }

    #[test]
    fn vero_wants_an_offset_without_colon() {
        assert_eq!(Timestamp::parse("2015-06-22T23:37:18.9Z").unwrap().vero(), "2015-06-22T23:37:18+0000");
    }
}
