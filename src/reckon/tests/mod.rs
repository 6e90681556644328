//! Laws and oracles of reckoning.

mod distributions;
mod laws;
mod resets;
mod sliding;

use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::time::UnixNanos;
use crate::reckon::Nature;

const SECOND: i64 = 1_000_000_000;

const fn nature(kind: MetricKind, temporality: Temporality, monotonic: bool) -> Nature {
    Nature { kind, temporality, monotonic }
}

const COUNTER: Nature = nature(MetricKind::Sum, Temporality::Cumulative, true);
const DELTA: Nature = nature(MetricKind::Sum, Temporality::Delta, true);
const UP_DOWN: Nature = nature(MetricKind::Sum, Temporality::Cumulative, false);
const GAUGE: Nature = nature(MetricKind::Gauge, Temporality::None, false);
const HISTOGRAM: Nature = nature(MetricKind::Histogram, Temporality::Cumulative, false);
const HISTOGRAM_DELTA: Nature = nature(MetricKind::Histogram, Temporality::Delta, false);
const EXPONENTIAL: Nature = nature(MetricKind::ExponentialHistogram, Temporality::Cumulative, false);
const EXPONENTIAL_DELTA: Nature = nature(MetricKind::ExponentialHistogram, Temporality::Delta, false);
const SUMMARY: Nature = nature(MetricKind::Summary, Temporality::None, false);

/// A point at `time` that counts from `start`, both in seconds.
fn point(start: i64, time: i64, value: PointValue) -> Point {
    Point {
        time: UnixNanos(time * SECOND),
        start: UnixNanos(start * SECOND),
        attributes: Attributes::default(),
        value,
        detail: PointDetail::default(),
    }
}

fn int(start: i64, time: i64, value: i64) -> Point {
    point(start, time, PointValue::Int(value))
}

/// A histogram point, as OTLP packs it.
fn histogram(start: i64, time: i64, bounds: &[f64], counts: &[u64], extremes: Option<(f64, f64)>) -> Point {
    let mut packer = Packer::default();
    packer.fixed64s(6, counts.iter().copied());
    packer.fixed64s(7, bounds.iter().map(|bound| bound.to_bits()));
    if let Some((min, max)) = extremes {
        packer.double(11, min);
        packer.double(12, max);
    }
    let count = counts.iter().sum();
    let value = PointValue::Distribution { count, sum: Some(count as f64) };
    Point { detail: PointDetail::from_checked(packer.finish()), ..point(start, time, value) }
}

/// An exponential histogram point with positive and negative buckets from an offset on.
fn exponential(
    (start, time): (i64, i64),
    scale: i32,
    (zero_count, zero_threshold): (u64, f64),
    positive: (i32, &[u64]),
    negative: (i32, &[u64]),
) -> Point {
    let mut packer = Packer::default();
    packer.zigzag(6, scale.into());
    packer.fixed64(7, zero_count);
    for (number, (offset, counts)) in [(8, positive), (9, negative)] {
        packer.message(number, |side| {
            side.zigzag(1, offset.into());
            side.varints(2, counts);
        });
    }
    packer.double(14, zero_threshold);
    let count = zero_count + positive.1.iter().chain(negative.1).sum::<u64>();
    let value = PointValue::Distribution { count, sum: Some(count as f64) };
    Point { detail: PointDetail::from_checked(packer.finish()), ..point(start, time, value) }
}

fn summary(time: i64, count: u64, quantiles: &[(f64, f64)]) -> Point {
    let mut packer = Packer::default();
    for (quantile, value) in quantiles {
        packer.message(6, |message| {
            message.double(1, *quantile);
            message.double(2, *value);
        });
    }
    let value = PointValue::Distribution { count, sum: Some(count as f64) };
    Point { detail: PointDetail::from_checked(packer.finish()), ..point(0, time, value) }
}
