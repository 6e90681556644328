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
        let values =
            Values { bytes_max: self.limits.attribute_bytes(), shortened: Change::ShortenedAttribute };
        self.fields(message, schema, kept, values, &mut out);
        out
    }

    /// One text that is no attribute value, repaired and cut.
    pub(super) fn text<'t>(&mut self, text: &'t [u8], bytes_max: usize) -> Cow<'t, str> {
        self.cut(text, Values { bytes_max, shortened: Change::Shortened })
    }

    fn cut<'t>(&mut self, text: &'t [u8], values: Values) -> Cow<'t, str> {
        let Values { bytes_max, shortened } = values;
        let mut mended = String::from_utf8_lossy(head(text, bytes_max));
        if matches!(mended, Cow::Owned(_)) {
            self.notes.change(Change::Repaired);
        }
        if mended.len() > bytes_max {
            self.notes.change(shortened);
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
        values: Values,
        out: &mut Packer,
    ) {
        // Names and keys have a bound of their own; only what an `AnyValue` holds is a value.
        let is_value = std::ptr::eq(schema, &raw const schema::ANY_VALUE);
        let name = Values { bytes_max: self.limits.value_bytes_max, shortened: Change::Shortened };
        let texts = if is_value { values } else { name };
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
                    out.text(known.number, &self.cut(text.bytes, texts));
                }
                (Kind::Bytes, Value::Bytes(bytes)) if bytes.bytes.len() > texts.bytes_max => {
                    self.notes.change(texts.shortened);
                    out.bytes(known.number, &bytes.bytes[..texts.bytes_max]);
                }
                (Kind::Message(schema), Value::Bytes(inner)) => {
                    out.message(known.number, |out| self.fields(inner, schema, ALL, values, out));
                }
                (Kind::Body, Value::Bytes(inner)) => {
                    let body = Values { bytes_max: self.limits.body_bytes_max, shortened: Change::Shortened };
                    out.message(known.number, |out| {
                        self.fields(inner, &schema::ANY_VALUE, ALL, body, out);
                    });
                }
                (_, Value::Bytes(bytes)) => out.bytes(known.number, bytes.bytes),
                (_, Value::Varint(value)) => out.varint(known.number, value),
                (_, Value::Fixed64(value)) => out.fixed64(known.number, value),
                (_, Value::Fixed32(value)) => out.fixed32(known.number, value),
            }
        }
        for excess in excess {
            self.notes.changes(excess.change, excess.dropped);
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
            let (limit, change) = match cap {
                Cap::Attributes => (self.limits.attributes_per_item_max, Change::DroppedAttributes),
                Cap::Events => (self.limits.events_per_span_max, Change::Dropped),
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
                found.push(Excess { number: known.number, limit, counter, change, dropped, dropped_before });
            }
        }
        found
    }
}

/// How long values may be, and what is noted where one is longer.
#[derive(Clone, Copy)]
struct Values {
    bytes_max: usize,
    shortened: Change,
}

/// A list that is longer than allowed.
struct Excess {
    number: u32,
    limit: usize,
    counter: u32,
    change: Change,
    dropped: u64,
    dropped_before: u64,
}

/// The start of `text` that decides what is kept of it. Repairs never shorten, so that what lies well past the limit
/// cannot come back and need not be copied. Characters stay whole.
fn head(text: &[u8], bytes_max: usize) -> &[u8] {
    let end = bytes_max.saturating_add(8);
    if end >= text.len() {
        return text;
    }
    let is_inside = |at: &usize| text[*at] & 0xc0 == 0x80;
    &text[..end - (0..3).take_while(|back| is_inside(&(end - back))).count()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof};
    use proptest::{collection, proptest, sample};

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<char>().prop_map(|character| character.to_string().into_bytes()),
            sample::select(vec![b"a".to_vec(), b"\xff".to_vec(), b"\xf0\x9f\x98".to_vec(), b"\x80".to_vec()]),
        ];
        collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a10_texts_are_repaired_then_cut(text in bytes(), bytes_max in 0..40_usize) {
            let mut notes = Notes::default();
            let mended = Mender { limits: &Limits::default(), notes: &mut notes }.text(&text, bytes_max).into_owned();
            let whole = String::from_utf8_lossy(&text);
            assert_eq!(mended, whole[..whole.floor_char_boundary(bytes_max)]);
            let is_told = notes.changed(Change::Repaired) + notes.changed(Change::Shortened) > 0;
            assert_eq!(is_told, mended.as_bytes() != text);
        }
    }
}
