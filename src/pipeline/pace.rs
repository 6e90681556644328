//! How much may wait, by how fast it is stored.
//!
//! A bound in bytes alone would be minutes of waiting on a slow machine: answers would stay behind for as long after the
//! load is gone, and what fails now would be seen last. So the queue holds no more than the store takes within a few
//! seconds, and refuses the rest while its senders can still choose what to send again.

use std::time::Duration;

/// How long what waits takes to be stored at most.
const STORED_WITHIN: Duration = Duration::from_secs(6);

/// Bytes that may wait however slow the store is.
const BYTES_MIN: usize = 32 << 20;

/// What part of the estimate the last commit makes.
const WEIGHT: f64 = 0.125;

/// How fast the store takes what waits; unknown until a commit was full.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes_per_second: Option<f64>,
}

impl Pace {
    /// A full commit of so many `bytes` took so long. A single one that waited for a store that was away changes little.
    pub(super) fn note(&mut self, bytes: usize, took: Duration) {
        let rate = bytes as f64 / took.as_secs_f64().max(0.001);
        let before = self.bytes_per_second.unwrap_or(rate);
        self.bytes_per_second = Some(before + (rate - before) * WEIGHT);
    }

    /// Bytes that may wait, of `bytes_max` at most.
    pub(super) fn bytes_max(&self, bytes_max: usize) -> usize {
        let Some(rate) = self.bytes_per_second else { return bytes_max };
        bytes_max.min(((rate * STORED_WITHIN.as_secs_f64()) as usize).max(BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_waits_is_stored_within_seconds_however_slow_the_store() {
        let mut pace = Pace::default();
        assert_eq!(pace.bytes_max(256 * MIB), 256 * MIB, "nothing is known");
        pace.note(20 * MIB, Duration::from_secs(1));
        assert_eq!(pace.bytes_max(256 * MIB), 120 * MIB);
        assert_eq!(pace.bytes_max(100 * MIB), 100 * MIB);
        pace.note(20 * MIB, Duration::from_secs(60));
        let after_one = pace.bytes_max(256 * MIB);
        assert!((100 * MIB..120 * MIB).contains(&after_one), "the store was away once: {after_one}");
        for _ in 0..60 {
            pace.note(20 * MIB, Duration::from_secs(60));
        }
        assert_eq!(pace.bytes_max(256 * MIB), BYTES_MIN, "some may always wait");
        for _ in 0..60 {
            pace.note(20 * MIB, Duration::from_millis(100));
        }
        assert_eq!(pace.bytes_max(256 * MIB), 256 * MIB);
    }
}
