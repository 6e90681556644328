//! Moments and stretches of time as people write them, and moments as answers show them.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::time::UnixNanos;

/// What a moment may look like, for refusals and for the document.
pub(super) const MOMENT_FORMS: &str = "write it as RFC 3339 (`2026-11-20T09:30:00Z`), or as a stretch back from now (`15m`, `2h`, `7d`), or `now`";
/// What a stretch may look like.
pub(super) const STRETCH_FORMS: &str =
    "write a number with a unit (`250ms`, `1.5s`, `2m`); a bare number counts milliseconds";
/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// Reads a moment: RFC 3339 with an offset, or a stretch back from `now`. None where it is neither, or lies outside
/// 1970 to 2262.
pub(super) fn moment(text: &str, now: UnixNanos) -> Option<UnixNanos> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    if text == "now" {
        return Some(now);
    }
    let back = text.strip_prefix("now-").or_else(|| text.strip_prefix('-')).unwrap_or(text);
    let found = match stretch(back) {
        Some(back) => now.minus(back),
        None => {
            // The plus of an offset means a space in a query string where it is not escaped.
            let at: Timestamp = text.replace(' ', "+").parse().ok()?;
            UnixNanos(i64::try_from(at.as_nanosecond()).ok()?)
        }
    };
    (found.0 >= 0).then_some(found)
}

/// Reads a stretch of time: numbers with units, such as `1h30m`. None where it is no such thing.
pub(super) fn stretch(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() || rest.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut total_ns = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total_ns += amount * unit_ns(&rest[..letters])?;
        rest = &rest[letters..];
    }
    // 2^63: what does not fit is no stretch that anything was measured over.
    (total_ns < 9_223_372_036_854_775_808.0).then(|| Duration::from_nanos(total_ns.round() as u64))
}

/// As [`stretch`]; a bare number counts milliseconds, as answers do.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let is_bare = text.ends_with(|c: char| c.is_ascii_digit());
    if is_bare { stretch(&format!("{text}ms")) } else { stretch(text) }
}

fn unit_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        "d" => 86_400e9,
        "w" => 604_800e9,
        _ => return None,
    })
}

/// Writes a moment as RFC 3339 in UTC with all nine digits of its nanoseconds.
pub(super) fn rfc3339(at: UnixNanos) -> String {
    // Every instant of 64 bits lies within the years that a timestamp covers.
    Timestamp::from_nanosecond(at.0.into()).map_or_else(|_| String::new(), |at| format!("{at:.9}"))
}

/// Nanoseconds as milliseconds, exact below 104 days.
pub(super) fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_763_650_000);

    #[test]
    fn moments_are_read_as_people_write_them() {
        let ago = |seconds: u64| Some(NOW.minus(Duration::from_secs(seconds)));
        for (text, wanted) in [
            ("now", ago(0)),
            ("15m", ago(900)),
            ("-2h", ago(7_200)),
            ("now-90s", ago(90)),
            ("7d", ago(604_800)),
            ("1h30m", ago(5_400)),
            ("2026-11-20T09:30:00Z", Some(UnixNanos::from_seconds(1_795_167_000))),
            ("2026-11-20T11:30:00+02:00", Some(UnixNanos::from_seconds(1_795_167_000))),
            ("2026-11-20T11:30:00 02:00", Some(UnixNanos::from_seconds(1_795_167_000))),
            ("1970-01-01T00:00:00.000000001Z", Some(UnixNanos(1))),
        ] {
            assert_eq!(moment(text, NOW), wanted, "{text}");
        }
        for text in ["", "15", "yesterday", "1M", "m", "1x", "-", "2026-11-20", "1969-12-31T23:59:59Z", "é"]
        {
            assert_eq!(moment(text, NOW), None, "{text}");
        }
        assert_eq!(moment("9999w", NOW), None, "before 1970");
    }

    #[test]
    fn a_bare_duration_counts_milliseconds() {
        assert_eq!(duration("250"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for text in ["", "-1", "1.5.2s", "s", "1e9s", "99999999999999999999w"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in 0..i64::MAX) {
            prop_assert_eq!(moment(&rfc3339(UnixNanos(nanos)), NOW), Some(UnixNanos(nanos)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = (moment(&text, NOW), duration(&text));
        }
    }
}
