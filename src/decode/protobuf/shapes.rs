//! Whether the buckets and quantiles of a distribution make sense (metrics.proto, comments on the data points).
//! Nothing is collected: the numbers are checked as they are read, so that a million buckets cost no memory.

use std::ops::RangeInclusive;

use super::reader::{Field, Message, Value, malformed};
use crate::decode::error::Error;
use crate::decode::notes::Reason;
use crate::model::packed::wire::unzigzag;

/// Scales within which bucket indices fit 32 bits and bucket bounds fit doubles (metrics SDK specification,
/// "Base2 Exponential Bucket Histogram Aggregation").
const SCALES: RangeInclusive<i64> = -10..=20;

/// The shape of a histogram point.
#[derive(Default)]
pub(super) struct Explicit {
    buckets: usize,
    bounds: usize,
    total: Total,
    last_bound: Option<f64>,
    is_unordered: bool,
}

impl Explicit {
    /// Takes in one field; false when it has the wrong wire type.
    pub(super) fn take(&mut self, field: &Field<'_>) -> Result<bool, Error> {
        match (field.number, field.value) {
            (6, Value::Bytes(packed)) => words(packed)?.for_each(|count| self.bucket(count)),
            (6, Value::Fixed64(count)) => self.bucket(count),
            (7, Value::Bytes(packed)) => words(packed)?.for_each(|bits| self.bound(bits)),
            (7, Value::Fixed64(bits)) => self.bound(bits),
            // Minimum and maximum stay packed.
            (11 | 12, Value::Fixed64(_)) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether buckets, bounds and `count` fit each other.
    pub(super) fn check(&self, count: u64, buckets_max: usize) -> Result<(), Reason> {
        if self.buckets > buckets_max {
            return Err(Reason::BucketCount);
        }
        let fits = if self.buckets == 0 { self.bounds == 0 } else { self.buckets - 1 == self.bounds };
        if !fits || self.is_unordered {
            return Err(Reason::BucketBounds);
        }
        if self.buckets > 0 && !self.total.is(count) { Err(Reason::BucketTotal) } else { Ok(()) }
    }

    fn bucket(&mut self, count: u64) {
        self.buckets += 1;
        self.total.add(count);
    }

    fn bound(&mut self, bits: u64) {
        let bound = f64::from_bits(bits);
        self.bounds += 1;
        self.is_unordered |= bound.is_nan() || self.last_bound.is_some_and(|last| bound <= last);
        self.last_bound = Some(bound);
    }
}

/// The shape of an exponential histogram point. Of fields that come twice the last counts, as the views read.
#[derive(Default)]
pub(super) struct Exponential {
    scale: u64,
    zero_count: u64,
    zero_threshold: f64,
    positive: Side,
    negative: Side,
}

impl Exponential {
    /// Takes in one field; false when it has the wrong wire type.
    pub(super) fn take(&mut self, field: &Field<'_>, buckets_max: usize) -> Result<bool, Error> {
        match (field.number, field.value) {
            (6, Value::Varint(scale)) => self.scale = scale,
            (7, Value::Fixed64(count)) => self.zero_count = count,
            (8, Value::Bytes(side)) => self.positive = Side::read(side, buckets_max)?,
            (9, Value::Bytes(side)) => self.negative = Side::read(side, buckets_max)?,
            (14, Value::Fixed64(bits)) => self.zero_threshold = f64::from_bits(bits),
            // Minimum and maximum stay packed.
            (12 | 13, Value::Fixed64(_)) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether scale, offsets, buckets and `count` fit each other.
    pub(super) fn check(&self, count: u64, buckets_max: usize) -> Result<(), Reason> {
        let sides = [&self.positive, &self.negative];
        if sides.iter().any(|side| side.buckets > buckets_max) {
            return Err(Reason::BucketCount);
        }
        let threshold_fits = self.zero_threshold >= 0.0;
        if !SCALES.contains(&unzigzag(self.scale)) || !threshold_fits || !sides.iter().all(|side| side.fits())
        {
            return Err(Reason::Scale);
        }
        let mut total = Total::default();
        total.add(self.zero_count);
        sides.iter().for_each(|side| total.join(&side.total));
        if total.is(count) { Ok(()) } else { Err(Reason::BucketTotal) }
    }
}

/// One side of an exponential histogram.
#[derive(Default)]
struct Side {
    offset: u64,
    buckets: usize,
    total: Total,
}

impl Side {
    fn read(message: Message<'_>, buckets_max: usize) -> Result<Self, Error> {
        let mut side = Self::default();
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Varint(offset)) => side.offset = offset,
                (2, Value::Varint(count)) => side.bucket(count),
                // A number has at most ten bytes, so that there are too many in any case.
                (2, Value::Bytes(packed)) if packed.bytes.len() / 10 > buckets_max => {
                    side.buckets = usize::MAX;
                    break;
                }
                (2, Value::Bytes(packed)) => {
                    let mut numbers = packed.fields();
                    while let Some(count) = numbers.next_varint()? {
                        side.bucket(count);
                    }
                }
                _ => {}
            }
        }
        Ok(side)
    }

    fn bucket(&mut self, count: u64) {
        self.buckets += 1;
        self.total.add(count);
    }

    /// True when the index of every bucket fits 32 bits.
    fn fits(&self) -> bool {
        let first = unzigzag(self.offset);
        let last = i64::try_from(self.buckets).ok().and_then(|buckets| first.checked_add(buckets));
        i32::try_from(first).is_ok() && last.is_some_and(|last| i32::try_from(last).is_ok())
    }
}

/// The quantiles of a summary point.
#[derive(Default)]
pub(super) struct Quantiles {
    last: Option<f64>,
    is_wrong: bool,
}

impl Quantiles {
    /// Takes in one quantile.
    pub(super) fn take(&mut self, message: Message<'_>) -> Result<(), Error> {
        let (mut quantile, mut value) = (0.0, 0.0);
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Fixed64(bits)) => quantile = f64::from_bits(bits),
                (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
                _ => {}
            }
        }
        // A value may be NaN: Prometheus clients say so when a window saw no observations.
        let in_range = (0.0..=1.0).contains(&quantile) && (value >= 0.0 || f64::is_nan(value));
        self.is_wrong |= !in_range || self.last.is_some_and(|last| quantile <= last);
        self.last = Some(quantile);
        Ok(())
    }

    /// Whether quantiles rise and lie in range.
    pub(super) const fn check(&self) -> Result<(), Reason> {
        if self.is_wrong { Err(Reason::Quantiles) } else { Ok(()) }
    }
}

/// A sum of counts that knows when it no longer fits 64 bits.
#[derive(Default)]
struct Total {
    sum: u64,
    is_past: bool,
}

impl Total {
    fn add(&mut self, count: u64) {
        let (sum, is_past) = self.sum.overflowing_add(count);
        self.sum = sum;
        self.is_past |= is_past;
    }

    fn join(&mut self, other: &Self) {
        self.add(other.sum);
        self.is_past |= other.is_past;
    }

    const fn is(&self, count: u64) -> bool {
        !self.is_past && self.sum == count
    }
}

/// The eight-byte numbers of a packed run.
fn words(packed: Message<'_>) -> Result<impl Iterator<Item = u64>, Error> {
    let (words, rest) = packed.bytes.as_chunks::<8>();
    if rest.is_empty() {
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)))
    } else {
        Err(malformed("a packed run of numbers that is cut off", packed.range().start))
    }
}
