//! Exponential histograms (data model, "ExponentialHistogram").

use super::totals::{Totals, between};
use crate::model::metric;

/// Most buckets in use on one side. Past it the scale is lowered: neighbours are joined two by two, which doubles the
/// logarithm of the base. Senders use 160 by default.
pub const BUCKETS_MAX: usize = 640;

/// Counts of measurements by magnitude. Bucket `i` holds what is larger than `base^i` and not larger than
/// `base^(i+1)`, where `base = 2^(2^-scale)`; negative measurements are counted by absolute value.
///
/// A quantile lies in the bucket of the true value, so it is off by less than `base - 1` of it: 0.7 % at scale 7,
/// 2.2 % at scale 5, 9 % at scale 3.
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
    pub(super) totals: Totals,
}

/// The buckets in use, by rising index; no count is zero.
pub(super) type Side = Vec<(i32, u64)>;

impl Exponential {
    /// The histogram of a point. Its scale is one that the door lets through, -10 to 20; another one is taken for the
    /// nearest of them.
    pub fn new(shape: &metric::Exponential, totals: Totals) -> Self {
        let mut histogram = Self {
            scale: shape.scale.clamp(-10, 20),
            zero_count: shape.zero_count,
            zero_threshold: Some(shape.zero_threshold)
                .filter(|it| *it > 0.0 && it.is_finite())
                .unwrap_or(0.0),
            positive: side(&shape.positive),
            negative: side(&shape.negative),
            totals,
        };
        histogram.keep_small();
        histogram
    }

    /// Count, sum and extremes.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The scale: the higher, the finer.
    pub const fn scale(&self) -> i32 {
        self.scale
    }

    /// Measurements in the zero bucket and on both sides.
    pub fn bucket_total(&self) -> u64 {
        let sides = self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        sides.fold(self.zero_count, u64::saturating_add)
    }

    /// Adds another histogram, at the lower of both scales (data model, "Exponential Scale": perfect subsetting) and
    /// the larger of both zero thresholds (data model, "Zero Count and Zero Threshold"): buckets within it join the
    /// zero bucket, and where it would cut a bucket in use it is raised to that bucket's upper bound.
    ///
    /// Adding is associative, but for histograms whose zero thresholds differ while their scales do too, where the
    /// order decides into which bucket measurements next to the threshold go; none is ever lost.
    pub fn add(&mut self, other: &Self) {
        if other.totals.count == 0 && self.totals.count != 0 {
            return;
        }
        if self.totals.count == 0 {
            self.clone_from(other);
            return;
        }
        let mut other = other.clone();
        self.align(&mut other);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.positive = merged(&self.positive, &other.positive);
        self.negative = merged(&self.negative, &other.negative);
        self.totals.add(&other.totals);
        self.keep_small();
    }

    /// What came since `previous` of the same sequence, at the scale and threshold that suit both; none when the count
    /// or a bucket fell, which tells that the sequence began anew.
    pub fn since(&self, previous: &Self) -> Option<Self> {
        let totals = self.totals.since(&previous.totals)?;
        if previous.totals.count == 0 {
            return Some(self.clone());
        }
        let (mut now, mut before) = (self.clone(), previous.clone());
        now.align(&mut before);
        now.zero_count = now.zero_count.checked_sub(before.zero_count)?;
        now.positive = without(&now.positive, &before.positive)?;
        now.negative = without(&now.negative, &before.negative)?;
        Some(Self { totals, ..now })
    }

