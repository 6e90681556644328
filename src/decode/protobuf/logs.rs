//! Log records.

use super::reader::{Message, Value};
use super::{Door, Kept, Run};
use crate::decode::error::Error;
use crate::decode::notes::{Change, Reason};
use crate::decode::schema;
use crate::model::id::{SpanId, TraceId};
use crate::model::log::{LogDetail, LogRecord, Severity};

/// Severity text 3, body 5, attributes 6 and their dropped count 7, flags 8, observed time 11, event name 12.
const DETAIL: u32 = 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12;

/// Reads one log record; none when it is rejected.
pub(super) fn record<'a>(door: &mut Door<'a>, message: Message<'a>) -> Result<Option<LogRecord>, Error> {
    door.items += 1;
    let Some(wire) = Wire::read(door, message)? else {
        door.foreign += 1;
        door.notes.reject(Reason::Shape, 1);
        return Ok(None);
    };
    match wire.convert(door, message) {
        Ok(record) => Ok(Some(record)),
        Err(reason) => {
            door.notes.reject(reason, 1);
            Ok(None)
        }
    }
}

/// The fields of a log record as they come.
#[derive(Default)]
struct Wire<'a> {
    time: u64,
    observed: u64,
    severity: u64,
    severity_text: &'a [u8],
    trace_id: &'a [u8],
    span_id: &'a [u8],
    detail: Run,
    clean: bool,
}

impl<'a> Wire<'a> {
    /// Walks and checks all fields; none when one of them has the wire type of another signal's.
    fn read(door: &mut Door<'a>, message: Message<'a>) -> Result<Option<Self>, Error> {
        let mut wire = Self { clean: true, ..Self::default() };
        let mut attributes = 0;
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (6, Value::Bytes(entry)) => {
                    attributes += 1;
                    wire.clean &= door.checker.attribute(entry)?;
                }
                (1, Value::Fixed64(nanos)) => wire.time = nanos,
                (2, Value::Varint(number)) => wire.severity = number,
                (3, Value::Bytes(text)) => {
                    wire.severity_text = text.bytes;
                    wire.clean &= door.checker.text(text);
                }
                (5, Value::Bytes(body)) => wire.clean &= door.checker.body(body)?,
                (9, Value::Bytes(id)) => wire.trace_id = id.bytes,
                (10, Value::Bytes(id)) => wire.span_id = id.bytes,
                (11, Value::Fixed64(nanos)) => wire.observed = nanos,
                (12, Value::Bytes(name)) => wire.clean &= door.checker.text(name),
                (7, Value::Varint(_)) | (8, Value::Fixed32(_)) => {}
                (1..=3 | 5..=12, _) => return Ok(None),
                _ => continue,
            }
            if DETAIL >> field.number & 1 == 1 {
                wire.detail.add(&field);
            }
        }
        wire.clean &= attributes <= door.limits.attributes_per_item_max;
        Ok(Some(wire))
    }

    fn convert(self, door: &mut Door<'a>, message: Message<'a>) -> Result<LogRecord, Reason> {
        let time = match (self.time, self.observed) {
            (0, 0) => door.received,
            (0, nanos) | (nanos, _) => {
                let time = door.time(nanos)?;
                door.recent(time)?
            }
        };
        let trace_id = TraceId::try_from(self.trace_id).ok();
        let span_id = trace_id.and_then(|_| SpanId::try_from(self.span_id).ok());
        if ![0, 16].contains(&self.trace_id.len()) || ![0, 8].contains(&self.span_id.len()) {
            door.notes.change(Change::LogIds);
        }
        let kept = Kept { run: self.detail.clone(), mask: DETAIL, clean: self.clean };
        Ok(LogRecord {
            time,
            severity: self.severity(),
            trace_id,
            span_id,
            detail: LogDetail::from_checked(door.packed(message, &schema::LOG_RECORD, &kept)),
        })
    }

    fn severity(&self) -> Severity {
        let number = Severity::from_otlp(self.severity);
        if number != Severity::default() {
            return number;
        }
        std::str::from_utf8(self.severity_text).ok().and_then(Severity::from_name).unwrap_or_default()
    }
}
