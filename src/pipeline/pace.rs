//! How much may wait, by how fast it is stored.
//!
//! A bound in bytes alone would be half a minute of waiting on a slow machine: answers would stay behind for as long after
//! the load is gone, and what fails now would be seen last. So the queue holds no more items than the store takes within a
//! few seconds, and refuses the rest while its senders can still choose what to send again. Two commits were taken out of it
//! before: one that is stored, and one that is made.

use std::time::Duration;

/// How long what waits takes to be stored at most.
const STORED_WITHIN: Duration = Duration::from_secs(4);

/// Items that may wait however slow the store is.
const ITEMS_MIN: usize = 50_000;

/// How long a commit takes to be stored at most, where it can be smaller.
const COMMITTED_WITHIN: Duration = Duration::from_millis(1_500);

/// Items of a commit however slow the store is, and as long as nothing is known.
pub(super) const COMMIT_ITEMS_MIN: usize = 40_000;

/// What part of the estimate the last commit makes.
const WEIGHT: f64 = 0.125;

/// How fast the store takes what waits; unknown until a commit was full.
#[derive(Debug, Default)]
pub(super) struct Pace {
    items_per_second: Option<f64>,
}

impl Pace {
    /// A full commit of so many `items` took so long. A single one that waited for a store that was away changes little.
    pub(super) fn note(&mut self, items: usize, took: Duration) {
        let rate = items as f64 / took.as_secs_f64().max(0.001);
        let before = self.items_per_second.unwrap_or(rate);
        self.items_per_second = Some(before + (rate - before) * WEIGHT);
    }

    /// Items that may wait before another request is let in; any number where nothing is known.
    pub(super) fn items_max(&self) -> usize {
        let Some(rate) = self.items_per_second else { return usize::MAX };
        ((rate * STORED_WITHIN.as_secs_f64()) as usize).max(ITEMS_MIN)
    }

    /// Items that one commit may have.
    pub(super) fn commit_items(&self) -> usize {
        let rate = self.items_per_second.unwrap_or(0.0);
        ((rate * COMMITTED_WITHIN.as_secs_f64()) as usize).max(COMMIT_ITEMS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_stored_within_seconds_however_slow_the_store() {
        let mut pace = Pace::default();
        assert_eq!((pace.items_max(), pace.commit_items()), (usize::MAX, 40_000), "nothing is known");
        pace.note(20_000, Duration::from_secs(1));
        assert_eq!((pace.items_max(), pace.commit_items()), (80_000, 40_000));
        pace.note(20_000, Duration::from_secs(60));
        let after_one = pace.items_max();
        assert!((65_000..80_000).contains(&after_one), "the store was away once: {after_one}");
        for _ in 0..60 {
            pace.note(20_000, Duration::from_secs(60));
        }
        assert_eq!(pace.items_max(), ITEMS_MIN, "some may always wait");
        for _ in 0..60 {
            pace.note(20_000, Duration::from_millis(100));
        }
        assert!(pace.items_max() > 700_000 && pace.commit_items() > 250_000);
    }
}
