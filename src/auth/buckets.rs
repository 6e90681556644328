//! How often somebody may: a bucket of tokens for each, that fills at a steady rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whom buckets are kept of, at most; beyond that, those that are full are forgotten, else all.
const BUCKETS_MAX: usize = 50_000;

/// The buckets of many.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// As it is `now`.
    fn filled(self, now: Instant, per_second: f64, burst: f64) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Self { tokens: (self.tokens + since * per_second).min(burst), at: now }
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// Buckets that begin with `burst` tokens and get `per_second` each second, up to `burst`.
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Takes a token of `whose`; else tells in how long there is one.
    pub(super) fn take(&self, whose: K) -> Result<(), Duration> {
        self.take_at(whose, Instant::now())
    }

    fn take_at(&self, whose: K, now: Instant) -> Result<(), Duration> {
        let (per_second, burst) = (self.per_second, self.burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&whose) {
            buckets.retain(|_, bucket| bucket.filled(now, per_second, burst).tokens < burst);
            if buckets.len() >= BUCKETS_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(whose).or_insert(Bucket { tokens: burst, at: now });
        *bucket = bucket.filled(now, per_second, burst);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_burst_and_fills_at_its_rate() {
        let buckets = Buckets::new(10.0, 5.0);
        let begin = Instant::now();
        let take = |whose, milliseconds| buckets.take_at(whose, begin + Duration::from_millis(milliseconds));
        for _ in 0..5 {
            assert_eq!(take("a", 0), Ok(()));
        }
        assert_eq!(take("a", 0), Err(Duration::from_millis(100)));
        assert_eq!(take("b", 0), Ok(()), "another's is its own");
        assert_eq!((take("a", 250), take("a", 250)), (Ok(()), Ok(())));
        assert_eq!(take("a", 250), Err(Duration::from_millis(50)));
        let later = (0..9).filter(|_| take("a", 3_600_000).is_ok()).count();
        assert_eq!(later, 5, "no more than a burst is saved");
    }

    #[test]
    fn strangers_without_number_take_no_memory_without_bound() {
        let buckets = Buckets::new(1.0, 1.0);
        for stranger in 0..3 * BUCKETS_MAX {
            assert_eq!(buckets.take(stranger), Ok(()));
            assert!(buckets.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        }
    }
}
