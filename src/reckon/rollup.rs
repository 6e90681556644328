//! What the points of one series say about one interval.

use super::amount::{Amount, accrue};
use super::link::{self, Link, Mark};
use super::nature::{Accrual, Nature};
use crate::model::metric::{MetricKind, Point, PointValue};
use crate::model::time::{UnixNanos, Window};

/// The roll-up of a series over an interval. It does not know the interval: whoever keeps it does.
///
/// The law: for points `a` that are all earlier than the points `b`, the roll-up of `a` and `b` together is the
/// roll-up of `a` merged with that of `b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    pub(super) nature: Nature,
    pub(super) tally: Tally,
    pub(super) ends_in_gap: bool,
    pub(super) ends: Option<Ends>,
    pub(super) grown: Option<Amount>,
    pub(super) covered_ns: u64,
    pub(super) levels: Option<Levels>,
    pub(super) quantiles: Vec<(f64, f64)>,
}

/// Points by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Points that were reckoned with.
    pub points: u64,
    /// Points left out because they are no measurement: NaN, or an infinite counter.
    pub skipped: u64,
    /// Points left out because another one of the same instant arrived later.
    pub duplicates: u64,
    /// Times the sequence began anew.
    pub resets: u64,
    /// Points that overlap the one before them: two senders share one identity, or a clock went back.
    pub overlaps: u64,
}

/// The first and the last point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ends {
    pub(super) first: Mark,
    pub(super) last: Mark,
}

/// The values of gauges and sums as they were recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their sum; NaN when both infinities are among them.
    pub sum: f64,
    /// The newest.
    pub last: f64,
}

/// What a series counted in an interval.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Growth {
    /// How much; none where the points do not say.
    pub amount: Option<Amount>,
    /// The time that the points account for, in nanoseconds.
    pub covered_ns: u64,
    /// The time at the beginning of the interval of which the points do not say what was counted, in nanoseconds: the
    /// series may have been there.
    pub untold_ns: u64,
}

/// Why two roll-ups do not make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They are of series of different natures.
    #[error("roll-ups of different kinds of series do not merge")]
    Unlike,
    /// The one to be merged in does not lie wholly behind the other.
    #[error("the later roll-up begins before the earlier one ends")]
    Overlapping,
}

impl Rollup {
    /// The roll-up of no points.
    pub const fn new(nature: Nature) -> Self {
        Self {
            nature,
            tally: Tally { points: 0, skipped: 0, duplicates: 0, resets: 0, overlaps: 0 },
            ends_in_gap: false,
            ends: None,
            grown: None,
            covered_ns: 0,
            levels: None,
            quantiles: Vec::new(),
        }
    }

    /// How its points add up.
    pub const fn accrual(&self) -> Accrual {
        self.nature.accrual()
    }

    /// The roll-up of points in any order. Of points of one instant the one that stands last counts; those of one
    /// instant stand in the order of arrival.
    pub fn of(nature: Nature, points: &[Point]) -> Self {
        let mut ordered: Vec<&Point> = points.iter().collect();
        ordered.sort_by_key(|point| point.time);
        Self::of_ordered(nature, &ordered)
    }

    /// The roll-up of points by time, those of one instant in the order of arrival.
    pub(super) fn of_ordered(nature: Nature, points: &[&Point]) -> Self {
        let mut rollup = Self::new(nature);
        for same_instant in points.chunk_by(|a, b| a.time == b.time) {
            let [earlier @ .., point] = same_instant else { continue };
            rollup.tally.duplicates += earlier.len() as u64;
            rollup.push(point);
        }
        rollup
    }

    /// Adds a point that is later than all before it.
    fn push(&mut self, point: &Point) {
        let gap = matches!(point.value, PointValue::Gap);
        let Some(amount) = Amount::of(self.nature, point) else {
            // "No recorded value" ends what was said before it, and says nothing about what was counted.
            self.ends_in_gap |= gap;
            self.tally.skipped += u64::from(!gap);
            return;
        };
        self.ends_in_gap = false;
        self.tally.points += 1;
        if let Some(value) = amount.number().map(super::number::Number::as_f64) {
            join_levels(&mut self.levels, Some(Levels { min: value, max: value, sum: value, last: value }));
        }
        if self.nature.kind == MetricKind::Summary {
            join_quantiles(&mut self.quantiles, &point.detail.quantiles());
        }
        let mut mark = Mark { time_ns: point.time.0, start_ns: point.start.0, amount: None };
        if self.nature.accrual() == Accrual::Delta {
            accrue(&mut self.grown, Some(amount));
            self.covered_ns = self.covered_ns.saturating_add(mark.duration_ns());
        } else {
            mark.amount = Some(amount);
        }
        match &mut self.ends {
            None => self.ends = Some(Ends { first: mark.clone(), last: mark }),
            Some(ends) => {
                let link = link::link(self.nature.accrual(), &ends.last, &mark);
                ends.last = mark;
                self.take(link);
            }
        }
    }

