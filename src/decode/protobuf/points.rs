//! Metric points of all five kinds: what they share, and what is kept of the rest.

use super::reader::{Field, Message, Value};
use super::shapes::{Explicit, Exponential, Quantiles};
use super::{Door, Kept, Run};
use crate::decode::error::Error;
use crate::decode::notes::Reason;
use crate::decode::schema;
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue};
use crate::model::packed::Attributes;
use crate::model::time::UnixNanos;

/// The flag of a point without value.
const NO_RECORDED_VALUE: u64 = 1;

/// Where the point message of a kind has its fields.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    kind: MetricKind,
    schema: &'static schema::Message,
    attributes: u32,
    exemplars: u32,
    flags: u32,
    /// The numbers that are kept packed, as bits.
    detail: u32,
    /// The highest number in use; all from 2 on are.
    last: u32,
}

impl Layout {
    /// The layout of `kind`. Exemplars of summaries do not exist; 0 is no field's number.
    pub(super) const fn of(kind: MetricKind) -> Self {
        let (schema, [attributes, exemplars, flags, last], detail) = match kind {
            MetricKind::Gauge | MetricKind::Sum => (&schema::NUMBER_POINT, [7, 5, 8, 8], 1 << 5 | 1 << 8),
            MetricKind::Histogram => (&schema::HISTOGRAM_POINT, [9, 8, 10, 12], 0x1dc0),
            MetricKind::ExponentialHistogram => (&schema::EXPONENTIAL_POINT, [1, 11, 10, 14], 0x7fc0),
            MetricKind::Summary => (&schema::SUMMARY_POINT, [7, 0, 8, 8], 1 << 6 | 1 << 8),
        };
        Self { kind, schema, attributes, exemplars, flags, detail, last }
    }
}

/// Reads one point, or says why it is rejected.
pub(super) fn point<'a>(
    door: &mut Door<'a>,
    message: Message<'a>,
    layout: Layout,
) -> Result<Result<Point, Reason>, Error> {
    let mut wire = Wire {
        start: 0,
        time: 0,
        flags: 0,
        attributes: Kept { run: Run::default(), mask: 1 << layout.attributes, clean: true },
        attribute_count: 0,
        detail: Kept { run: Run::default(), mask: layout.detail, clean: true },
        measured: Measured::of(layout.kind),
    };
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        if !wire.take(door, &field, layout)? {
            return Ok(Err(Reason::Shape));
        }
    }
    Ok(wire.convert(door, message, layout))
}

/// The fields of a point as they come.
struct Wire {
    start: u64,
    time: u64,
    flags: u64,
    attributes: Kept,
    attribute_count: usize,
    detail: Kept,
    measured: Measured,
}

/// What was measured, as it comes.
enum Measured {
    Number(Option<PointValue>),
    Explicit { totals: Totals, shape: Explicit },
    Exponential { totals: Totals, shape: Exponential },
    Summary { totals: Totals, shape: Quantiles },
}

#[derive(Default)]
struct Totals {
    count: u64,
    sum: Option<f64>,
}

impl Wire {
    /// Takes in one field; false when it has the wrong wire type.
    fn take<'a>(&mut self, door: &mut Door<'a>, field: &Field<'a>, layout: Layout) -> Result<bool, Error> {
        let number = field.number;
        if number > layout.last || number == 1 && layout.attributes != 1 {
            return Ok(true);
        }
        match field.value {
            Value::Bytes(entry) if number == layout.attributes => {
                self.attribute_count += 1;
                self.attributes.clean &= door.checker.attribute(entry)?;
                self.attributes.run.add(field);
            }
            Value::Bytes(exemplar) if number == layout.exemplars => {
                door.checker.part()?;
                self.detail.clean &= door.checker.message(exemplar, &schema::EXEMPLAR)?;
            }
            Value::Varint(flags) if number == layout.flags => self.flags = flags,
            Value::Fixed64(nanos) if number == 2 => self.start = nanos,
            Value::Fixed64(nanos) if number == 3 => self.time = nanos,
            _ => {
                if !self.measured.take(door, field)? {
                    return Ok(false);
                }
            }
        }
        if layout.detail >> number & 1 == 1 {
            self.detail.run.add(field);
        }
        Ok(true)
    }

    fn convert<'a>(self, door: &mut Door<'a>, message: Message<'a>, layout: Layout) -> Result<Point, Reason> {
        if self.time == 0 {
            return Err(Reason::NoTime);
        }
        let (time, start): (UnixNanos, UnixNanos) = (door.time(self.time)?, door.time(self.start)?);
        door.recent(time)?;
        if self.attribute_count > door.limits.attributes_per_item_max {
            return Err(Reason::Attributes);
        }
        let value = if self.flags & NO_RECORDED_VALUE != 0 {
            PointValue::Gap
        } else {
            self.measured.value(door.limits.buckets_per_point_max)?
        };
        let attributes = Attributes::from_checked(door.packed(message, layout.schema, &self.attributes));
        let detail = PointDetail::from_checked(door.packed(message, layout.schema, &self.detail));
        Ok(Point { time, start, attributes, value, detail })
    }
}

impl Measured {
    fn of(kind: MetricKind) -> Self {
        let totals = Totals::default();
        match kind {
            MetricKind::Gauge | MetricKind::Sum => Self::Number(None),
            MetricKind::Histogram => Self::Explicit { totals, shape: Explicit::default() },
            MetricKind::ExponentialHistogram => Self::Exponential { totals, shape: Exponential::default() },
            MetricKind::Summary => {
                // A summary's sum is zero where the sender leaves it out.
                Self::Summary { totals: Totals { count: 0, sum: Some(0.0) }, shape: Quantiles::default() }
            }
        }
    }

    /// Takes in one field; false when it has the wrong wire type.
    fn take(&mut self, door: &mut Door<'_>, field: &Field<'_>) -> Result<bool, Error> {
        if let Self::Number(value) = self {
            return Ok(match (field.number, field.value) {
                (4, Value::Fixed64(bits)) => {
                    *value = Some(PointValue::Double(f64::from_bits(bits)));
                    true
                }
                (6, Value::Fixed64(bits)) => {
                    *value = Some(PointValue::Int(bits.cast_signed()));
                    true
                }
                _ => false,
            });
        }
        match (self, field.number, field.value) {
            (
                Self::Explicit { totals, .. }
                | Self::Exponential { totals, .. }
                | Self::Summary { totals, .. },
                number @ (4 | 5),
                Value::Fixed64(bits),
            ) => {
                if number == 4 {
                    totals.count = bits;
                } else {
                    totals.sum = Some(f64::from_bits(bits));
                }
                Ok(true)
            }
            (Self::Explicit { shape, .. }, ..) => shape.take(field),
            (Self::Exponential { shape, .. }, ..) => shape.take(field, door.limits.buckets_per_point_max),
            (Self::Summary { shape, .. }, 6, Value::Bytes(quantile)) => {
                door.checker.part()?;
                shape.take(quantile)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn value(self, buckets_max: usize) -> Result<PointValue, Reason> {
        let totals = match self {
            Self::Number(value) => return value.ok_or(Reason::NoValue),
            Self::Explicit { totals, shape } => {
                shape.check(totals.count, buckets_max)?;
                totals
            }
            Self::Exponential { totals, shape } => {
                shape.check(totals.count, buckets_max)?;
                totals
            }
            Self::Summary { totals, shape } => {
                shape.check()?;
                totals
            }
        };
        Ok(PointValue::Distribution { count: totals.count, sum: totals.sum })
    }
}
