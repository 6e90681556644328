//! OTLP protobuf to batches.
//!
//! One walk per item: core fields are read, everything else is checked and stays where it lies in the request.
//! A slice of the request becomes the item's detail; only damaged or scattered fields are packed anew.
//!
//! Files: [`reader`] reads the wire, [`scan`] counts before anything is allocated, [`attributes`] checks packed
//! values and [`mend`] repairs them; [`trace`], [`logs`] and [`metrics`] (with [`points`]) read the items.

mod attributes;
mod logs;
mod mend;
mod metrics;
mod points;
mod reader;
mod scan;
mod shapes;
mod trace;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use self::attributes::Checker;
use self::mend::Mender;
use self::reader::{Field, Message, Value};
use super::error::Error;
use super::limits::Limits;
use super::notes::{Change, Notes, Reason, Times};
use super::{Decoded, schema};
use crate::model::batch::{Batch, Group, Signal};
use crate::model::packed::Attributes;
use crate::model::resource::{Instrumentation, Resource, UNKNOWN_SERVICE};
use crate::model::text::Text;
use crate::model::time::UnixNanos;

/// Scattered details are gathered in blocks of this size, so that they do not cost an allocation each.
const ARENA_BYTES: usize = 64 * 1024;

/// Decodes one export request of `signal`.
pub(super) fn decode(
    signal: Signal,
    body: &Bytes,
    received: UnixNanos,
    limits: &Limits,
    notes: Notes,
) -> Result<Decoded, Error> {
    scan::count(signal, Message::whole(body), limits)?;
    let times = Times { received, age_max: limits.age_max.of(signal), ahead_max: limits.ahead_max };
    let mut door = Door {
        body,
        limits,
        received,
        latest: times.ahead_max.map_or(UnixNanos(i64::MAX), |ahead| received.plus(ahead)),
        earliest: times.age_max.map(|age| received.minus(age)),
        notes,
        checker: Checker::new(limits),
        arena: BytesMut::new(),
        items: 0,
        foreign: 0,
        unknown: 0,
    };
    let batch = match signal {
        Signal::Traces => Batch::Traces(door.groups(trace::span)?),
        Signal::Logs => Batch::Logs(door.groups(logs::record)?),
        Signal::Metrics => Batch::Metrics(door.groups(metrics::metric)?),
    };
    if door.items > 0 && door.items == door.foreign {
        return Err(Error::WrongSignal { signal, items: door.items });
    }
    if door.items == 0 {
        door.notes.changes(Change::Unknown, door.unknown);
    }
    let notes = &door.notes;
    Ok(Decoded {
        batch,
        rejected: notes.rejected(),
        too_old: notes.rejected_for(Reason::Old),
        in_the_future: notes.rejected_for(Reason::Future),
        attributes_dropped: notes.changed(Change::DroppedAttributes),
        attributes_shortened: notes.changed(Change::ShortenedAttribute),
        message: notes.message(signal, door.items, &times),
    })
}

/// Counts the items of a request without decoding it.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn count(signal: Signal, body: &[u8], limits: &Limits) -> Result<usize, Error> {
    scan::count(signal, Message::whole(body), limits)
}

/// What the readers of items share while one request is decoded.
struct Door<'a> {
    body: &'a Bytes,
    limits: &'a Limits,
    received: UnixNanos,
    latest: UnixNanos,
    /// Items before it are too old; none where age does not matter.
    earliest: Option<UnixNanos>,
    notes: Notes,
    checker: Checker<'a>,
    arena: BytesMut,
    /// Spans, records or points seen, rejected ones included.
    items: u64,
    /// Rejected ones that look like items of another signal.
    foreign: u64,
    /// Unknown fields around items.
    unknown: u64,
}

