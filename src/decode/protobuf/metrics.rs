//! Metrics.

use super::points::{self, Layout};
use super::reader::{Message, Value};
use super::{Door, Kept, Run};
use crate::decode::error::Error;
use crate::decode::notes::Reason;
use crate::decode::schema;
use crate::model::metric::{Metric, MetricKind, Temporality};
use crate::model::packed::Attributes;

/// Attributes of the metric itself.
const METADATA: u32 = 1 << 12;

/// Reads one metric with its points; none when nothing of it is left.
pub(super) fn metric<'a>(door: &mut Door<'a>, message: Message<'a>) -> Result<Option<Metric>, Error> {
    let head = Head::read(message)?;
    if head.is_foreign {
        door.items += 1;
        door.foreign += 1;
        door.notes.reject(Reason::Shape, 1);
        return Ok(None);
    }
    let metadata = metadata(door, message)?;
    let Some((kind, data)) = head.data else { return Ok(None) };
    let data = Data::read(data)?;
    door.items += data.points as u64;
    let refusal = if head.name.is_none_or(|name| name.bytes.is_empty()) {
        Some(Reason::MetricName)
    } else if data.temporality(kind).is_none() {
        Some(Reason::Temporality)
    } else {
        None
    };
    if let Some(reason) = refusal {
        door.notes.reject(reason, data.points as u64);
        return Ok(None);
    }
    let mut points = Vec::with_capacity(data.points);
    let layout = Layout::of(kind);
    let mut fields = data.message.fields();
    while let Some(field) = fields.next()? {
        if let (1, Value::Bytes(point)) = (field.number, field.value) {
            match points::point(door, point, layout)? {
                Ok(point) => points.push(point),
                Err(reason) => door.notes.reject(reason, 1),
            }
        }
    }
    if points.is_empty() {
        return Ok(None);
    }
    Ok(Some(Metric {
        name: door.optional_text(head.name),
        unit: door.optional_text(head.unit),
        description: door.optional_text(head.description),
        metadata,
        kind,
        temporality: data.temporality(kind).unwrap_or_default(),
        monotonic: kind == MetricKind::Sum && data.monotonic,
        points,
    }))
}

/// The fields of a metric as they come.
#[derive(Default)]
pub(super) struct Head<'a> {
    name: Option<Message<'a>>,
    unit: Option<Message<'a>>,
    description: Option<Message<'a>>,
    /// The data and its kind; the last where there are several.
    pub(super) data: Option<(MetricKind, Message<'a>)>,
    /// True when a field has the wire type of another signal's.
    pub(super) is_foreign: bool,
}

impl<'a> Head<'a> {
    /// Walks the metric's own fields, not those of its points.
    pub(super) fn read(message: Message<'a>) -> Result<Self, Error> {
        let mut head = Self::default();
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(text)) => head.name = Some(text),
                (2, Value::Bytes(text)) => head.description = Some(text),
                (3, Value::Bytes(text)) => head.unit = Some(text),
                (5 | 7 | 9..=11, Value::Bytes(data)) => {
                    head.data = MetricKind::from_number(u64::from(field.number)).map(|kind| (kind, data));
                }
                (12, Value::Bytes(_)) => {}
                (1..=3 | 5 | 7 | 9..=12, _) => {
                    head.is_foreign = true;
                    break;
                }
                _ => {}
            }
        }
        Ok(head)
    }
}

/// The data of a metric without its points.
struct Data<'a> {
    message: Message<'a>,
    points: usize,
    temporality: u64,
    monotonic: bool,
}

impl<'a> Data<'a> {
    fn read(message: Message<'a>) -> Result<Self, Error> {
        let mut data = Self { message, points: 0, temporality: 0, monotonic: false };
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(_)) => data.points += 1,
                (2, Value::Varint(number)) => data.temporality = number,
                (3, Value::Varint(flag)) => data.monotonic = flag != 0,
                _ => {}
            }
        }
        Ok(data)
    }

    /// The temporality; none where the kind needs one and the sender gives none that is known.
    const fn temporality(&self, kind: MetricKind) -> Option<Temporality> {
        match (kind, self.temporality) {
            (MetricKind::Gauge | MetricKind::Summary, _) => Some(Temporality::None),
            (_, 1) => Some(Temporality::Delta),
            (_, 2) => Some(Temporality::Cumulative),
            _ => None,
        }
    }
}

fn metadata<'a>(door: &mut Door<'a>, message: Message<'a>) -> Result<Attributes, Error> {
    let mut kept = Kept { run: Run::default(), mask: METADATA, clean: true };
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        if let (12, Value::Bytes(entry)) = (field.number, field.value) {
            kept.clean &= door.checker.attribute(entry)?;
            kept.run.add(&field);
        }
    }
    Ok(Attributes::from_checked(door.packed(message, &schema::METRIC, &kept)))
}
