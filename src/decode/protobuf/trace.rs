//! Spans.

use super::reader::{Message, Value};
use super::{Door, Kept, Run};
use crate::decode::error::Error;
use crate::decode::notes::{Change, Reason};
use crate::decode::schema;
use crate::model::id::{SpanId, TraceId};
use crate::model::span::{Span, SpanDetail, SpanKind, Status};
use crate::model::time::UnixNanos;

/// Trace state, and everything from the attributes on.
const DETAIL: u32 = 1 << 3 | 0x1_fe00;

/// The tag that opens a gauge's data points. A gauge lies where a span has its name.
const GAUGE_TAG: u8 = b'\n';

/// Reads one span; none when it is rejected.
pub(super) fn span<'a>(door: &mut Door<'a>, message: Message<'a>) -> Result<Option<Span>, Error> {
    door.items += 1;
    let Some(wire) = Wire::read(door, message)? else {
        door.foreign += 1;
        door.notes.reject(Reason::Shape, 1);
        return Ok(None);
    };
    match wire.convert(door, message) {
        Ok(span) => Ok(Some(span)),
        Err(reason) => {
            // Spans have times even when their ids are broken; metrics have none in these places.
            let is_timeless = wire.start == 0 && wire.end == 0;
            door.foreign += u64::from(is_timeless && !message.bytes.is_empty());
            door.notes.reject(reason, 1);
            Ok(None)
        }
    }
}

/// The fields of a span as they come.
#[derive(Default)]
struct Wire<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_id: &'a [u8],
    name: Option<Message<'a>>,
    kind: u64,
    start: u64,
    end: u64,
    status: u64,
    detail: Run,
    clean: bool,
}

impl<'a> Wire<'a> {
    /// Walks and checks all fields; none when one of them has the wire type of another signal's.
    #[inline]
    fn read(door: &mut Door<'a>, message: Message<'a>) -> Result<Option<Self>, Error> {
        let mut wire = Self { clean: true, ..Self::default() };
        let (mut attributes, mut events, mut links) = (0, 0, 0);
        let mut has_status = false;
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (9, Value::Bytes(entry)) => {
                    attributes += 1;
                    wire.clean &= door.checker.attribute(entry)?;
                }
                (1, Value::Bytes(id)) => wire.trace_id = id.bytes,
                (2, Value::Bytes(id)) => wire.span_id = id.bytes,
                (3, Value::Bytes(state)) => wire.clean &= door.checker.text(state),
                (4, Value::Bytes(id)) => wire.parent_id = id.bytes,
                (5, Value::Bytes(name)) => wire.name = Some(name),
                (6, Value::Varint(kind)) => wire.kind = kind,
                (7, Value::Fixed64(nanos)) => wire.start = nanos,
                (8, Value::Fixed64(nanos)) => wire.end = nanos,
                (11, Value::Bytes(event)) => {
                    events += 1;
                    door.checker.part()?;
                    wire.clean &= door.checker.message(event, &schema::EVENT)?;
                }
                (13, Value::Bytes(link)) => {
                    links += 1;
                    door.checker.part()?;
                    wire.clean &= door.checker.message(link, &schema::LINK)?;
                }
                (15, Value::Bytes(status)) => {
                    // A second status costs as much as an attribute and is counted as one.
                    if std::mem::replace(&mut has_status, true) {
                        door.checker.part()?;
                    }
                    wire.status = status_code(status)?;
                    wire.clean &= door.checker.message(status, &schema::STATUS)?;
                }
                (10 | 12 | 14, Value::Varint(_)) | (16, Value::Fixed32(_)) => {}
                (1..=16, _) => return Ok(None),
                _ => continue,
            }
            if DETAIL >> field.number & 1 == 1 {
                wire.detail.add(&field);
            }
        }
        let limits = door.limits;
        wire.clean &= attributes <= limits.attributes_per_item_max
            && events <= limits.events_per_span_max
            && links <= limits.events_per_span_max;
        Ok(Some(wire))
    }

    #[inline]
    fn convert(&self, door: &mut Door<'a>, message: Message<'a>) -> Result<Span, Reason> {
        let trace_id = TraceId::try_from(self.trace_id).map_err(|_| Reason::TraceId)?;
        let span_id = SpanId::try_from(self.span_id).map_err(|_| Reason::SpanId)?;
        let name = self.name.filter(|name| !name.bytes.is_empty());
        if self.start == 0 && name.is_none() {
            return Err(Reason::Nameless);
        }
        let is_timeless = self.start == 0 && self.end == 0;
        if is_timeless && name.is_some_and(|name| name.bytes[0] == GAUGE_TAG) {
            return Err(Reason::Shape);
        }
        let (start, duration_ns) = self.times(door)?;
        let parent_id = SpanId::try_from(self.parent_id).ok();
        if parent_id.is_none() && ![0, 8].contains(&self.parent_id.len()) {
            door.notes.change(Change::Parent);
        }
        let kept = Kept { run: self.detail.clone(), mask: DETAIL, clean: self.clean };
        Ok(Span {
            trace_id,
            span_id,
            parent_id,
            name: door.optional_text(name),
            kind: SpanKind::from_otlp(self.kind),
            status: Status::from_otlp(self.status),
            start,
            duration_ns,
            detail: SpanDetail::from_checked(door.packed(message, &schema::SPAN, &kept)),
        })
    }

    /// Start and duration. Where the sender gives no start, its end stands in, else the time of receipt.
    fn times(&self, door: &mut Door<'a>) -> Result<(UnixNanos, u64), Reason> {
        let (start, end) = (door.time(self.start)?, door.time(self.end)?);
        if self.start == 0 {
            door.notes.change(Change::Start);
            return Ok((if self.end == 0 { door.received } else { door.recent(end)? }, 0));
        }
        door.recent(start)?;
        if end < start {
            door.notes.change(Change::End);
        }
        Ok((start, self.end.saturating_sub(self.start)))
    }
}

fn status_code(status: Message<'_>) -> Result<u64, Error> {
    let mut code = 0;
    let mut fields = status.fields();
    while let Some(field) = fields.next()? {
        if let (3, Value::Varint(value)) = (field.number, field.value) {
            code = value;
        }
    }
    Ok(code)
}
