//! The key that finds a trace: an integer that is local in time.
//!
//! Trace ids are random, and a random index is the largest cost of a span store, one that grows with the table.
//! The key's upper bits are the coarse time of the trace's first-seen span, so that new keys go to the end of
//! the index; the lower 40 bits are a hash of the tenant and the trace id. Two traces may share a key; readers
//! compare the id.
//!
//! The log records of a trace are found by a [`LogKey`], which is as local as the minute of the record's own time.

use super::id::{TenantNumber, TraceId};
use super::time::{NANOS_PER_SECOND, UnixNanos, Window};

/// Seconds that share the upper bits.
pub const BUCKET_SECONDS: i64 = 3_600;
/// Bits of a key that are a hash; the bits above them number the bucket.
pub const HASH_BITS: u32 = 40;

/// The key of a trace; ordered by the time the trace was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceKey(pub i64);

impl TraceKey {
    /// The key of a trace whose first-seen span starts at `at`.
    pub fn new(at: UnixNanos, tenant: TenantNumber, trace: TraceId) -> Self {
        Self::in_bucket(bucket_of(at), tenant, trace)
    }

    /// Every key the trace can have if it was first seen within `window`, earliest first.
    pub fn candidates(window: Window, tenant: TenantNumber, trace: TraceId) -> impl Iterator<Item = Self> {
        (bucket_of(window.from)..=bucket_of(window.to))
            .map(move |bucket| Self::in_bucket(bucket, tenant, trace))
    }

    /// Its hash: the same for all keys that a trace can have.
    pub const fn hash(self) -> i64 {
        self.0 & ((1 << HASH_BITS) - 1)
    }

    /// The hash of a trace, which [`TraceKey::hash`] tells of its keys.
    pub fn hash_of(tenant: TenantNumber, trace: TraceId) -> i64 {
        Self::in_bucket(0, tenant, trace).hash()
    }

    /// The first instant of the time that the upper bits stand for.
    pub const fn bucket_start(self) -> UnixNanos {
        UnixNanos::from_seconds((self.0 >> HASH_BITS) * BUCKET_SECONDS)
    }

    fn in_bucket(bucket: i64, tenant: TenantNumber, trace: TraceId) -> Self {
        let bytes = trace.as_bytes();
        let half =
            |from: usize| bytes[from..from + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let mixed = mix(half(0) ^ mix(half(8) ^ mix(u64::from(tenant.0))));
        Self(bucket << HASH_BITS | (mixed >> (64 - HASH_BITS)) as i64)
    }
}

/// Seconds of log records whose keys share the upper bits.
const LOG_BUCKET_SECONDS: i64 = 60;
/// So many such buckets make a day.
const LOG_BUCKETS: i64 = 24 * 3_600 / LOG_BUCKET_SECONDS;

/// The key that finds the log records of a trace in the tables of a day: above the hash the minute of that day.
///
/// Records are many and are nearly always looked for within the time of their trace, so their keys are more local than those
/// of traces: each commit touches the pages of its own minute alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogKey(pub i64);

impl LogKey {
    /// The key of a record of this time.
    pub fn new(at: UnixNanos, tenant: TenantNumber, trace: TraceId) -> Self {
        Self::in_bucket(log_bucket_of(at), TraceKey::hash_of(tenant, trace))
    }

    /// Every key that the records of the trace can have within `window`, of a day at most, whose end is not in it.
    pub fn candidates(window: Window, tenant: TenantNumber, trace: TraceId) -> impl Iterator<Item = Self> {
        let hash = TraceKey::hash_of(tenant, trace);
        let last = UnixNanos(window.to.0.saturating_sub(1));
        (log_bucket_of(window.from)..=log_bucket_of(last)).map(move |bucket| Self::in_bucket(bucket, hash))
    }

    const fn in_bucket(bucket: i64, hash: i64) -> Self {
        Self(bucket.rem_euclid(LOG_BUCKETS) << HASH_BITS | hash)
    }
}

const fn log_bucket_of(at: UnixNanos) -> i64 {
    at.0.div_euclid(LOG_BUCKET_SECONDS * NANOS_PER_SECOND)
}

/// Buckets start at 0. The last that nanoseconds reach, in 2262, has 22 bits: a key never overflows.
fn bucket_of(at: UnixNanos) -> i64 {
    at.0.div_euclid(BUCKET_SECONDS * NANOS_PER_SECOND).max(0)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
const fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_local_in_time_and_found_again() {
        let trace = TraceId::try_from(&[7; 16][..]).unwrap();
        let at = |seconds| UnixNanos::from_seconds(seconds);
        let early = TraceKey::new(at(1_800_000_000), TenantNumber(1), trace);
        let late = TraceKey::new(at(1_800_003_600), TenantNumber(1), trace);
        assert!(early < late);
        let other = TraceKey::new(at(1_800_000_000), TenantNumber(2), trace);
        assert_ne!(early, other);
        let window = Window::new(at(1_799_996_400), at(1_800_003_700));
        let found: Vec<_> = TraceKey::candidates(window, TenantNumber(1), trace).collect();
        assert_eq!(found.len(), 3);
        assert!(found.contains(&early) && found.contains(&late));
        assert_eq!(late.bucket_start(), at(1_800_003_600));
        assert_eq!((early.hash(), late.hash()), (late.hash(), TraceKey::hash_of(TenantNumber(1), trace)));
        assert_ne!(early.hash(), other.hash());
        let last = TraceKey::new(UnixNanos(i64::MAX), TenantNumber(1), trace);
        assert!(early < last && last.bucket_start() > at(9_000_000_000));
    }

    #[test]
    fn log_records_are_found_within_their_day() {
        let trace = TraceId::try_from(&[7; 16][..]).unwrap();
        let at = UnixNanos::from_seconds;
        // Also before 1970.
        for day in [20_000, 0, -1] {
            let (start, end) = (at(day * 86_400), at((day + 1) * 86_400));
            let key = |second: i64| LogKey::new(at(day * 86_400 + second), TenantNumber(1), trace);
            let found: Vec<_> = LogKey::candidates(Window::new(start, end), TenantNumber(1), trace).collect();
            assert_eq!(found.len(), 1_440);
            assert!(found.is_sorted() && found[0] == key(0) && found[1_439] == key(86_399));
            assert_eq!(found[1], key(60));
            let minute = Window::new(at(day * 86_400 + 60), at(day * 86_400 + 120));
            assert_eq!(LogKey::candidates(minute, TenantNumber(1), trace).collect::<Vec<_>>(), [key(119)]);
            assert_ne!(key(0), LogKey::new(start, TenantNumber(2), trace));
        }
        // Keys that count hours since 1970 are larger by far.
        assert!(
            LogKey::new(at(86_399), TenantNumber(1), trace).0
                < TraceKey::new(at(1_600_000_000), TenantNumber(1), trace).0
        );
    }
}
