//! Moments as an agent writes them: relative to now, or RFC 3339.

use crate::fault::{Fault, echoed};

/// How far back a window reaches when the question does not say.
pub const LOOKBACK_DEFAULT_NS: i64 = 3_600 * SECOND_NS;

const SECOND_NS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Longest text looked at: the longest RFC 3339 moment with nanoseconds is 35 characters.
const TEXT_BYTES_MAX: usize = 64;
const VALID_FORMS: &str =
    "write it relative to now (`15m`, `-2h`, `7d`, `now`) or as RFC 3339 (`2026-11-20T09:30:00Z`)";

/// A moment in a question, known for certain once the clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeExpression {
    /// So many nanoseconds before now; zero is `now`.
    Ago {
        /// Never negative.
        duration_ns: i64,
    },
    /// A moment on the clock.
    At {
        /// Nanoseconds since 1970; never negative.
        unix_ns: i64,
    },
}

impl TimeExpression {
    /// The moment the question is asked.
    pub const NOW: Self = Self::Ago { duration_ns: 0 };

    /// Reads `now`, a stretch back from now (`15m`, `-2h`, `1h30m`, `7 days ago`, `last 24h`, `now-15m`), or
    /// an RFC 3339 moment with an offset, between 1970 and 2262.
    ///
    /// Errs with [`Fault::Invalid`] whose text shows the valid forms.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let trimmed = text.trim();
        if trimmed.len() <= TEXT_BYTES_MAX {
            let lower = trimmed.to_ascii_lowercase();
            if !names_months(trimmed)
                && let Some(duration_ns) = ago(&lower)
            {
                return Ok(Self::Ago { duration_ns });
            }
            if let Some(unix_ns) = rfc3339_to_ns(trimmed) {
                return Ok(Self::At { unix_ns });
            }
        }
        let hint = if names_months(trimmed) {
            "; `M` may mean months: write `m` for minutes, `30d` for a month"
        } else if trimmed.starts_with('+') {
            "; a moment in the future has no telemetry"
        } else if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            "; a bare number has no unit"
        } else if trimmed.get(4..5) == Some("-") {
            "; RFC 3339 needs date, time and offset"
        } else {
            ""
        };
        Err(Fault::invalid(format!("{} is not a time{hint}; {VALID_FORMS}", echoed(text))))
    }

    /// Returns the moment in nanoseconds since 1970, given the clock.
    ///
    /// Errs with [`Fault::Invalid`] when it lies before 1970.
    pub fn resolve(&self, now_unix_ns: i64) -> Result<i64, Fault> {
        match *self {
            Self::At { unix_ns } => Ok(unix_ns),
            Self::Ago { duration_ns } => now_unix_ns
                .checked_sub(duration_ns)
                .filter(|moment| 0 <= *moment)
                .ok_or_else(|| Fault::invalid(format!("a time reaches back before 1970; {VALID_FORMS}"))),
        }
    }
}

/// The stretch of time a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Where it begins; absent means one hour before `until`.
    pub since: Option<TimeExpression>,
    /// Where it ends.
    pub until: TimeExpression,
}

impl TimeRange {
    /// The last hour.
    pub const LAST_HOUR: Self = Self { since: None, until: TimeExpression::NOW };

    /// Returns the beginning and the end in nanoseconds since 1970, beginning first, given the clock.
    ///
    /// Errs with [`Fault::Invalid`] when the beginning is not before the end, or lies before 1970. An end in
    /// the future is let through: what is known there is the caller's to say.
    pub fn resolve(&self, now_unix_ns: i64) -> Result<(i64, i64), Fault> {
        let until = self.until.resolve(now_unix_ns)?;
        let since = match self.since {
            Some(since) => since.resolve(now_unix_ns)?,
            None => until.saturating_sub(LOOKBACK_DEFAULT_NS).max(0),
        };
        if until <= since {
            return Err(Fault::invalid(format!(
                "`since` ({}) is not before `until` ({}); relative times count back from now ({})",
                rfc3339(since),
                rfc3339(until),
                rfc3339(now_unix_ns),
            )));
        }
        Ok((since, until))
    }
}

/// Writes a moment as RFC 3339 in UTC, with milliseconds only where there are some.
pub fn rfc3339(unix_ns: i64) -> String {
    let seconds = unix_ns.div_euclid(SECOND_NS);
    let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
    let (second, milliseconds) = (seconds.rem_euclid(DAY_SECONDS), unix_ns.rem_euclid(SECOND_NS) / 1_000_000);
    let fraction = if milliseconds == 0 { String::new() } else { format!(".{milliseconds:03}") };
    let (hours, minutes, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{second:02}{fraction}Z")
}

/// True when a lone capital `M` is used as a unit, which half the world reads as months.
fn names_months(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
    (0..bytes.len())
        .any(|at| bytes[at] == b'M' && !is_letter(at.checked_sub(1)) && !is_letter(at.checked_add(1)))
}

/// Reads a stretch back from now out of lower-case text, or none when it is no such thing.
fn ago(text: &str) -> Option<i64> {
    if text == "now" {
        return Some(0);
    }
    let text = text.strip_prefix("now").map_or(Some(text), |rest| {
        let rest = rest.trim_start();
        rest.starts_with('-').then_some(rest)
    })?;
    let text = text.strip_prefix('-').or_else(|| text.strip_prefix("last ")).unwrap_or(text);
    let mut rest = text.strip_suffix(" ago").unwrap_or(text).trim();
    if rest.is_empty() {
        return None;
    }
    let mut total_ns = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        total_ns = total_ns.checked_add(amount.checked_mul(unit_ns(&rest[..letters])?)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(total_ns)
}

fn unit_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND_NS,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND_NS,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * SECOND_NS,
        "d" | "day" | "days" => DAY_SECONDS * SECOND_NS,
        "w" | "week" | "weeks" => 7 * DAY_SECONDS * SECOND_NS,
        _ => return None,
    })
}

