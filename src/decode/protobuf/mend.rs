//! Packs a checked message anew with what was wrong put right: text that is not UTF-8 is repaired, values past a
//! limit are cut, lists past a limit lose their end and the dropped count says so. Slow, and rarely needed.

use std::borrow::Cow;

use super::reader::{Message, Value};
use crate::decode::limits::Limits;
use crate::decode::notes::{Change, Notes};
use crate::decode::schema::{self, Cap, Kind, Presence};
use crate::model::packed::write::Packer;

/// Fields of every number.
const ALL: u32 = u32::MAX;

/// Mends messages of one request. Their nesting was checked before, so that recursion is bounded.
pub(super) struct Mender<'a> {
    pub(super) limits: &'a Limits,
    pub(super) notes: &'a mut Notes,
}

impl Mender<'_> {
    /// The fields of `message` whose numbers are bits of `kept`, mended. Unknown fields are left out.
    pub(super) fn mend(&mut self, message: Message<'_>, schema: &schema::Message, kept: u32) -> Packer {
        let mut out = Packer::default();
        self.fields(message, schema, kept, self.limits.value_bytes_max, &mut out);
        out
    }

    /// One text, repaired and cut.
    pub(super) fn text<'t>(&mut self, text: &'t [u8], bytes_max: usize) -> Cow<'t, str> {
        let mut mended = String::from_utf8_lossy(text);
        if matches!(mended, Cow::Owned(_)) {
            self.notes.change(Change::Repaired);
        }
        if mended.len() > bytes_max {
            self.notes.change(Change::Shortened);
            let cut = mended.floor_char_boundary(bytes_max);
            match &mut mended {
                Cow::Borrowed(text) => *text = &text[..cut],
                Cow::Owned(text) => text.truncate(cut),
            }
        }
        mended
    }

    fn fields(
        &mut self,
        message: Message<'_>,
        schema: &schema::Message,
        kept: u32,
        bytes_max: usize,
        out: &mut Packer,
    ) {
        let excess = self.excess(message, schema, kept);
        let mut left: Vec<(u32, usize)> = excess.iter().map(|excess| (excess.number, excess.limit)).collect();
        let mut fields = message.fields();
        while let Ok(Some(field)) = fields.next() {
            let Some(known) = schema.by_number(field.number).filter(|known| kept >> known.number & 1 == 1)
            else {
                continue;
            };
            if excess.iter().any(|excess| excess.counter == known.number) {
                continue;
            }
            if let Some((_, left)) = left.iter_mut().find(|(number, _)| *number == known.number) {
                if *left == 0 {
                    continue;
                }
                *left -= 1;
            }
            match (known.kind, field.value) {
                (Kind::Text, Value::Bytes(text)) => {
                    out.text(known.number, &self.text(text.bytes, bytes_max));
                }
                (Kind::Bytes, Value::Bytes(bytes)) if bytes.bytes.len() > bytes_max => {
                    self.notes.change(Change::Shortened);
                    out.bytes(known.number, &bytes.bytes[..bytes_max]);
                }
                (Kind::Message(schema), Value::Bytes(inner)) => {
                    out.message(known.number, |out| self.fields(inner, schema, ALL, bytes_max, out));
                }
                (Kind::Body, Value::Bytes(inner)) => {
                    let bytes_max = self.limits.body_bytes_max;
                    out.message(known.number, |out| {
                        self.fields(inner, &schema::ANY_VALUE, ALL, bytes_max, out);
                    });
                }
                (_, Value::Bytes(bytes)) => out.bytes(known.number, bytes.bytes),
                (_, Value::Varint(value)) => out.varint(known.number, value),
                (_, Value::Fixed64(value)) => out.fixed64(known.number, value),
                (_, Value::Fixed32(value)) => out.fixed32(known.number, value),
            }
        }
        for excess in excess {
            self.notes.changes(Change::Dropped, excess.dropped);
            if kept >> excess.counter & 1 == 1 {
                let total = excess.dropped.saturating_add(excess.dropped_before).min(u64::from(u32::MAX));
                out.varint(excess.counter, total);
            }
        }
    }

    /// The lists of `message` that are longer than allowed.
    fn excess(&self, message: Message<'_>, schema: &schema::Message, kept: u32) -> Vec<Excess> {
        let mut found = Vec::new();
        for known in schema.fields {
            let Presence::Capped(cap, counter) = known.presence else { continue };
            if kept >> known.number & 1 == 0 {
                continue;
            }
            let limit = match cap {
                Cap::Attributes => self.limits.attributes_per_item_max,
                Cap::Events => self.limits.events_per_span_max,
            };
            let (mut count, mut dropped_before) = (0_usize, 0);
            let mut fields = message.fields();
            while let Ok(Some(field)) = fields.next() {
                match field.value {
                    Value::Bytes(_) if field.number == known.number => count += 1,
                    Value::Varint(value) if field.number == counter => dropped_before = value,
                    _ => {}
                }
            }
            if count > limit {
                let dropped = (count - limit) as u64;
                found.push(Excess { number: known.number, limit, counter, dropped, dropped_before });
            }
        }
        found
    }
}

/// A list that is longer than allowed.
struct Excess {
    number: u32,
    limit: usize,
    counter: u32,
    dropped: u64,
    dropped_before: u64,
}
