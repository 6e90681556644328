//! What was counted, of whichever kind.

use super::explicit::Explicit;
use super::exponential::Exponential;
use super::nature::{Accrual, Nature};
use super::number::Number;
use super::totals::Totals;
use crate::model::metric::{MetricKind, Point, PointValue};

/// A count, or a distribution.
#[derive(Debug, Clone, PartialEq)]
pub enum Amount {
    /// Of a gauge or sum.
    Number(Number),
    /// Of a histogram.
    Explicit(Explicit),
    /// Of an exponential histogram.
    Exponential(Exponential),
    /// Of a summary.
    Totals(Totals),
}

impl Amount {
    /// The amount of a point of this nature; none for a gap and for what is no measurement: a NaN, an infinite number
    /// in a series whose numbers add up, a value of another kind.
    pub fn of(nature: Nature, point: &Point) -> Option<Self> {
        let number = match point.value {
            PointValue::Gap => return None,
            PointValue::Int(value) => Some(Number::Int(value)),
            PointValue::Double(value) => Some(Number::Double(value)),
            PointValue::Distribution { count, sum } => {
                let totals = Totals::new(count, sum, point.detail.extremes(nature.kind));
                return match nature.kind {
                    MetricKind::Histogram => {
                        Some(Self::Explicit(Explicit::new(point.detail.histogram(), totals)))
                    }
                    MetricKind::ExponentialHistogram => {
                        Some(Self::Exponential(Exponential::new(&point.detail.exponential(), totals)))
                    }
                    MetricKind::Summary => Some(Self::Totals(totals)),
                    MetricKind::Gauge | MetricKind::Sum => None,
                };
            }
        };
        let usable = |number: &Number| {
            let value = number.as_f64();
            value.is_finite() || (nature.accrual() == Accrual::Level && !value.is_nan())
        };
        number.filter(|_| nature.is_number()).filter(usable).map(Self::Number)
    }

    /// Adds another amount; one of another kind, which no series has, is left out.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(sum), Self::Number(more)) => *sum = sum.plus(*more),
            (Self::Explicit(sum), Self::Explicit(more)) => sum.add(more),
            (Self::Exponential(sum), Self::Exponential(more)) => sum.add(more),
            (Self::Totals(sum), Self::Totals(more)) => sum.add(more),
            _ => {}
        }
    }

    /// What came since `previous` of the same sequence; none when it fell, which tells that the sequence began anew
    /// in between.
    pub fn since(&self, previous: &Self) -> Option<Self> {
        match (self, previous) {
            (Self::Number(now), Self::Number(before)) => {
                (!now.is_below(*before)).then(|| Self::Number(now.minus(*before)))
            }
            (Self::Explicit(now), Self::Explicit(before)) => now.since(before).map(Self::Explicit),
            (Self::Exponential(now), Self::Exponential(before)) => now.since(before).map(Self::Exponential),
            (Self::Totals(now), Self::Totals(before)) => now.since(before).map(Self::Totals),
            _ => None,
        }
    }

    /// How far a level moved from `previous`; negative when it fell. None for distributions.
    pub fn change_from(&self, previous: &Self) -> Option<Self> {
        match (self, previous) {
            (Self::Number(now), Self::Number(before)) => Some(Self::Number(now.minus(*before))),
            _ => None,
        }
    }

    /// The number, of gauges and sums.
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Count, sum and extremes, of distributions.
    pub const fn totals(&self) -> Option<&Totals> {
        match self {
            Self::Number(_) => None,
            Self::Explicit(histogram) => Some(histogram.totals()),
            Self::Exponential(histogram) => Some(histogram.totals()),
            Self::Totals(totals) => Some(totals),
        }
    }

    /// A quantile estimated from buckets; see [`Explicit::quantile`] and [`Exponential::quantile`].
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        match self {
            Self::Explicit(histogram) => histogram.quantile(quantile),
            Self::Exponential(histogram) => histogram.quantile(quantile),
            Self::Number(_) | Self::Totals(_) => None,
        }
    }

    /// How much it is as one number: the number itself, or how many measurements.
    pub fn size(&self) -> f64 {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => self.totals().map_or(0.0, |totals| totals.count as f64),
        }
    }
}

/// Adds to what may be nothing yet.
pub(super) fn accrue(sum: &mut Option<Amount>, more: Option<Amount>) {
    match (sum.as_mut(), more) {
        (_, None) => {}
        (None, more) => *sum = more,
        (Some(sum), Some(more)) => sum.add(&more),
    }
}
