//! Points in time, as webhooks tell them and as destinations want them.

mod iso8601;

use std::time::SystemTime;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{datetime, format_description};
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::json::{Json, Kind};

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

    /// What a sender says of an event's time: unix seconds as number or text, milliseconds from 10¹¹ on, or
    /// ISO 8601 (without a zone: UTC). A text is a time as a whole, or it is none. Source: Vero's samples, all of which
    /// have unix seconds, and what Segment's SDKs write.
    pub fn from_json(value: Json<'_>) -> Option<Self> {
        let time = match value.kind() {
            Kind::Number => from_unix(value.get())?,
            Kind::Text => {
                let text = value.as_str()?;
                let text = text.trim();
                // In this order: a text of 4, 7 or 8 digits is a date, as unix seconds it would lie in 1970.
                iso8601::parse(text).or_else(|| from_unix(text))?
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

    /// This time by another clock: of two clocks that showed `there` and `here` at the same moment, this was
    /// stated by the first. `None` beyond the calendar.
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

    /// So much later; no later than the calendar goes.
    pub fn later_by(self, time: std::time::Duration) -> Self {
        Timestamp(self.0.saturating_add(time.try_into().unwrap_or(Duration::MAX)))
    }

    /// So much earlier; no earlier than the calendar goes.
    pub fn earlier_by(self, time: std::time::Duration) -> Self {
        Timestamp(self.0.saturating_sub(time.try_into().unwrap_or(Duration::MAX)))
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
    // Rust reads `inf` and `nan`, too.
    if !number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let milliseconds = if number.abs() >= FIRST_MILLISECONDS { number } else { number * 1000.0 };
    // What is beyond an i64 is beyond the calendar.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds.round() as i64) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<String> {
        Timestamp::from_json(serde_json::from_str(json).unwrap()).map(Timestamp::iso)
    }

    #[test]
    fn unix_times() {
        for (json, expected) in [
            ("1435016238", "2015-06-22T23:37:18.000Z"),
            ("1435016238.25", "2015-06-22T23:37:18.250Z"),
            ("1435016238.123", "2015-06-22T23:37:18.123Z"),
            ("1091026279.883", "2004-07-28T14:51:19.883Z"),
            ("1.435016238e9", "2015-06-22T23:37:18.000Z"),
            ("\" 1435016238 \"", "2015-06-22T23:37:18.000Z"),
            ("\"1435016238.25\"", "2015-06-22T23:37:18.250Z"),
            ("1435016238123", "2015-06-22T23:37:18.123Z"),
            ("\"1435016238123\"", "2015-06-22T23:37:18.123Z"),
            // The last seconds, and the first milliseconds.
            ("99999999999", "5138-11-16T09:46:39.000Z"),
            ("100000000000", "1973-03-03T09:46:40.000Z"),
            ("-1435016238", "1924-07-12T00:22:42.000Z"),
            ("\"-1435016238\"", "1924-07-12T00:22:42.000Z"),
            // As a number these are seconds; as a text, below, they are a year and a day.
            ("2014", "1970-01-01T00:33:34.000Z"),
            ("20260606", "1970-08-23T11:56:46.000Z"),
        ] {
            assert_eq!(read(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn every_form_of_iso_8601() {
        for (text, expected) in [
            ("2026-06-06T10:15:27Z", "2026-06-06T10:15:27.000Z"),
            (" 2026-06-06T10:15:27Z\\n", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06t10:15:27z", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06T10:15:27", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06 10:15:27", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06 10:15:27Z", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06 10:15:27 UTC", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06 12:15:27 +0200", "2026-06-06T10:15:27.000Z"),
            ("20260606T101527Z", "2026-06-06T10:15:27.000Z"),
            ("20260606T101527.5+0200", "2026-06-06T08:15:27.500Z"),
            // Offsets: Vero's own form, none of minutes, of half an hour, and over a day's end.
            ("2026-06-06T10:15:27+0000", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06T10:15:27-00:00", "2026-06-06T10:15:27.000Z"),
            ("2026-06-06T10:15:27+02", "2026-06-06T08:15:27.000Z"),
            ("2026-06-06T10:15:27-0330", "2026-06-06T13:45:27.000Z"),
            ("2026-06-06T01:15:27+05:30", "2026-06-05T19:45:27.000Z"),
            ("2026-06-06T23:15:27-14:00", "2026-06-07T13:15:27.000Z"),
            ("2026-06-06T10:15:27+23:59", "2026-06-05T10:16:27.000Z"),
            // Fractions, of whatever comes last.
            ("2026-06-06T10:15:27.029Z", "2026-06-06T10:15:27.029Z"),
            ("2026-06-06T10:15:27,029Z", "2026-06-06T10:15:27.029Z"),
            ("2026-06-06T10:15:27.1Z", "2026-06-06T10:15:27.100Z"),
            ("2026-06-06T10:15:27.123456789+02:00", "2026-06-06T08:15:27.123Z"),
            ("2026-06-06T10:15:27.99999999999999999999Z", "2026-06-06T10:15:27.999Z"),
            ("2026-06-06T10:15.5Z", "2026-06-06T10:15:30.000Z"),
            ("2026-06-06T10,25Z", "2026-06-06T10:15:00.000Z"),
            // Old Swift SDK.
            ("2026-06-06T10:15:27.029:Z", "2026-06-06T10:15:27.029Z"),
            ("2026-06-06T10:15:27:z", "2026-06-06T10:15:27.000Z"),
            // Seconds and minutes left out.
            ("2026-06-06T10:15Z", "2026-06-06T10:15:00.000Z"),
            ("2026-06-06T10:15+02:00", "2026-06-06T08:15:00.000Z"),
            ("2026-06-06T10", "2026-06-06T10:00:00.000Z"),
            ("20260606T1015", "2026-06-06T10:15:00.000Z"),
            // The ends of a minute and of a day.
            ("2026-06-06T10:15:60.000Z", "2026-06-06T10:16:00.000Z"),
            ("2026-06-06T10:15:60Z", "2026-06-06T10:16:00.000Z"),
            ("2026-06-06T10:15:60.25+02:00", "2026-06-06T08:16:00.250Z"),
            ("20260606T101560Z", "2026-06-06T10:16:00.000Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("2026-06-06T23:59:60", "2026-06-07T00:00:00.000Z"),
            ("2026-06-06T24:00:00Z", "2026-06-07T00:00:00.000Z"),
            ("2026-12-31T24:00", "2027-01-01T00:00:00.000Z"),
            ("20260606T240000.000Z", "2026-06-07T00:00:00.000Z"),
            // Dates.
            ("2026-06-06", "2026-06-06T00:00:00.000Z"),
            ("20260606", "2026-06-06T00:00:00.000Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000Z"),
            ("2026-157", "2026-06-06T00:00:00.000Z"),
            ("2026157", "2026-06-06T00:00:00.000Z"),
            ("2024-366", "2024-12-31T00:00:00.000Z"),
            ("2026-W23-6", "2026-06-06T00:00:00.000Z"),
            ("2026W236", "2026-06-06T00:00:00.000Z"),
            ("2026-W01-1", "2025-12-29T00:00:00.000Z"),
            ("2026-157T10:15:27Z", "2026-06-06T10:15:27.000Z"),
            ("2026W236T101527Z", "2026-06-06T10:15:27.000Z"),
            ("2014", "2014-01-01T00:00:00.000Z"),
            ("2026-06", "2026-06-01T00:00:00.000Z"),
            ("2026-W23", "2026-06-01T00:00:00.000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(read(&format!("\"{text}\"")).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for json in ["null", "true", "{}", "[1435016238]", "\"\"", "\" \"", "1e300", "1e999999", "-1e300"] {
            assert_eq!(read(json), None, "{json}");
        }
        let huge = "9".repeat(400);
        let texts = [
            huge.as_str(),
            // Not a time at all.
            "soon|inf|nan|-inf|1e|--5|1.2.3|0x10|1_000|Z|T|T10:15:27Z|10:15:27",
            // Out of range.
            "2026-00-06|2026-13-06|2026-06-00|2026-06-31|2026-02-29|2026-000|2026-366|2026-W00-1|2026-W54-1",
            "2026-W23-0|2026-W23-8|2026-06-06T25:00:00Z|2026-06-06T24:00:01Z|2026-06-06T24:00:00.001Z",
            "2026-06-06T10:60:00Z|2026-06-06T10:15:61Z|2026-06-06T10:15:99Z|2026-06-06T10:15:27+24:00",
            "2026-06-06T10:15:27+99:00|2026-06-06T10:15:27+02:60|9999-12-31T23:59:59-01:00",
            "9999-12-31T24:00:00Z|9999-12-31T23:59:60Z",
            // Something is missing.
            "2026-06-06T|2026-06-06T1|2026-06-06T10:|2026-06-06T10:1|2026-06-06T10:15:|2026-06-06T10:15:2",
            "2026-06-06T10:15:27.|2026-06-06T10:15:27.Z|2026-06-06T10:15:27+|2026-06-06T10:15:27+2",
            "2026-06-06T10:15:27+02:|2026-06-06T10:15:27+02:0|2026-06-06T10:15:27:|2026-6-6|2026-06-6|2026-",
            "2026-W|2026-W2|2026-W23-|26-06-06|202-06-06|2026-06-",
            // Something is too much.
            "2026-06-06Z|2026-06-06+02:00|2026-06-06T10:15:27Zulu|2026-06-06T10:15:27Z+02:00|2026-06-06TT10:15:27Z",
            "2026-06-06T10:15:27 UTC+2|2026-06-06T10:15:27Z[UTC]|2026-06-06T10:15:27ZZ|2026-06-06T10:15:27::Z",
            "2026-06-06T10:15:27:+02:00|2026-06-06T10:15:27.029.1Z|2026-06-06T10:15:27:30Z|2026-06-06  10:15:27",
            "2026-06-06T10:15:27  UTC|2026-06-06T10:15:27+02:00:00|2026-06-06T10:15:27Z 1|2026-06-06T10:15:27 CEST",
            "2026-06-06, 10:15|2026-06-06T10:15:27Z\\u0000|2026-06-06T10:15:27−02:00|2026-06-06_10:15:27",
            "2026/06/06|06.06.2026|+002026-06-06T10:15:27Z|-2026-06-06",
            // A year, a month or a week has no time of day.
            "2014T10:15Z|2014Z|2026-06T10:15Z|2026-W23T10:15Z|2026 10:15",
            // Basic and extended mixed.
            "2026-06-06T101527Z|20260606T10:15:27Z|2026-06-06T10:1527Z|2026-0606|202606-06|2026W23-6|2026-W236",
        ];
        for text in texts.iter().flat_map(|texts| texts.split('|')) {
            assert_eq!(read(&format!("\"{text}\"")), None, "{text}");
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
        let stated = time("2026-11-21T05:00:00Z");
        let corrected = stated.by_clock(time("2026-11-21T05:00:10Z"), time("2026-11-21T07:00:12.5Z"));
        assert_eq!(corrected, Some(time("2026-11-21T07:00:02.5Z")));
        assert_eq!(stated.by_clock(time("0001-01-01T00:00:00Z"), time("9999-12-31T00:00:00Z")), None);
    }

    #[test]
    fn earlier_and_later_end_with_the_calendar() {
        let time = |text| Timestamp::parse(text).unwrap();
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(time("2026-02-28T05:00:00Z").later_by(day), time("2026-03-01T05:00:00Z"));
        assert_eq!(time("1970-01-01T05:00:00Z").earlier_by(day), time("1969-12-31T05:00:00Z"));
        assert!(
            time("9999-12-31T05:00:00Z").later_by(std::time::Duration::MAX).iso().starts_with("9999-12-31")
        );
    }

    #[test]
    fn an_age_is_0_when_the_clocks_disagree() {
        let time = |text| Timestamp::parse(text).unwrap();
        let earlier = time("2026-11-21T05:04:03.123Z");
        for (now, seconds, milliseconds) in [
            ("2026-11-21T05:04:03.123Z", 0, 0),
            ("2026-11-21T05:04:05.122Z", 1, 1_999),
            ("2026-11-22T05:04:03.123Z", 86_400, 86_400_000),
            ("2026-11-21T05:04:01.000Z", 0, 0),
        ] {
            let ages = (time(now).seconds_since(earlier), time(now).milliseconds_since(earlier));
            assert_eq!(ages, (seconds, milliseconds), "{now}");
        }
    }

    #[test]
    fn vero_wants_an_offset_without_colon() {
        assert_eq!(Timestamp::parse("2015-06-22T23:37:18.9Z").unwrap().vero(), "2015-06-22T23:37:18+0000");
    }
}
