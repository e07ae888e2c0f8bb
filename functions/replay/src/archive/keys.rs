//! The keys of the bucket's objects.

use std::time::Duration;

use object_store::path::Path;
use relay_core::envelope::{EventId, Source};
use relay_core::timestamp::Timestamp;

/// All rows of events are under this prefix.
pub const DATA: &str = "data/";

/// The prefix of the rows of a day of receipt and a source.
pub fn partition(day: &str, source: Source) -> String {
    format!("{DATA}day={day}/source={}/", source.as_str())
}

/// The object that marks a webhook of the log as settled: it is not to be sent any more.
pub fn mark(id: &EventId) -> Path {
    Path::from_iter(["requeued", id.as_str()])
}

/// The days of a range, in UTC, as they stand in keys. `to` is not part of the range.
pub fn days(from: Timestamp, to: Timestamp) -> impl Iterator<Item = String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let since_midnight = from.milliseconds().rem_euclid(DAY.as_millis() as i64);
    let midnight = from.earlier_by(Duration::from_millis(since_midnight.unsigned_abs()));
    let days = std::iter::successors(Some(midnight), |day| Some(day.later_by(DAY)));
    days.take_while(move |day| *day < to).map(|day| day.iso().chars().take(10).collect())
}

/// A key as a log may have it. Firehose, Athena and this function make the keys that are logged; any other may hold
/// somebody's text.
pub fn loggable_key(key: &str) -> &str {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=' | b'/');
    let is_known = [DATA, "athena/", "requeued/"].iter().any(|prefix| key.starts_with(prefix));
    if is_known && key.bytes().all(is_plain) { key } else { "(an object whose key is not shown)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_a_range() {
        let days = |from, to| {
            let time = |text| Timestamp::parse(text).unwrap();
            days(time(from), time(to)).collect::<Vec<_>>()
        };
        assert_eq!(days("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"), ["2026-11-20"]);
        assert_eq!(
            days("2026-02-28T23:59:59.999Z", "2026-03-01T00:00:00.001Z"),
            ["2026-02-28", "2026-03-01"]
        );
        assert_eq!(days("1969-12-31T12:00:00Z", "1970-01-01T00:00:00.001Z"), ["1969-12-31", "1970-01-01"]);
    }
}