    /// Adds the roll-up of the points that came after all of this one's.
    ///
    /// # Errors
    /// When it is of another nature or does not begin after this one ends; then nothing was changed.
    pub fn merge(&mut self, later: &Self) -> Result<(), MergeError> {
        if self.nature != later.nature {
            return Err(MergeError::Unlike);
        }
        let between = match (&self.ends, &later.ends) {
            (Some(mine), Some(theirs)) if theirs.first.time_ns <= mine.last.time_ns => {
                return Err(MergeError::Overlapping);
            }
            (Some(mine), Some(theirs)) => Some(link::link(self.nature.accrual(), &mine.last, &theirs.first)),
            _ => None,
        };
        self.tally.add(&later.tally);
        self.ends_in_gap = later.ends_in_gap || (later.ends.is_none() && self.ends_in_gap);
        // Before the link, which may take some of it away.
        self.covered_ns = self.covered_ns.saturating_add(later.covered_ns);
        between.into_iter().for_each(|link| self.take(link));
        accrue(&mut self.grown, later.grown.clone());
        join_levels(&mut self.levels, later.levels);
        join_quantiles(&mut self.quantiles, &later.quantiles);
        match (&mut self.ends, &later.ends) {
            (Some(mine), Some(theirs)) => mine.last.clone_from(&theirs.last),
            (None, theirs) => self.ends.clone_from(theirs),
            (Some(_), None) => {}
        }
        Ok(())
    }

    /// What the series counted in the interval of this roll-up, up to its last point. A count between two points
    /// belongs to the interval of the later one. `before` is the roll-up of the points just before it, if there are
    /// any; where there are none, nothing of the series is known before `known_from`, and what the first point counts
    /// is decided by [`link::first`]. `from` is the beginning of the interval.
    pub fn growth(&self, before: Option<&Self>, known_from: UnixNanos, from: UnixNanos) -> Growth {
        let Some(ends) = &self.ends else { return Growth::default() };
        let accrual = self.nature.accrual();
        let link = match before.and_then(|before| before.ends.as_ref()) {
            Some(before) => link::link(accrual, &before.last, &ends.first),
            None => link::first(accrual, &ends.first, known_from.0, from.0),
        };
        let untold_ns = match (accrual, &link.amount) {
            (Accrual::Change | Accrual::Total, None) => {
                ends.first.time_ns.saturating_sub(from.0).max(0).unsigned_abs()
            }
            _ => 0,
        };
        let covered_ns = self.covered_ns.saturating_add(link.covered_ns).saturating_sub(link.shared_ns);
        let mut amount = link.amount;
        match (&mut amount, &self.grown) {
            (Some(amount), Some(more)) => amount.add(more),
            (None, more) => amount.clone_from(more),
            (Some(_), None) => {}
        }
        Growth { amount, covered_ns, untold_ns }
    }

    /// What kind of series it is of.
    pub const fn nature(&self) -> Nature {
        self.nature
    }

    /// Points by what became of them.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// True when a point was reckoned with.
    pub const fn has_points(&self) -> bool {
        self.ends.is_some()
    }

    /// True when none of its points lies outside of `window`.
    pub fn is_within(&self, window: Window) -> bool {
        self.ends.as_ref().is_none_or(|Ends { first, last }| {
            window.from.0 <= first.time_ns && first.time_ns <= last.time_ns && last.time_ns < window.to.0
        })
    }

    /// The recorded values, of gauges and sums.
    pub const fn levels(&self) -> Option<&Levels> {
        self.levels.as_ref()
    }

    /// The newest value and its time, of gauges and sums; none when the newest point says that there is none.
    pub fn last(&self) -> Option<(UnixNanos, f64)> {
        let ends = self.ends.as_ref().filter(|_| !self.ends_in_gap)?;
        Some((UnixNanos(ends.last.time_ns), self.levels?.last))
    }

    /// The quantiles of a summary as (quantile, value), by quantile: of each the largest that was reported. They are
    /// never averaged (data model, "Summary (Legacy)": they do not merge in a meaningful way).
    pub fn quantiles(&self) -> &[(f64, f64)] {
        &self.quantiles
    }

    fn take(&mut self, link: Link) {
        self.tally.resets += u64::from(link.reset);
        self.tally.overlaps += u64::from(link.overlap);
        let covered_ns = self.covered_ns.saturating_add(link.covered_ns);
        self.covered_ns = covered_ns.saturating_sub(link.shared_ns);
        accrue(&mut self.grown, link.amount);
    }
}

impl Tally {
    /// Adds the points of another tally.
    pub fn add(&mut self, other: &Self) {
        let mine = [
            (&mut self.points, other.points),
            (&mut self.skipped, other.skipped),
            (&mut self.duplicates, other.duplicates),
            (&mut self.resets, other.resets),
            (&mut self.overlaps, other.overlaps),
        ];
        mine.into_iter().for_each(|(count, more)| *count = count.saturating_add(more));
    }
}

pub(super) fn join_levels(levels: &mut Option<Levels>, later: Option<Levels>) {
    *levels = match (*levels, later) {
        (Some(a), Some(b)) => {
            Some(Levels { min: a.min.min(b.min), max: a.max.max(b.max), sum: a.sum + b.sum, last: b.last })
        }
        (a, b) => b.or(a),
    };
}

/// Keeps of each quantile the largest value; those without a value are left out.
pub(super) fn join_quantiles(quantiles: &mut Vec<(f64, f64)>, others: &[(f64, f64)]) {
    for (quantile, value) in others.iter().filter(|(quantile, value)| !quantile.is_nan() && !value.is_nan()) {
        // Zero is one quantile, whatever its sign.
        let quantile = *quantile + 0.0;
        match quantiles.binary_search_by(|(known, _)| known.total_cmp(&quantile)) {
            Ok(place) => quantiles[place].1 = quantiles[place].1.max(*value),
            Err(place) => quantiles.insert(place, (quantile, *value)),
        }
    }
}
