//! A mergeable sketch of durations: a sparse log-linear histogram (the bucket layout of HDR histograms).
//!
//! Every power of two is cut into [`STEPS`] equal buckets, and a quantile is answered by the middle of its bucket, so
//! it is off by at most 1/64 (1.6 %) of its value upwards or downwards ([`RELATIVE_ERROR_MAX`]). Adding and merging
//! commute: the same values give the same sketch in any order and any split, which is what makes roll-ups exact under
//! late arrival, and a quantile of merged sketches no worse than that of one.

use super::packed::wire::take_varint;
use super::packed::write::put_varint;

/// Buckets for each power of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 5;
/// Added to the first bucket in the encoded form. Sketches with half as many buckets for each power of two were
/// encoded without it, and their buckets lie below it.
const MARK: u64 = 1_024;

/// Largest relative error of [`Sketch::quantile`].
pub const RELATIVE_ERROR_MAX: f64 = 1.0 / (2 * STEPS) as f64;

/// Counts of values by size. Costs 16 bytes for each bucket in use; 1,920 buckets at most, usually under 50.
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
        let mut missing = 0;
        let mut at = 0;
        for (bucket, count) in &other.buckets {
            while self.buckets.get(at).is_some_and(|(known, _)| known < bucket) {
                at += 1;
            }
            match self.buckets.get_mut(at).filter(|(known, _)| known == bucket) {
                Some((_, sum)) => *sum = sum.saturating_add(*count),
                None => missing += 1,
            }
        }
        if missing > 0 {
            self.take_missing(other, missing);
        }
    }

    /// Takes over those buckets of `other` that are not here, of which there are so many; from the last to the first, so that
    /// each moves once.
    fn take_missing(&mut self, other: &Self, missing: usize) {
        let (mut from, mut to) = (self.buckets.len(), self.buckets.len() + missing);
        self.buckets.resize(to, (0, 0));
        for (bucket, count) in other.buckets.iter().rev() {
            while from > 0 && self.buckets[from - 1].0 > *bucket {
                (from, to) = (from - 1, to - 1);
                self.buckets[to] = self.buckets[from];
            }
            if from == 0 || self.buckets[from - 1].0 < *bucket {
                to -= 1;
                self.buckets[to] = (*bucket, *count);
            }
            if from == to {
                break;
            }
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value below which the share `quantile` (0 to 1) of all values lies; none when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        self.quantiles([quantile]).map(|[value]| value)
    }

    /// The same for several shares, which must not fall, at once.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[u64; N]> {
        let count = self.count();
        let mut rest = self.buckets.iter();
        let (mut seen, mut value) = (0, None);
        let mut values = [0; N];
        for (share, answer) in shares.into_iter().zip(&mut values) {
            let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
            while seen < rank {
                let (bucket, count) = rest.next()?;
                seen += count;
                value = Some(middle_of(*bucket));
            }
            *answer = value?;
        }
        Some(values)
    }

    /// How many values are larger than `value`, to the resolution of a bucket.
    pub fn count_above(&self, value: u64) -> u64 {
        let bucket = bucket_of(value);
        self.buckets.iter().filter(|(other, _)| *other > bucket).map(|(_, count)| count).sum()
    }

    /// Appends the sketch as bytes: for each bucket the step from the previous one and the count, as varints. The first
    /// step is larger by 1,024.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut previous = None;
        for (bucket, count) in &self.buckets {
            put_varint(
                previous.map_or(MARK + u64::from(*bucket), |previous| u64::from(bucket - previous)),
                out,
            );
            put_varint(*count, out);
            previous = Some(*bucket);
        }
    }

    /// Reads what [`Sketch::encode`] wrote; none when the bytes are not a sketch. Also reads sketches from when a power
    /// of two had half as many buckets: the values of such a bucket are halved between the two that it is now, so
    /// their quantiles may be off by 1/20.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut sketch = Self::default();
        sketch.read_from(bytes)?;
        Some(sketch)
    }

    /// As [`Sketch::decode`], in the place of what was counted here. Where the bytes are not a sketch, what is here then is
    /// part of one.
    pub fn read_from(&mut self, mut bytes: &[u8]) -> Option<()> {
        self.buckets.clear();
        let mut first = bytes;
        let is_older = take_varint(&mut first).is_some_and(|first| first < MARK);
        let mut bucket = 0_u16;
        while !bytes.is_empty() {
            let marked = if self.buckets.is_empty() && !is_older { MARK } else { 0 };
            let step = take_varint(&mut bytes)?.checked_sub(marked)?;
            let count = take_varint(&mut bytes)?;
            bucket = bucket.checked_add(u16::try_from(step).ok()?)?;
            match bucket.checked_sub(STEPS as u16).filter(|_| is_older) {
                None => self.buckets.push((bucket, count)),
                // Below this a bucket was a single value, as it is now; from here on there are two for each.
                Some(beyond) => {
                    let lower = bucket.checked_add(beyond)?;
                    self.buckets.push((lower, count.div_ceil(2)));
                    if count > 1 {
                        self.buckets.push((lower.checked_add(1)?, count / 2));
                    }
                }
            }
        }
        Some(())
    }

    fn add_bucket(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => self.buckets[index].1 = self.buckets[index].1.saturating_add(count),
            Err(index) => self.buckets.insert(index, (bucket, count)),
        }
    }
}