    /// The value below which the share `quantile` (0 to 1) of the measurements lies, by interpolation within its
    /// bucket: logarithmic, and linear in the zero bucket, which reaches only to the sides that are in use. Never
    /// beyond the extremes, where these are known. None when nothing was measured.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.bucket_total();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0_u64;
        let mut found = |count: u64| {
            let reached = below.saturating_add(count);
            let here = count > 0 && (reached as f64 >= rank || reached == total);
            let fraction = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
            below = reached;
            here.then_some(fraction)
        };
        for (index, count) in self.negative.iter().rev() {
            if let Some(fraction) = found(*count) {
                return Some(self.totals.within(-power(f64::from(*index) + 1.0 - fraction, self.scale)));
            }
        }
        if let Some(fraction) = found(self.zero_count) {
            let reach = |used: bool| if used { self.zero_threshold } else { 0.0 };
            let (negative, positive) = (!self.negative.is_empty(), !self.positive.is_empty());
            let low = -reach(negative || !positive);
            let high = reach(positive || !negative);
            return Some(self.totals.within(between(low, high, fraction)));
        }
        for (index, count) in &self.positive {
            if let Some(fraction) = found(*count) {
                return Some(self.totals.within(power(f64::from(*index) + fraction, self.scale)));
            }
        }
        None
    }

    /// Brings both to one scale and one zero threshold.
    fn align(&mut self, other: &mut Self) {
        let scale = self.scale.min(other.scale);
        self.lower_to(scale);
        other.lower_to(scale);
        let threshold = self.zero_threshold.max(other.zero_threshold);
        let used = [&self.positive, &self.negative, &other.positive, &other.negative];
        let cut = used.into_iter().flatten().filter(|(index, _)| power(f64::from(*index), scale) < threshold);
        let threshold = cut.map(|(index, _)| power(f64::from(*index) + 1.0, scale)).fold(threshold, f64::max);
        self.widen_zero(threshold);
        other.widen_zero(threshold);
    }

    /// Moves everything that is not larger than `threshold`, which cuts no bucket in use, to the zero bucket.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold > self.zero_threshold {
            let scale = self.scale;
            for side in [&mut self.positive, &mut self.negative] {
                let inside = side.partition_point(|(index, _)| power(f64::from(*index), scale) < threshold);
                for (_, count) in side.drain(..inside) {
                    self.zero_count = self.zero_count.saturating_add(count);
                }
            }
            self.zero_threshold = threshold;
        }
    }

    /// Joins buckets until the scale is `scale`; each step halves the index, rounded down.
    fn lower_to(&mut self, scale: i32) {
        let by = self.scale.saturating_sub(scale).clamp(0, 31);
        if by > 0 {
            for side in [&mut self.positive, &mut self.negative] {
                let mut joined = Side::new();
                side.iter().for_each(|(index, count)| push(&mut joined, index >> by, *count));
                *side = joined;
            }
        }
        self.scale = self.scale.min(scale);
    }

    fn keep_small(&mut self) {
        while self.positive.len().max(self.negative.len()) > BUCKETS_MAX {
            self.lower_to(self.scale - 1);
        }
    }
}

/// `base^exponent` for the base of `scale`, kept within the doubles (data model, "ExponentialHistogram: Consumer
/// Recommendations").
pub(super) fn power(exponent: f64, scale: i32) -> f64 {
    (exponent * f64::from(-scale).exp2()).exp2().min(f64::MAX)
}

fn side(buckets: &metric::ExponentialBuckets) -> Side {
    let mut side = Side::new();
    for (place, count) in buckets.counts.iter().enumerate() {
        let place = i32::try_from(place).unwrap_or(i32::MAX);
        push(&mut side, buckets.offset.saturating_add(place), *count);
    }
    side
}

/// Counts at an index that is not lower than the last one.
fn push(side: &mut Side, index: i32, count: u64) {
    match side.last_mut() {
        _ if count == 0 => {}
        Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
        _ => side.push((index, count)),
    }
}

fn merged(left: &Side, right: &Side) -> Side {
    let mut all = Side::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) if a <= b => left.next(),
            (Some(_), None) => left.next(),
            _ => right.next(),
        };
        let Some((index, count)) = next else { return all };
        push(&mut all, *index, *count);
    }
}

/// The counts of `side` less those of `before`; none when one would fall below zero.
fn without(side: &Side, before: &Side) -> Option<Side> {
    let mut rest = Side::with_capacity(side.len());
    let mut before = before.iter().peekable();
    for (index, count) in side {
        let gone = before.next_if(|(other, _)| other == index).map_or(0, |(_, count)| *count);
        push(&mut rest, *index, count.checked_sub(gone)?);
    }
    // A bucket that is left over was in use before and is not any more.
    before.peek().is_none().then_some(rest)
}
