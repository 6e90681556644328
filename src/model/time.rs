//! Instants and windows. Wall time only: nanoseconds since the Unix epoch, UTC.

use std::fmt;
use std::time::Duration;

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// An instant in nanoseconds since the Unix epoch; it fits a signed 64-bit column until the year 2262.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The instant `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// The start, in seconds, of the bucket of `width_seconds` that holds this instant.
    pub const fn bucket_seconds(self, width_seconds: i64) -> i64 {
        self.seconds().div_euclid(width_seconds) * width_seconds
    }

    /// This instant moved later; saturates.
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(clamp_nanos(by)))
    }

    /// This instant moved earlier; saturates.
    pub const fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(clamp_nanos(by)))
    }

    /// Time from `earlier` to this instant; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(if nanos < 0 { 0 } else { nanos.unsigned_abs() })
    }
}

const fn clamp_nanos(duration: Duration) -> i64 {
    let nanos = duration.as_nanos();
    if nanos > i64::MAX as u128 { i64::MAX } else { nanos as i64 }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// A half-open window of time: `from` is inside, `to` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First instant inside.
    pub from: UnixNanos,
    /// First instant after the window; never before `from`.
    pub to: UnixNanos,
}

impl Window {
    /// The window from `from` to `to`; empty at `from` when `to` is earlier.
    pub fn new(from: UnixNanos, to: UnixNanos) -> Self {
        Self { from, to: to.max(from) }
    }

    /// How long it lasts.
    pub const fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    /// True when `at` lies inside.
    pub fn contains(&self, at: UnixNanos) -> bool {
        self.from <= at && at < self.to
    }
}
