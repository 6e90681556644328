//! Histograms with explicit bounds (data model, "Histogram").

use super::totals::{Totals, between};
use crate::model::metric::Buckets;

/// Counts of measurements between bounds. Bucket `i` holds what is larger than bound `i - 1` and not larger than
/// bound `i` (data model, "Histogram: Bucket inclusivity"); the first and the last bucket have no outer end.
#[derive(Debug, Clone, PartialEq)]
pub struct Explicit {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    totals: Totals,
}

impl Explicit {
    /// The histogram of a point. One without buckets has a single bucket that holds everything; a bound at infinity
    /// bounds nothing and is left out.
    pub fn new(buckets: Buckets, totals: Totals) -> Self {
        let Buckets { mut bounds, mut counts } = buckets;
        if counts.len() != bounds.len() + 1 {
            bounds.clear();
            counts = vec![totals.count];
        }
        while bounds.last() == Some(&f64::INFINITY) {
            bounds.pop();
            let outer = counts.pop().unwrap_or(0);
            if let Some(last) = counts.last_mut() {
                *last = last.saturating_add(outer);
            }
        }
        while bounds.first() == Some(&f64::NEG_INFINITY) {
            bounds.remove(0);
            counts[1] = counts[1].saturating_add(counts[0]);
            counts.remove(0);
        }
        Self { bounds, counts, totals }
    }

    /// Its parts as they were given; none when they are no histogram.
    pub(super) fn from_parts(bounds: Vec<f64>, counts: Vec<u64>, totals: Totals) -> Option<Self> {
        let finite = bounds.iter().all(|bound| bound.is_finite());
        let rising = bounds.is_sorted_by(|low, high| low < high);
        (finite && rising && counts.len() == bounds.len() + 1).then_some(Self { bounds, counts, totals })
    }

    /// Upper bounds of all buckets but the last, rising.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Measurements in each bucket: one more than bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Count, sum and extremes.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Adds another histogram. Where the bounds differ, only those that both have stay: buckets are joined, never
    /// split, so that no measurement is guessed into a bucket. With no bound in common a single bucket stays, which
    /// has count, sum and extremes but no quantiles. An empty histogram brings no bounds.
    pub fn add(&mut self, other: &Self) {
        if other.totals.count == 0 && self.totals.count != 0 {
            return;
        }
        if self.totals.count == 0 {
            self.clone_from(other);
            return;
        }
        self.totals.add(&other.totals);
        if self.bounds == other.bounds {
            add_each(&mut self.counts, &other.counts);
            return;
        }
        let common = common(&self.bounds, &other.bounds);
        self.counts = joined(&self.bounds, &self.counts, &common);
        add_each(&mut self.counts, &joined(&other.bounds, &other.counts, &common));
        self.bounds = common;
    }

    /// What came since `previous` of the same sequence; none when the count or a bucket fell, which tells that the
    /// sequence began anew. Where the bounds differ, only those that both have stay.
    pub fn since(&self, previous: &Self) -> Option<Self> {
        let totals = self.totals.since(&previous.totals)?;
        if previous.totals.count == 0 {
            return Some(self.clone());
        }
        if self.bounds == previous.bounds {
            let counts = subtract_each(&self.counts, &previous.counts)?;
            return Some(Self { bounds: self.bounds.clone(), counts, totals });
        }
        let bounds = common(&self.bounds, &previous.bounds);
        let before = joined(&previous.bounds, &previous.counts, &bounds);
        let counts = subtract_each(&joined(&self.bounds, &self.counts, &bounds), &before)?;
        Some(Self { bounds, counts, totals })
    }

    /// The value below which the share `quantile` (0 to 1) of the measurements lies, by linear interpolation within
    /// its bucket; the true value lies in the same bucket. The outer ends are the extremes where these are known.
    /// Where they are not, the first bucket begins at zero if its bound is positive, else its bound is the answer; of
    /// the last bucket the answer is its lower bound: the rules of Prometheus' `histogram_quantile`.
    /// None when nothing was measured or nothing bounds it.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0_u64;
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let reached = below.saturating_add(*count);
            if reached as f64 >= rank || reached == total {
                let fraction = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
                return self.inside(index, fraction);
            }
            below = reached;
        }
        None
    }

    /// The value at `fraction` of bucket `index`.
    fn inside(&self, index: usize, fraction: f64) -> Option<f64> {
        let Totals { min, max, .. } = self.totals;
        let (Some(first), Some(last)) = (self.bounds.first(), self.bounds.last()) else {
            return Some(between(min?, max?, fraction));
        };
        let low = match index.checked_sub(1) {
            Some(before) => Some(self.totals.within(self.bounds[before])),
            None => min.or((*first > 0.0).then_some(0.0)),
        };
        let high = self.bounds.get(index).map(|bound| self.totals.within(*bound)).or(max);
        match (low, high) {
            (Some(low), Some(high)) => Some(between(low, high, fraction)),
            (Some(_), None) => Some(*last),
            (None, Some(high)) => Some(high),
            (None, None) => None,
        }
    }
}

/// The bounds that are in both, rising.
fn common(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut rest = right;
    let mut both = Vec::new();
    for bound in left {
        rest = &rest[rest.partition_point(|other| other < bound)..];
        if rest.first() == Some(bound) {
            both.push(*bound);
        }
    }
    both
}

/// Buckets joined so that only the bounds `kept`, which are among `bounds`, stay.
fn joined(bounds: &[f64], counts: &[u64], kept: &[f64]) -> Vec<u64> {
    let mut result = vec![0_u64; kept.len() + 1];
    let mut place = 0;
    for (index, count) in counts.iter().enumerate() {
        result[place] = result[place].saturating_add(*count);
        if kept.get(place).is_some_and(|bound| bounds.get(index) == Some(bound)) {
            place += 1;
        }
    }
    result
}

fn add_each(counts: &mut [u64], others: &[u64]) {
    for (count, other) in counts.iter_mut().zip(others) {
        *count = count.saturating_add(*other);
    }
}

fn subtract_each(counts: &[u64], others: &[u64]) -> Option<Vec<u64>> {
    counts.iter().zip(others).map(|(count, other)| count.checked_sub(*other)).collect()
}
