//! A wall clock that is not believed at once when it leaps ahead.
//!
//! What is old is given up for good, so one wrong answer of a time server, or of a machine that wakes up, must not make
//! everything old. Time that passed is known without the wall clock; what goes beyond it is believed once it has stood.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::model::time::UnixNanos;

/// How far the wall clock may be ahead of the time that passed without being doubted: summer time is no matter in UTC, and
/// clocks that are set right are set by seconds.
const LEAP_MIN: Duration = Duration::from_secs(3_600);
/// How long a leap must have stood to be believed.
const STANDS: Duration = Duration::from_secs(6 * 3_600);

/// What was believed last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Leaps {
    last: Option<(UnixNanos, Instant)>,
    /// Since when the wall clock is ahead.
    since: Option<Instant>,
}

impl Leaps {
    /// The time to judge ages by, when the wall clock says `wall`.
    pub(super) fn believed(&mut self, wall: UnixNanos, instant: Instant) -> UnixNanos {
        let known = self.last.map_or(wall, |(at, then)| at.plus(instant.saturating_duration_since(then)));
        let leaps = wall > known.plus(LEAP_MIN);
        let since = leaps.then(|| self.since.unwrap_or(instant));
        let stands = since.is_some_and(|since| instant.saturating_duration_since(since) >= STANDS);
        if leaps && self.since.is_none() {
            let seconds = wall.since(known).as_secs();
            warn!(
                seconds,
                "the clock leapt ahead; what that makes old is given up once it has stood for six hours"
            );
        }
        let believed = if leaps && !stands { known } else { wall };
        self.since = since.filter(|_| !stands);
        self.last = Some((believed, instant));
        believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    #[test]
    fn a_leap_is_believed_once_it_has_stood() {
        let (begin, mut leaps) = (Instant::now(), Leaps::default());
        let mut told = |passed: u64, wall: i64| {
            leaps.believed(UnixNanos::from_seconds(wall), begin + Duration::from_secs(passed)).seconds()
        };
        assert_eq!(told(0, 1_000_000), 1_000_000);
        assert_eq!(told(60, 1_000_062), 1_000_062, "as much as clocks are set by");
        let ahead = 9 * 86_400;
        assert_eq!(told(120, 1_000_120 + ahead), 1_000_122);
        assert_eq!(told(180, 1_000_180), 1_000_180, "it was set right again");
        assert_eq!(told(240, 1_000_240 + ahead), 1_000_240);
        assert_eq!(told(5 * HOUR, 1_000_000 + ahead + 5 * 3_600), 1_000_000 + 5 * 3_600);
        assert_eq!(told(7 * HOUR, 1_000_000 + ahead + 7 * 3_600), 1_000_000 + ahead + 7 * 3_600);
        assert_eq!(told(8 * HOUR, 900_000), 900_000, "what goes back makes nothing old");
    }
}