/// Reads an RFC 3339 moment (section 5.6; a space may stand for the `T`), or none when it is no such thing or
/// lies outside 1970 to 2262. A leap second counts as the second after it.
fn rfc3339_to_ns(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let (year, month, day) = (number(&bytes[..4])?, number(&bytes[5..7])?, number(&bytes[8..10])?);
    let (hour, minute, second) = (number(&bytes[11..13])?, number(&bytes[14..16])?, number(&bytes[17..19])?);
    if 23 < hour || 59 < minute || 60 < second {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut fraction_ns = 0;
    if let [b'.', after @ ..] = rest {
        let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        fraction_ns = number(&after[..kept])? * 10_i64.pow(u32::try_from(9 - kept).ok()?);
        rest = &after[digits..];
    }
    let offset_minutes = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if 23 < hours || 59 < minutes {
                return None;
            }
            if *sign == b'-' { -(hours * 60 + minutes) } else { hours * 60 + minutes }
        }
        _ => return None,
    };
    let days = days_to(year, month, day)?;
    let seconds = days * DAY_SECONDS + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction_ns).filter(|moment| 0 <= *moment)
}

/// Reads up to nine decimal digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; none when there is no such date.
fn days_to(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The date so many days after 1970-01-01; the inverse of [`days_to`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{SECOND_NS, TimeExpression, TimeRange, date_of, days_to, rfc3339};

    const NOW: i64 = 1_763_650_000 * SECOND_NS;

    fn at(text: &str) -> i64 {
        TimeExpression::parse(text).unwrap().resolve(NOW).unwrap()
    }

    #[test]
    fn reads_stretches_back_from_now() {
        for (text, seconds) in [
            ("now", 0),
            ("15m", 900),
            ("-2h", 7_200),
            (" 7d ", 604_800),
            ("1w", 604_800),
            ("1h30m", 5_400),
            ("now-15m", 900),
            ("now - 15m", 900),
            ("90s", 90),
            ("2 hours ago", 7_200),
            ("last 24h", 86_400),
            ("15MIN", 900),
        ] {
            assert_eq!(at(text), NOW - seconds * SECOND_NS, "{text}");
        }
    }

    #[test]
    fn reads_rfc3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-20T09:30:00Z", 1_795_167_000 * SECOND_NS),
            ("2026-11-20t09:30:00z", 1_795_167_000 * SECOND_NS),
            ("2026-11-20 11:30:00+02:00", 1_795_167_000 * SECOND_NS),
            ("2026-11-20T00:00:00.5-09:30", 1_795_167_000 * SECOND_NS + SECOND_NS / 2),
            ("2024-02-29T00:00:00.123456789999Z", 1_709_164_800 * SECOND_NS + 123_456_789),
            ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND_NS),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_shows_the_valid_forms() {
        for text in [
            "",
            "yesterday",
            "1M",
            "15",
            "1763650000",
            "15x",
            "m15",
            "-",
            "now+5m",
            "+2h",
            "nowish",
            "1h-30m",
            "2026-11-20",
            "2026-11-20T09:30:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T09:30:00.Z",
            "2026-11-20T09:30:00+0200",
            "1969-12-31T23:59:59Z",
            "2300-01-01T00:00:00Z",
            "99999999999999999d",
            "last",
            "ago",
            "2026-11-20T09:30:00é",
        ] {
            let fault = TimeExpression::parse(text).unwrap_err().to_string();
            assert!(fault.contains("`15m`") && fault.contains("`2026-11-20T09:30:00Z`"), "{text}: {fault}");
        }
    }

    #[test]
    fn a_range_runs_forwards() {
        let range = |since: Option<&str>, until: &str| {
            TimeRange {
                since: since.map(|text| TimeExpression::parse(text).unwrap()),
                until: TimeExpression::parse(until).unwrap(),
            }
            .resolve(NOW)
        };
        assert_eq!(TimeRange::LAST_HOUR.resolve(NOW), Ok((NOW - 3_600 * SECOND_NS, NOW)));
        assert_eq!(range(Some("2h"), "1h"), Ok((NOW - 7_200 * SECOND_NS, NOW - 3_600 * SECOND_NS)));
        assert_eq!(
            range(None, "2020-01-01T12:00:00Z"),
            Ok((1_577_876_400 * SECOND_NS, 1_577_880_000 * SECOND_NS)),
            "the default counts from the end, not from now"
        );
        for (since, until) in [("1h", "2h"), ("now", "now"), ("15m", "2020-01-01T12:00:00Z")] {
            let fault = range(Some(since), until).unwrap_err().to_string();
            assert!(fault.contains("is not before `until`"), "{fault}");
        }
        assert!(range(Some("9999w"), "now").is_err(), "before 1970");
    }

    #[test]
    fn writes_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_800_123_456_789), "2024-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(milliseconds in 0_i64..9_000_000_000_000) {
            assert_eq!(at(&rfc3339(milliseconds * 1_000_000)), milliseconds * 1_000_000);
        }

        #[test]
        fn dates_and_days_agree(days in -200_000_i64..200_000) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), Some(days));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = TimeExpression::parse(&text);
        }
    }
}