impl<'a> Door<'a> {
    /// Reads the groups of a request; the three signals nest alike.
    fn groups<T>(
        &mut self,
        read: impl Fn(&mut Self, Message<'a>) -> Result<Option<T>, Error>,
    ) -> Result<Vec<Group<T>>, Error> {
        let mut groups = Vec::new();
        let mut requests = Message::whole(self.body).fields();
        while let Some(field) = requests.next()? {
            let (1, Value::Bytes(resource_group)) = (field.number, field.value) else {
                self.unknown += 1;
                continue;
            };
            let outer = self.envelope(resource_group)?;
            let resource = Arc::new(self.resource(&outer)?);
            let mut scope_groups = resource_group.fields();
            while let Some(field) = scope_groups.next()? {
                let (2, Value::Bytes(scope_group)) = (field.number, field.value) else { continue };
                let inner = self.envelope(scope_group)?;
                let instrumentation = Arc::new(self.instrumentation(&inner)?);
                let mut items = Vec::with_capacity(inner.items);
                let mut fields = scope_group.fields();
                while let Some(field) = fields.next()? {
                    if let (2, Value::Bytes(item)) = (field.number, field.value) {
                        items.extend(read(self, item)?);
                    }
                }
                if !items.is_empty() {
                    groups.push(Group { resource: Arc::clone(&resource), instrumentation, items });
                }
            }
        }
        Ok(groups)
    }

    /// What a resource or scope group holds beside its items; fields may come in any order.
    fn envelope(&mut self, group: Message<'a>) -> Result<Envelope<'a>, Error> {
        let mut envelope = Envelope { sender: None, schema_url: None, items: 0 };
        let mut fields = group.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(sender)) => envelope.sender = Some(sender),
                (2, Value::Bytes(_)) => envelope.items += 1,
                (3, Value::Bytes(url)) => envelope.schema_url = Some(url),
                _ => self.unknown += 1,
            }
        }
        Ok(envelope)
    }

    fn resource(&mut self, envelope: &Envelope<'a>) -> Result<Resource, Error> {
        let (attributes, dropped_attributes) = match envelope.sender {
            Some(message) => self.list(message, &schema::RESOURCE, 1)?,
            None => (Attributes::default(), 0),
        };
        let service = attributes.text("service.name").unwrap_or(UNKNOWN_SERVICE).into();
        let schema_url = self.optional_text(envelope.schema_url);
        Ok(Resource { service, attributes, dropped_attributes, schema_url })
    }

    fn instrumentation(&mut self, envelope: &Envelope<'a>) -> Result<Instrumentation, Error> {
        let schema_url = self.optional_text(envelope.schema_url);
        let Some(scope) = envelope.sender else {
            return Ok(Instrumentation { schema_url, ..Instrumentation::default() });
        };
        let (attributes, dropped_attributes) = self.list(scope, &schema::SCOPE, 3)?;
        let (mut name, mut version) = (None, None);
        let mut fields = scope.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(text)) => name = Some(text),
                (2, Value::Bytes(text)) => version = Some(text),
                _ => {}
            }
        }
        let (name, version) = (self.optional_text(name), self.optional_text(version));
        Ok(Instrumentation { name, version, attributes, dropped_attributes, schema_url })
    }

    /// The attributes numbered `number` of a resource or scope, and how many were dropped, here or before.
    fn list(
        &mut self,
        message: Message<'a>,
        schema: &'static schema::Message,
        number: u32,
    ) -> Result<(Attributes, u32), Error> {
        let mut run = Run::default();
        let (mut count, mut dropped) = (0_usize, 0);
        let mut clean = true;
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            match field.value {
                Value::Bytes(entry) if field.number == number => {
                    clean &= self.checker.attribute(entry)?;
                    count += 1;
                    run.add(&field);
                }
                Value::Varint(value) if field.number == number + 1 => dropped = value,
                _ => {}
            }
        }
        let excess = count.saturating_sub(self.limits.attributes_per_item_max);
        let packed =
            self.packed(message, schema, &Kept { run, mask: 1 << number, clean: clean && excess == 0 });
        let dropped = dropped.saturating_add(excess as u64);
        Ok((Attributes::from_checked(packed), u32::try_from(dropped).unwrap_or(u32::MAX)))
    }

    /// The kept fields of `message`: shared where they lie together, else gathered, else mended.
    fn packed(&mut self, message: Message<'a>, schema: &'static schema::Message, kept: &Kept) -> Bytes {
        if !kept.clean {
            let mut mender = Mender { limits: self.limits, notes: &mut self.notes };
            return mender.mend(message, schema, kept.mask).finish();
        }
        if !kept.run.is_scattered {
            return if kept.run.range.is_empty() {
                Bytes::new()
            } else {
                self.body.slice(kept.run.range.clone())
            };
        }
        if self.arena.capacity() < message.bytes.len() {
            // Never more than the whole request could fill.
            self.arena.reserve(message.bytes.len().max(ARENA_BYTES.min(self.body.len())));
        }
        let mut fields = message.fields();
        while let Ok(Some(field)) = fields.next() {
            if field.number < 32 && kept.mask >> field.number & 1 == 1 {
                self.arena.extend_from_slice(&self.body[field.start..field.end]);
            }
        }
        self.arena.split().freeze()
    }

    fn text(&mut self, text: Message<'a>) -> Text {
        if text.bytes.is_empty() {
            Text::default()
        } else if self.checker.text(text) {
            Text::from_bytes(self.body.slice(text.range()))
        } else {
            let mut mender = Mender { limits: self.limits, notes: &mut self.notes };
            Text::from(mender.text(text.bytes, self.limits.value_bytes_max).into_owned())
        }
    }

    fn optional_text(&mut self, text: Option<Message<'a>>) -> Text {
        text.map(|text| self.text(text)).unwrap_or_default()
    }

    /// A time that may be stored.
    #[inline]
    fn time(&mut self, nanos: u64) -> Result<UnixNanos, Reason> {
        let time = i64::try_from(nanos).ok().map(UnixNanos).filter(|time| *time <= self.latest);
        time.ok_or_else(|| {
            self.notes.future(nanos);
            Reason::Future
        })
    }

    /// The time by which an item is kept, if it is not older than what is kept.
    #[inline]
    fn recent(&mut self, time: UnixNanos) -> Result<UnixNanos, Reason> {
        if self.earliest.is_some_and(|earliest| time < earliest) {
            self.notes.old(time.0.max(0).unsigned_abs());
            return Err(Reason::Old);
        }
        Ok(time)
    }
}

/// What a group holds beside its items.
struct Envelope<'a> {
    sender: Option<Message<'a>>,
    schema_url: Option<Message<'a>>,
    items: usize,
}

/// Which fields of a message are kept packed.
struct Kept {
    run: Run,
    /// Their numbers, as bits.
    mask: u32,
    /// True when they can stay as they are.
    clean: bool,
}

/// Where fields lie in the request, and whether others lie between them.
#[derive(Debug, Clone, Default)]
struct Run {
    range: Range<usize>,
    is_scattered: bool,
}

impl Run {
    #[inline]
    fn add(&mut self, field: &Field<'_>) {
        if self.range.is_empty() {
            self.range = field.start..field.end;
        } else {
            self.is_scattered |= self.range.end != field.start;
            self.range.end = field.end;
        }
    }
}