/// Sums of many sketches: cheaper than merging one after the other, as nothing is sorted or moved. Takes 15 kB.
#[derive(Debug)]
pub struct Tally {
    counts: Box<[u64]>,
    /// A bit for each bucket that something was added to.
    used: Box<[u64]>,
}

impl Default for Tally {
    fn default() -> Self {
        let all = usize::from(bucket_of(u64::MAX)) + 1;
        Self { counts: vec![0; all].into(), used: vec![0; all.div_ceil(64)].into() }
    }
}

impl Tally {
    /// Counts everything that `sketch` counted.
    pub fn add(&mut self, sketch: &Sketch) {
        for (bucket, count) in &sketch.buckets {
            let at = usize::from(*bucket);
            // No value has a later bucket than the last, though bytes may name one.
            if let Some(sum) = self.counts.get_mut(at) {
                *sum = sum.saturating_add(*count);
                self.used[at / 64] |= 1 << (at % 64);
            }
        }
    }

    /// What was counted so far, and begins anew.
    pub fn take(&mut self) -> Sketch {
        let in_use = self.used.iter().map(|word| word.count_ones() as usize).sum();
        let mut buckets = Vec::with_capacity(in_use);
        for (place, word) in self.used.iter_mut().enumerate() {
            let mut rest = std::mem::take(word);
            while rest != 0 {
                let at = place * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                match std::mem::take(&mut self.counts[at]) {
                    0 => {}
                    count => buckets.push((at as u16, count)),
                }
            }
        }
        Sketch { buckets }
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
    let shift = (bucket / STEPS - 1).min(58) as u32;
    let low = (STEPS + bucket % STEPS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn sketch_of(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    fn off(values: &[u64], sketch: &Sketch, share: f64) -> f64 {
        let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
        let truth = values[rank - 1] as f64;
        (sketch.quantile(share).unwrap() as f64 - truth).abs() / truth.max(1.0)
    }

    /// Durations as services have them: around a typical one, some of them much longer.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let duration = (0_u32..34, any::<u32>()).prop_map(|(magnitude, part)| {
            let unit = 1_u64 << magnitude;
            unit + u64::from(part) % unit
        });
        proptest::collection::vec(prop_oneof![9 => 200_000_u64..900_000, 1 => duration], 1..400)
    }

    proptest! {
        #[test]
        fn every_percentile_is_within_two_percent_however_sketches_are_merged(parts in proptest::collection::vec(durations(), 1..5)) {
            let mut merged = Sketch::default();
            for part in &parts {
                let mut bytes = Vec::new();
                sketch_of(part).encode(&mut bytes);
                merged.merge(&Sketch::decode(&bytes).unwrap());
            }
            let mut all = parts.concat();
            all.sort_unstable();
            for share in (500..1_000).map(|thousandth| f64::from(thousandth) / 1_000.0) {
                prop_assert!(off(&all, &merged, share) <= 0.02, "{share}: {}", off(&all, &merged, share));
            }
        }

        #[test]
        fn sketches_with_fewer_buckets_are_still_read(mut values in proptest::collection::vec(any::<u64>(), 1..100)) {
            let older = |value: u64| {
                if value < 16 {
                    return value;
                }
                let exponent = value.ilog2();
                u64::from(exponent - 3) * 16 + (value >> (exponent - 4) & 15)
            };
            let mut counts = std::collections::BTreeMap::<u64, u64>::new();
            values.iter().for_each(|value| *counts.entry(older(*value)).or_default() += 1);
            let (mut bytes, mut previous) = (Vec::new(), 0);
            for (bucket, count) in counts {
                put_varint(bucket - previous, &mut bytes);
                put_varint(count, &mut bytes);
                previous = bucket;
            }
            let sketch = Sketch::decode(&bytes).unwrap();
            prop_assert_eq!(sketch.count(), values.len() as u64);
            values.sort_unstable();
            for share in [0.0, 0.5, 0.9, 1.0] {
                prop_assert!(off(&values, &sketch, share) <= 0.05, "{share}: {}", off(&values, &sketch, share));
            }
        }

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
        fn several_quantiles_at_once_are_those_of_each(values in proptest::collection::vec(any::<u64>(), 0..200), mut shares: [f64; 5]) {
            shares.sort_by(f64::total_cmp);
            let sketch = sketch_of(&values);
            let each = shares.map(|share| sketch.quantile(share));
            prop_assert_eq!(sketch.quantiles(shares).map(|all| all.map(Some)), each[0].map(|_| each));
        }

        #[test]
        fn merging_equals_adding(left in proptest::collection::vec(any::<u64>(), 0..50), right in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut merged = sketch_of(&left);
            merged.merge(&sketch_of(&right));
            prop_assert_eq!(&merged, &sketch_of(&[right, left].concat()));
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            prop_assert_eq!(Sketch::decode(&bytes), Some(merged));
        }

        #[test]
        fn a_tally_equals_merging(parts in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..50), 0..6)) {
            let mut tally = Tally::default();
            for _ in 0..2 {
                let mut merged = Sketch::default();
                for values in &parts {
                    let sketch = sketch_of(values);
                    merged.merge(&sketch);
                    tally.add(&sketch);
                }
                prop_assert_eq!(tally.take(), merged);
            }
        }

        #[test]
        fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(sketch) = Sketch::decode(&bytes) {
                let _ = sketch.buckets.iter().map(|(bucket, _)| middle_of(*bucket)).max();
            }
        }
    }
}
