//! What kind of series it is, and so what its points count.

use crate::model::metric::{MetricKind, Temporality};

/// Everything about a series that decides how its points are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nature {
    /// Which kind of data its points hold.
    pub kind: MetricKind,
    /// Over which time they count.
    pub temporality: Temporality,
    /// True for sums that only grow.
    pub monotonic: bool,
}

/// How the points of a series add up over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accrual {
    /// Each point is a level; levels do not add up (gauges).
    Level,
    /// Each point is a level that is the sum of changes; the difference of two is what changed (cumulative sums that
    /// may fall). A restart is no reset: the level simply is another one.
    Change,
    /// Each point counts since a start; the difference of two is what was counted between them (cumulative sums that
    /// only grow, cumulative distributions; also summaries, whose count and sum are cumulative).
    Total,
    /// Each point stands for itself (deltas).
    Delta,
}

impl Nature {
    /// How its points add up (data model, "Temporality").
    pub const fn accrual(self) -> Accrual {
        match (self.kind, self.temporality) {
            (MetricKind::Gauge, _) => Accrual::Level,
            (MetricKind::Summary, _) => Accrual::Total,
            (_, Temporality::Delta) => Accrual::Delta,
            (MetricKind::Sum, _) if !self.monotonic => Accrual::Change,
            _ => Accrual::Total,
        }
    }

    /// True for gauges and sums, whose points are single numbers.
    pub const fn is_number(self) -> bool {
        matches!(self.kind, MetricKind::Gauge | MetricKind::Sum)
    }
}
