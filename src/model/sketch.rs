//! A mergeable sketch of durations: a sparse log-linear histogram (the bucket layout of HDR histograms).
//!
//! Every power of two is cut into [`STEPS`] equal buckets, so a quantile is off by at most 1/32 of its value
//! upwards or downwards (half a bucket, [`RELATIVE_ERROR_MAX`]). Adding and merging commute: the same values
//! give the same sketch in any order and any split, which is what makes roll-ups exact under late arrival.

use super::packed::wire::take_varint;
use super::packed::write::put_varint;

/// Buckets for each power of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;

/// Largest relative error of [`Sketch::quantile`].
pub const RELATIVE_ERROR_MAX: f64 = 1.0 / (2 * STEPS) as f64;

/// Counts of values by size. Costs 12 bytes for each bucket in use; 976 buckets at most, usually under 30.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Sorted by bucket, no zero counts.
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// Counts `value` once.
    pub fn add(&mut self, value: u64) {
        self.add_bucket(bucket_of(value), 1);
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        for (bucket, count) in &other.buckets {
            self.add_bucket(*bucket, *count);
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value below which the share `quantile` (0 to 1) of all values lies; none when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(middle_of(*bucket));
            }
        }
        None
    }

    /// How many values are larger than `value`, to the resolution of a bucket.
    pub fn count_above(&self, value: u64) -> u64 {
        let bucket = bucket_of(value);
        self.buckets.iter().filter(|(other, _)| *other > bucket).map(|(_, count)| count).sum()
    }

    /// Appends the sketch as bytes: for each bucket the step from the previous one and the count, as varints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut previous = 0;
        for (bucket, count) in &self.buckets {
            put_varint(u64::from(bucket - previous), out);
            put_varint(*count, out);
            previous = *bucket;
        }
    }

    /// Reads what [`Sketch::encode`] wrote; none when the bytes are not a sketch.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut buckets = Vec::new();
        let mut bucket = 0_u16;
        while !bytes.is_empty() {
            bucket = bucket.checked_add(u16::try_from(take_varint(&mut bytes)?).ok()?)?;
            buckets.push((bucket, take_varint(&mut bytes)?));
        }
        Some(Self { buckets })
    }

    fn add_bucket(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => self.buckets[index].1 += count,
            Err(index) => self.buckets.insert(index, (bucket, count)),
        }
    }
}

fn bucket_of(value: u64) -> u16 {
    if value < STEPS {
        return value as u16;
    }
    let exponent = value.ilog2();
    let step = value >> (exponent - STEP_BITS) & (STEPS - 1);
    (u64::from(exponent - STEP_BITS + 1) * STEPS + step) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = (bucket / STEPS - 1).min(59) as u32;
    let low = (STEPS + bucket % STEPS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn quantiles_keep_their_bound(mut values in proptest::collection::vec(any::<u64>(), 1..200), share in 0.0_f64..1.0) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|value| sketch.add(*value));
            values.sort_unstable();
            let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let truth = values[rank - 1] as f64;
            let found = sketch.quantile(share).unwrap() as f64;
            prop_assert!((found - truth).abs() <= truth * RELATIVE_ERROR_MAX + 1e-9, "{found} for {truth}");
        }

        #[test]
        fn merging_equals_adding(left in proptest::collection::vec(any::<u64>(), 0..50), right in proptest::collection::vec(any::<u64>(), 0..50)) {
            let sketch_of = |values: &[u64]| {
                let mut sketch = Sketch::default();
                values.iter().for_each(|value| sketch.add(*value));
                sketch
            };
            let mut merged = sketch_of(&left);
            merged.merge(&sketch_of(&right));
            prop_assert_eq!(&merged, &sketch_of(&[right, left].concat()));
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            prop_assert_eq!(Sketch::decode(&bytes), Some(merged));
        }

        #[test]
        fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(sketch) = Sketch::decode(&bytes) {
                let _ = sketch.buckets.iter().map(|(bucket, _)| middle_of(*bucket)).max();
            }
        }
    }
}
