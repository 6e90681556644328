//! What can be asked of the points in an interval.

use std::fmt;
use std::str::FromStr;

use super::nature::{Accrual, Nature};
use crate::model::metric::MetricKind;

/// A function of the points of a group of series in an interval. What a name means for each kind of series stands with
/// its variant; `measurements` are what a distribution counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// How much was counted per second (counters), how many measurements per second (distributions), how fast a level
    /// moved (sums that may fall). Summed over the series.
    Rate,
    /// How much was counted, how many measurements there were, how far the level moved. Summed over the series.
    Increase,
    /// Gauges and other levels: the means of the series added up. Counters: the increase. Distributions: the sum of the
    /// measurements.
    Sum,
    /// The mean of all recorded values, or of all measurements.
    Average,
    /// The least recorded value, or an estimate of the least measurement, from its bucket.
    Minimum,
    /// The greatest recorded value, or an estimate of the greatest measurement, from its bucket.
    Maximum,
    /// The newest recorded value of the group.
    Last,
    /// How many values were recorded, or how many measurements there were.
    Count,
    /// The value below which this share of the measurements lies, 0 to 1. Histograms answer an estimate from their
    /// buckets, summaries the largest value that any series reported for just this quantile.
    Quantile(f64),
}

/// Text that names no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no function; use rate, increase, sum, avg, min, max, last, count, or a percentile such as p50, p95 or p99.9"
)]
pub struct UnknownFunction(pub String);

impl Function {
    /// Why series of this nature do not answer it, and what to ask instead; none when they do.
    pub const fn unfit(self, nature: Nature) -> Option<&'static str> {
        match (self, nature.accrual()) {
            (Self::Rate | Self::Increase, Accrual::Level) => {
                Some("a gauge does not count anything; ask for avg, min, max, last or sum")
            }
            (Self::Quantile(_), _) if nature.is_number() => {
                Some("only histograms and summaries have percentiles; ask for avg, min or max")
            }
            (Self::Last, _) if !nature.is_number() => {
                Some("a distribution has no last value; ask for count, avg or a percentile")
            }
            _ => None,
        }
    }

    /// The quantile of a distribution that it asks for; none where it asks for something else.
    pub(super) const fn quantile_of(self, kind: MetricKind) -> Option<f64> {
        match (self, kind) {
            (Self::Quantile(quantile), _) => Some(quantile),
            (_, MetricKind::Gauge | MetricKind::Sum) => None,
            (Self::Minimum, _) => Some(0.0),
            (Self::Maximum, _) => Some(1.0),
            _ => None,
        }
    }
}

impl FromStr for Function {
    type Err = UnknownFunction;

    fn from_str(text: &str) -> Result<Self, UnknownFunction> {
        let percentile = |text: &str| {
            let digits = text.strip_prefix('p').filter(|it| it.starts_with(|c: char| c.is_ascii_digit()))?;
            digits.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
        };
        Ok(match text {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "sum" => Self::Sum,
            "avg" => Self::Average,
            "min" => Self::Minimum,
            "max" => Self::Maximum,
            "last" => Self::Last,
            "count" => Self::Count,
            _ => match percentile(text) {
                Some(percent) => Self::Quantile(percent / 100.0),
                None => return Err(UnknownFunction(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "rate",
            Self::Increase => "increase",
            Self::Sum => "sum",
            Self::Average => "avg",
            Self::Minimum => "min",
            Self::Maximum => "max",
            Self::Last => "last",
            Self::Count => "count",
            // Rounded, because 0.999 is not quite a thousandth of 999.
            Self::Quantile(quantile) => return write!(f, "p{}", (quantile * 1e8).round() / 1e6),
        })
    }
}
