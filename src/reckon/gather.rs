//! Several series of one kind as one answer.

use super::amount::{Amount, accrue};
use super::function::Function;
use super::nature::{Accrual, Nature};
use super::rollup::{Growth, Levels, Rollup, Tally, join_levels, join_quantiles};
use crate::model::metric::MetricKind;
use crate::model::time::UnixNanos;

/// Two quantiles this close are the same one.
const SAME_QUANTILE: f64 = 1e-9;

/// What the series of a group say about one interval. In whatever order they are added, the answers are the same, but
/// for the rounding of sums of doubles.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    kind: MetricKind,
    levels_add: bool,
    tally: Tally,
    series: usize,
    amount: Option<Amount>,
    per_second: Option<f64>,
    levels: Option<Levels>,
    means: f64,
    last: Option<(UnixNanos, f64)>,
    quantiles: Vec<(f64, f64)>,
}

impl Gathered {
    /// Nothing yet, of series of this kind. Deltas and cumulative series of one kind may be added to one answer; those
    /// whose points are levels and those whose points are not may not.
    pub const fn new(nature: Nature) -> Self {
        Self {
            kind: nature.kind,
            levels_add: matches!(nature.accrual(), Accrual::Level | Accrual::Change),
            tally: Tally { points: 0, skipped: 0, duplicates: 0, resets: 0, overlaps: 0 },
            series: 0,
            amount: None,
            per_second: None,
            levels: None,
            means: 0.0,
            last: None,
            quantiles: Vec::new(),
        }
    }

    /// Adds one series: its roll-up of an interval of `length_ns` and what it counted there.
    pub fn add(&mut self, rollup: &Rollup, growth: Growth, length_ns: u64) {
        self.tally.add(rollup.tally());
        self.series += 1;
        if let Some(amount) = &growth.amount {
            let over_ns = spread_ns(rollup, &growth, length_ns);
            *self.per_second.get_or_insert(0.0) += amount.size() / (over_ns.max(1) as f64 / 1e9);
        }
        accrue(&mut self.amount, growth.amount);
        if let Some(levels) = rollup.levels() {
            self.means += levels.sum / rollup.tally().points as f64;
            join_levels(&mut self.levels, Some(*levels));
        }
        if let Some((time, value)) = rollup.last() {
            let newer = self.last.is_none_or(|(known, other)| (known, other) < (time, value));
            self.last = if newer { Some((time, value)) } else { self.last };
        }
        join_quantiles(&mut self.quantiles, rollup.quantiles());
    }

    /// How many series have points in the interval.
    pub const fn series(&self) -> usize {
        self.series
    }

    /// Points by what became of them.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// True when a distribution is known to have measurements in the interval.
    pub fn has_measurements(&self) -> bool {
        self.amount.as_ref().and_then(Amount::totals).is_some_and(|totals| totals.count > 0)
    }

    /// The value of `function`; none where the points do not say. May be infinite, or NaN where infinities of both
    /// signs meet.
    pub fn answer(&self, function: Function) -> Option<f64> {
        let size = self.amount.as_ref().map(Amount::size);
        let totals = self.amount.as_ref().and_then(Amount::totals).filter(|totals| totals.count > 0);
        let is_number = matches!(self.kind, MetricKind::Gauge | MetricKind::Sum);
        if let Some(quantile) = function.quantile_of(self.kind) {
            return self.quantile(quantile);
        }
        match function {
            Function::Rate => self.per_second,
            Function::Increase => size,
            Function::Count if is_number => self.levels.map(|_| self.tally.points as f64),
            Function::Count => size,
            Function::Sum if self.levels_add => self.levels.map(|_| self.means),
            Function::Sum if is_number => size,
            Function::Sum => totals.and_then(|totals| totals.sum),
            Function::Average if is_number => self.levels.map(|it| it.sum / self.tally.points as f64),
            Function::Average => totals.and_then(super::totals::Totals::mean),
            Function::Minimum => self.levels.map(|levels| levels.min),
            Function::Maximum => self.levels.map(|levels| levels.max),
            Function::Last => self.last.map(|(_, value)| value),
            Function::Quantile(_) => None,
        }
    }

    fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.kind == MetricKind::Summary {
            let same = |known: f64| (known - quantile).abs() < SAME_QUANTILE;
            return self.quantiles.iter().find(|(known, _)| same(*known)).map(|(_, value)| *value);
        }
        self.amount.as_ref()?.quantile(quantile)
    }
}

/// The time over which what a series counted in an interval is spread: the time that its points account for, and the
/// interval where they do not say; so its rate does not depend on where in the interval its points happen to lie. A series
/// that left out points, or whose points ended long before the interval, counted nothing then: the time since it is known
/// counts.
fn spread_ns(rollup: &Rollup, growth: &Growth, length_ns: u64) -> u64 {
    let known_ns = length_ns.saturating_sub(growth.untold_ns);
    let each_ns = growth.covered_ns / rollup.tally().points.max(1);
    // Points of deltas account for all of the time but for its end; others lie anywhere between two exports.
    let missing_ns = if rollup.accrual() == Accrual::Delta { each_ns } else { each_ns.saturating_mul(2) };
    let is_whole = growth.covered_ns.saturating_add(missing_ns) >= known_ns;
    if growth.covered_ns == 0 {
        length_ns
    } else if is_whole {
        growth.covered_ns
    } else {
        known_ns
    }
}
