//! Metrics (opentelemetry-proto, metrics.proto).

use bytes::Bytes;

use super::packed::Attributes;
use super::packed::wire::{self, Field};
use super::text::Text;
use super::time::UnixNanos;

/// The five kinds of metric data. The number is the field number in OTLP's `Metric` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricKind {
    /// A sampled value.
    Gauge = 5,
    /// A sum of measurements.
    Sum = 7,
    /// A distribution in explicit buckets.
    Histogram = 9,
    /// A distribution in exponential buckets.
    ExponentialHistogram = 10,
    /// Quantiles computed by the sender.
    Summary = 11,
}

impl MetricKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Gauge, Self::Sum, Self::Histogram, Self::ExponentialHistogram, Self::Summary];

    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Sum => "sum",
            Self::Histogram => "histogram",
            Self::ExponentialHistogram => "exponential_histogram",
            Self::Summary => "summary",
        }
    }

    /// The kind with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u64 == number)
    }
}

/// Over which time a sum or distribution counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Temporality {
    /// Does not apply (gauges and summaries).
    #[default]
    None = 0,
    /// Since the previous point.
    Delta = 1,
    /// Since the series' start.
    Cumulative = 2,
}

/// How far apart two starts of one sequence may lie, in nanoseconds: a sender that reckons its start anew for each point
/// moves it as its clock is set and rounded.
pub const START_WANDER_NS: u64 = 2_000_000_000;

/// One metric with its points, all of one resource and scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The instrument's name; never empty.
    pub name: Text,
    /// The unit in UCUM; may be empty.
    pub unit: Text,
    /// What the sender says about it; may be empty.
    pub description: Text,
    /// Attributes of the metric itself, not of its points.
    pub metadata: Attributes,
    /// Which kind of data the points hold.
    pub kind: MetricKind,
    /// Over which time they count.
    pub temporality: Temporality,
    /// True for sums that only grow.
    pub monotonic: bool,
    /// The points, valid for `kind`.
    pub points: Vec<Point>,
}

/// One measured point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// When it was measured; never zero.
    pub time: UnixNanos,
    /// From when it counts; zero where the sender does not say.
    pub start: UnixNanos,
    /// What tells its series from the others of the metric.
    pub attributes: Attributes,
    /// What was measured.
    pub value: PointValue,
    /// Everything else.
    pub detail: PointDetail,
}

/// The value of a point, or its totals where it is a distribution.
#[derive(Debug, Clone, Copy)]
pub enum PointValue {
    /// The sender says that there is a gap here (flag "no recorded value").
    Gap,
    /// An integer.
    Int(i64),
    /// A double; may be NaN or infinite.
    Double(f64),
    /// A histogram, exponential histogram or summary; its shape is in the detail.
    Distribution {
        /// How many measurements.
        count: u64,
        /// Their sum; absent where the sender cannot tell.
        sum: Option<f64>,
    },
}

impl PartialEq for PointValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gap, Self::Gap) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Distribution { count: a, sum: x }, Self::Distribution { count: b, sum: y }) => {
                a == b && x.map(f64::to_bits) == y.map(f64::to_bits)
            }
            _ => false,
        }
    }
}

impl Eq for PointValue {}

/// The packed rest of a point: the fields of the OTLP data point message that are not fields of [`Point`], under
/// the numbers of the message of the metric's kind (buckets, bounds, quantiles, min, max, exemplars, flags).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PointDetail(Bytes);

/// The shape of a [`MetricKind::Histogram`] point.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// Upper bounds, strictly increasing; one fewer than the counts, or both are empty.
    pub bounds: Vec<f64>,
    /// Measurements in each bucket.
    pub counts: Vec<u64>,
}

/// One side of the shape of a [`MetricKind::ExponentialHistogram`] point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExponentialBuckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Measurements in each bucket from there on.
    pub counts: Vec<u64>,
}

/// The shape of a [`MetricKind::ExponentialHistogram`] point.
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    /// Bucket `i` holds values in `(base^i, base^(i+1)]` where `base = 2^(2^-scale)`.
    pub scale: i32,
    /// Measurements too close to zero for a bucket.
    pub zero_count: u64,
    /// How close to zero that is.
    pub zero_threshold: f64,
    /// Positive measurements.
    pub positive: ExponentialBuckets,
    /// Negative measurements, by absolute value.
    pub negative: ExponentialBuckets,
}

impl PointDetail {
    /// Takes fields that were checked at the door.
    pub const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The packed bytes, for storage.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The buckets of a histogram point.
    pub fn histogram(&self) -> Buckets {
        Buckets { bounds: wire::doubles(&self.0, 7), counts: wire::fixed64s(&self.0, 6) }
    }

    /// The buckets of an exponential histogram point.
    pub fn exponential(&self) -> Exponential {
        let side = |number| match wire::last(&self.0, number) {
            Some(Field::Bytes(message)) => ExponentialBuckets {
                offset: narrow(wire::unzigzag(wire::varint(message, 1))),
                counts: wire::varints(message, 2),
            },
            _ => ExponentialBuckets::default(),
        };
        let fixed = |number| match wire::last(&self.0, number) {
            Some(Field::Fixed64(bits)) => bits,
            _ => 0,
        };
        Exponential {
            scale: narrow(wire::unzigzag(wire::varint(&self.0, 6))),
            zero_count: fixed(7),
            zero_threshold: f64::from_bits(fixed(14)),
            positive: side(8),
            negative: side(9),
        }
    }

    /// The smallest and the largest measurement of a histogram or exponential histogram point, where its sender says.
    pub fn extremes(&self, kind: MetricKind) -> (Option<f64>, Option<f64>) {
        let number = |number| match wire::last(&self.0, number) {
            Some(Field::Fixed64(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        };
        match kind {
            MetricKind::Histogram => (number(11), number(12)),
            MetricKind::ExponentialHistogram => (number(12), number(13)),
            _ => (None, None),
        }
    }

    /// The quantiles of a summary point, as (quantile, value).
    pub fn quantiles(&self) -> Vec<(f64, f64)> {
        let number = |message, number| match wire::last(message, number) {
            Some(Field::Fixed64(bits)) => f64::from_bits(bits),
            _ => 0.0,
        };
        wire::messages(&self.0, 6).map(|message| (number(message, 1), number(message, 2))).collect()
    }
}

fn narrow(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}
