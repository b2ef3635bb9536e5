//! Moments and spans of time, as people read them.

use std::time::{Duration, UNIX_EPOCH};

use humantime_serde::re::humantime::format_rfc3339_seconds;

/// The last moment that a date with a year of four digits can tell, in unix milliseconds.
const DATED_MS_MAX: u64 = 253_402_300_799_999;

/// A time span in its largest unit, rounded down.
pub(super) fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3600, "h"), (60, "m")];
    let seconds = ms / 1000;
    UNITS.into_iter().find(|(unit, _)| seconds >= *unit).map_or_else(
        || format!("{seconds}s"),
        |(unit, name)| format!("{}{name}", seconds / unit),
    )
}

/// A moment in unix milliseconds, as a date.
pub(super) fn date(ms: u64) -> String {
    let date = UNIX_EPOCH + Duration::from_millis(ms.min(DATED_MS_MAX));
    format_rfc3339_seconds(date).to_string()
}

/// The same, and as a span until now.
pub(super) fn moment(ms: u64, now_ms: u64) -> String {
    format!("{} ({} ago)", date(ms), span(now_ms.saturating_sub(ms)))
}

/// How long ago something was that happened at `noted_ms`, or later by `within_ms` at most.
pub(super) fn about(noted_ms: u64, within_ms: u64, now_ms: u64) -> String {
    let longest = now_ms.saturating_sub(noted_ms);
    let shortest = longest.saturating_sub(within_ms);
    let (shortest, longest) = (span(shortest), span(longest));
    match &*shortest {
        same if same == longest => format!("{longest} ago"),
        "0s" => format!("at most {longest} ago"),
        shortest => format!("{shortest} to {longest} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        assert_eq!(span(999), "0s");
        assert_eq!(span(61_000), "1m");
        assert_eq!(span(7_200_000), "2h");
        assert_eq!(span(172_800_000), "2d");
    }

    #[test]
    fn a_moment_is_told_as_a_date_and_as_a_span() {
        assert_eq!(moment(0, 61_000), "1970-01-01T00:00:00Z (1m ago)");
        assert!(moment(u64::MAX, 0).ends_with("(0s ago)"));
    }

    #[test]
    fn what_is_known_only_within_a_span_is_told_so() {
        assert_eq!(about(1_000_000, 90_000, 1_000_000), "0s ago");
        assert_eq!(about(1_000_000, 90_000, 1_012_000), "at most 12s ago");
        assert_eq!(about(1_000_000, 90_000, 1_205_000), "1m to 3m ago");
        assert_eq!(about(1_000_000, 90_000, 9_000_000), "2h ago");
        assert_eq!(about(1_000_000, 0, 1_205_000), "3m ago");
    }
}
