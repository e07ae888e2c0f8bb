//! ISO 8601 as senders write it. A text is one time as a whole, or it is none: never a part of it.
//!
//! Code of our own, since the parser of the crate `time` refuses a second of 60, 24:00, years, months and weeks alone,
//! and a colon before the zone; and what it refuses as a time, it still reads as the date that the time begins with.

use time::{Date, Duration, Month, OffsetDateTime, UtcOffset, Weekday};

const HOUR: u64 = 3_600_000_000_000;

/// Reads a date, in the basic or the extended format, with or without a time of day. Without a zone it is in UTC; what
/// is left out at the end is its first second. `None`: the text is no such time, or beyond the calendar.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let mut rest = Rest(text.as_bytes());
    let (date, is_extended) = rest.date()?;
    let (time, offset) = match rest.0 {
        [] => (Duration::ZERO, UtcOffset::UTC),
        [b'T' | b't' | b' ', ..] => {
            rest.0 = &rest.0[1..];
            (rest.time(is_extended)?, rest.zone()?)
        }
        _ => return None,
    };
    if !rest.0.is_empty() {
        return None;
    }
    date.midnight().assume_offset(offset).checked_add(time)?.checked_to_offset(UtcOffset::UTC)
}

/// What has not been read yet.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    /// `2026-06-06`, `2026-W23-6`, `2026-157`, or the same without dashes; a year, a month or a week where the text
    /// ends with it. Tells whether it was in the extended format, with dashes.
    fn date(&mut self) -> Option<(Date, bool)> {
        let year = self.number(4)? as i32;
        if self.0.is_empty() {
            return Some((Date::from_ordinal_date(year, 1).ok()?, true));
        }
        let is_extended = self.skip(b"-");
        let date = if self.skip(b"W") {
            let week = self.number(2)?;
            let day = if self.0.is_empty() { 1 } else { self.next(is_extended, b"-", 1)? };
            let weekday = Weekday::Monday.nth_next(day.checked_sub(1)? as u8);
            Date::from_iso_week_date(year, week as u8, weekday).ok().filter(|_| day <= 7)
        } else if self.digits() == 3 {
            Date::from_ordinal_date(year, self.number(3)? as u16).ok()
        } else {
            let month = Month::try_from(self.number(2)? as u8).ok()?;
            let day = if is_extended && self.0.is_empty() { 1 } else { self.next(is_extended, b"-", 2)? };
            Date::from_calendar_date(year, month, day as u8).ok()
        };
        Some((date?, is_extended))
    }

    /// `10:15:27.029`, or the same without colons; without seconds, or without minutes and seconds. The last part may
    /// have a fraction. 24:00 is the day's end, and a second of 60 the minute's.
    fn time(&mut self, is_extended: bool) -> Option<Duration> {
        let hour = self.number(2)?;
        let (mut unit, mut time) = (HOUR, u64::from(hour) * HOUR);
        for most in [59, 60] {
            let has_more = match self.0 {
                [b':', digit, ..] => digit.is_ascii_digit(),
                [digit, ..] => digit.is_ascii_digit(),
                [] => false,
            };
            if !has_more {
                break;
            }
            let part = self.next(is_extended, b":", 2).filter(|part| *part <= most)?;
            unit /= 60;
            time += u64::from(part) * unit;
        }
        if self.skip(b".") || self.skip(b",") {
            if self.digits() == 0 {
                return None;
            }
            while let Some(digit) = self.number(1) {
                unit /= 10;
                time += u64::from(digit) * unit;
            }
        }
        let is_of_a_day = hour < 24 || time == 24 * HOUR;
        is_of_a_day.then(|| Duration::nanoseconds(time as i64))
    }

    /// `Z`, `+02:00`, `+0200`, `+02`, ` +0200` and ` UTC` (as Ruby prints them, which Vero is written in), or nothing.
    fn zone(&mut self) -> Option<UtcOffset> {
        // An old Swift SDK writes `10:15:27.029:Z` (github.com/segmentio/analytics-swift, issue 75).
        if matches!(self.0, [b':', b'Z' | b'z', ..]) {
            self.skip(b":");
        }
        if self.0.is_empty() {
            return Some(UtcOffset::UTC);
        }
        self.skip(b" ");
        if self.skip(b"Z") || self.skip(b"z") || self.skip(b"UTC") {
            return Some(UtcOffset::UTC);
        }
        let sign = if self.skip(b"+") {
            1
        } else if self.skip(b"-") {
            -1
        } else {
            return None;
        };
        let hours = self.number(2).filter(|hours| *hours <= 23)?;
        let minutes = if self.0.is_empty() { 0 } else { self.next(self.0[0] == b':', b":", 2)? };
        let seconds = (hours * 60 + Some(minutes).filter(|minutes| *minutes <= 59)?) * 60;
        UtcOffset::from_whole_seconds(sign * seconds as i32).ok()
    }

    /// The next number; in the extended format it has this mark before it.
    fn next(&mut self, is_extended: bool, mark: &[u8], digits: usize) -> Option<u32> {
        if is_extended && !self.skip(mark) { None } else { self.number(digits) }
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = number.iter().all(u8::is_ascii_digit).then_some(rest)?;
        Some(number.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// How many digits come next.
    fn digits(&self) -> usize {
        self.0.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn skip(&mut self, word: &[u8]) -> bool {
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}
