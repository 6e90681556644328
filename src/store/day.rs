//! Days: what the store is partitioned by.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::{SignedDuration, ToSpan};

use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;
/// Bits of a row's number that count within its day; those above them are the day.
pub const ROW_BITS: u32 = 36;
/// A span begins at most this long before the bucket of its trace key, and this long after its end: readers look
/// into the days that lie so near.
const KEY_SLACK_SECONDS: i64 = BUCKET_SECONDS;

/// A day, counted from 1970-01-01 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub i32);

impl Day {
    /// The day that holds `at`.
    pub const fn of(at: UnixNanos) -> Self {
        // Nanoseconds reach 292 years either way, so the number is small.
        Self(at.seconds().div_euclid(DAY_SECONDS) as i32)
    }

    /// The day that keeps the traces with `key`.
    pub const fn of_key(key: TraceKey) -> Self {
        Self::of(key.bucket_start())
    }

    /// The day of `number`, the number of a row.
    pub const fn of_row(number: i64) -> Self {
        Self((number >> ROW_BITS) as i32)
    }

    /// The number, unique in the store, of row `id` of this day.
    pub const fn row(self, id: i64) -> i64 {
        (self.0 as i64) << ROW_BITS | id
    }

    /// The id of the row that has this number on its day.
    pub const fn id_of(number: i64) -> i64 {
        number & ((1 << ROW_BITS) - 1)
    }

    /// Its first instant; saturates.
    pub const fn start(self) -> UnixNanos {
        UnixNanos::from_seconds(self.start_seconds())
    }

    /// Its first second.
    pub const fn start_seconds(self) -> i64 {
        self.0 as i64 * DAY_SECONDS
    }

    /// The first instant of the next day; saturates.
    pub const fn end(self) -> UnixNanos {
        self.plus(1).start()
    }

    /// How far `at` is from its first instant, in nanoseconds; saturates.
    pub(super) const fn since(self, at: UnixNanos) -> i64 {
        at.0.saturating_sub(self.start().0)
    }

    /// The instant that lies `nanos` after its first one; saturates.
    pub(super) const fn after(self, nanos: i64) -> UnixNanos {
        UnixNanos(self.start().0.saturating_add(nanos))
    }

    /// The day `days` later.
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    fn date(self) -> Date {
        let epoch = date(1970, 1, 1);
        epoch.checked_add(i64::from(self.0).days()).unwrap_or(if self.0 < 0 { Date::MIN } else { Date::MAX })
    }
}

/// Eight digits, such as 20261128.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}{:02}{:02}", date.year(), date.month(), date.day())
    }
}

/// The day on which entry `id` of a dictionary counts as seen at `at`: that of `at`, or the next one. Each 64 entries, whose rows
/// lie side by side, have a midnight of their own, so that not all of them are written at once.
pub(super) fn seen_on(id: u32, at: UnixNanos) -> Day {
    // Fibonacci hashing: entries that follow each other get midnights far apart.
    let share = u64::from(id / 64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let seconds = share.wrapping_mul(DAY_SECONDS.unsigned_abs()) >> 32;
    Day::of(at.plus(Duration::from_secs(seconds)))
}

/// The days that rows of `window` lie in, both ends included.
pub(super) fn days_of(window: Window) -> (Day, Day) {
    // The window ends before its end, and an empty one has no row on any day.
    (Day::of(window.from), Day::of(UnixNanos(window.to.0.saturating_sub(1).max(window.from.0))))
}

/// The days that traces lie in whose spans begin within `window`.
pub(super) fn key_days_of(window: Window) -> (Day, Day) {
    let slack = SignedDuration::from_secs(KEY_SLACK_SECONDS * 2).unsigned_abs();
    let key = |at: UnixNanos| Day::of(UnixNanos(at.0.max(0)));
    (key(window.from.minus(slack)), key(window.to.plus(slack)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{TenantNumber, TraceId};

    #[test]
    fn days_have_names_and_ends() {
        let day = Day::of(UnixNanos::from_seconds(1_795_824_000));
        assert_eq!(day.to_string(), "20261128");
        assert_eq!(Day::of(day.start()), day);
        assert_eq!(Day::of(UnixNanos(day.end().0 - 1)), day);
        assert_eq!(Day::of(day.end()), day.plus(1));
        assert_eq!(Day::of(UnixNanos(-1)).to_string(), "19691231");
        assert_eq!(Day::of_row(day.row(7)), day);
        assert_eq!(Day::id_of(day.row(7)), 7);
        assert_eq!(Day::of_row(Day(-3).row(7)), Day(-3));
        assert_eq!(day.since(day.start()), 0);
        for at in [UnixNanos(i64::MAX), UnixNanos(day.start().0 - 1), day.end()] {
            assert_eq!(day.after(day.since(at)), at);
        }
    }

    #[test]
    fn entries_are_seen_on_the_day_or_the_next() {
        let day = Day(20_000);
        let (mut early, mut late) = (0, 0);
        for id in 0..64_000 {
            assert_eq!(seen_on(id, day.start()), day);
            let last = seen_on(id, UnixNanos(day.end().0 - 1));
            assert!(last == day || last == day.plus(1), "{id}");
            let noon = seen_on(id, day.start().plus(Duration::from_secs(43_200)));
            *(if noon == day { &mut early } else { &mut late }) += 1;
            assert_eq!(noon, seen_on(id / 64 * 64, day.start().plus(Duration::from_secs(43_200))));
        }
        assert!(early > 25_000 && late > 25_000, "{early} before noon, {late} after it");
        assert_eq!(seen_on(63, UnixNanos(day.end().0 - 1)), day);
    }

    #[test]
    fn keys_lie_on_the_day_of_their_bucket() {
        let trace = TraceId::try_from(&[7; 16][..]).unwrap();
        let day = Day(20_000);
        let key = TraceKey::new(day.start(), TenantNumber(1), trace);
        assert_eq!(Day::of_key(key), day);
        let before = TraceKey::new(UnixNanos(day.start().0 - 1), TenantNumber(1), trace);
        assert_eq!(Day::of_key(before), day.plus(-1));
    }

    #[test]
    fn windows_reach_the_days_of_their_keys() {
        let day = Day(20_000);
        let window = Window::new(day.start(), day.end());
        assert_eq!(days_of(window), (day, day));
        assert_eq!(key_days_of(window), (day.plus(-1), day.plus(1)));
        let always = Window::new(UnixNanos(i64::MIN), UnixNanos(i64::MAX));
        assert_eq!(key_days_of(always), (Day(0), Day::of(UnixNanos(i64::MAX))));
    }
}
