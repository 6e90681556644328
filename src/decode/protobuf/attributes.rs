//! Checks packed values where they lie: lengths, UTF-8, nesting and number. Nothing is copied or changed;
//! what is not clean goes on to [`super::mend`].

use super::reader::{Message, Value};
use crate::decode::error::Error;
use crate::decode::limits::Limits;
use crate::decode::schema::{self, Kind, Presence};

/// Checks the parts of one request against its limits. The answers say whether the bytes can stay as they are.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    limits: &'a Limits,
    parts_left: usize,
}

impl<'a> Checker<'a> {
    pub(super) const fn new(limits: &'a Limits) -> Self {
        Self { limits, parts_left: limits.attributes_max }
    }

    /// Counts one attribute, array element, event, link, exemplar or quantile.
    #[inline]
    pub(super) fn part(&mut self) -> Result<(), Error> {
        match self.parts_left.checked_sub(1) {
            Some(left) => {
                self.parts_left = left;
                Ok(())
            }
            None => Err(Error::TooManyItems {
                what: "attributes, array elements, events, links and exemplars",
                max: self.limits.attributes_max,
            }),
        }
    }

    /// Checks an attribute of an item, and counts it.
    #[inline]
    pub(super) fn attribute(&mut self, entry: Message<'_>) -> Result<bool, Error> {
        self.part()?;
        self.key_value(entry, 1, self.limits.value_bytes_max)
    }

    /// Checks the body of a log record.
    pub(super) fn body(&mut self, value: Message<'_>) -> Result<bool, Error> {
        self.any_value(value, 1, self.limits.body_bytes_max)
    }

    /// Checks text that is no part of a log body.
    #[inline]
    pub(super) fn text(&self, text: Message<'_>) -> bool {
        is_clean(text.bytes, self.limits.value_bytes_max)
    }

    /// Checks any message without `AnyValue` fields of its own.
    pub(super) fn message(
        &mut self,
        message: Message<'_>,
        schema: &'static schema::Message,
    ) -> Result<bool, Error> {
        let mut clean = true;
        let mut capped = 0;
        let mut fields = message.fields();
        while let Some(field) = fields.next()? {
            let (Some(known), Value::Bytes(inner)) = (schema.by_number(field.number), field.value) else {
                continue;
            };
            clean &= match known.kind {
                Kind::Text => self.text(inner),
                Kind::Message(schema) if std::ptr::eq(schema, &raw const schema::KEY_VALUE) => {
                    self.attribute(inner)?
                }
                Kind::Message(schema) => {
                    self.part()?;
                    self.message(inner, schema)?
                }
                _ => true,
            };
            capped += usize::from(matches!(known.presence, Presence::Capped(..)));
        }
        Ok(clean && capped <= self.limits.attributes_per_item_max)
    }

    #[inline]
    fn key_value(&mut self, entry: Message<'_>, depth: usize, bytes_max: usize) -> Result<bool, Error> {
        let mut clean = true;
        let mut fields = entry.fields();
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(key)) => clean &= is_clean(key.bytes, self.limits.value_bytes_max),
                (2, Value::Bytes(value)) => clean &= self.any_value(value, depth, bytes_max)?,
                _ => {}
            }
        }
        Ok(clean)
    }

    #[inline]
    fn any_value(&mut self, value: Message<'_>, depth: usize, bytes_max: usize) -> Result<bool, Error> {
        // The value itself is the first level.
        if depth > self.limits.depth() {
            return Err(Error::TooDeep { depth_max: self.limits.depth(), offset: value.range().start });
        }
        let mut clean = true;
        let mut fields = value.fields();
        while let Some(field) = fields.next()? {
            let Value::Bytes(inner) = field.value else { continue };
            clean &= match field.number {
                1 => is_clean(inner.bytes, bytes_max),
                5 | 6 => self.list(inner, field.number, depth, bytes_max)?,
                7 => inner.bytes.len() <= bytes_max,
                _ => true,
            };
        }
        Ok(clean)
    }

    /// Checks an `ArrayValue` (5) or `KeyValueList` (6) inside a value at `depth`.
    fn list(
        &mut self,
        list: Message<'_>,
        number: u32,
        depth: usize,
        bytes_max: usize,
    ) -> Result<bool, Error> {
        let mut clean = true;
        let mut fields = list.fields();
        while let Some(field) = fields.next()? {
            if let (1, Value::Bytes(inner)) = (field.number, field.value) {
                self.part()?;
                clean &= if number == 5 {
                    self.any_value(inner, depth + 1, bytes_max)?
                } else {
                    self.key_value(inner, depth + 1, bytes_max)?
                };
            }
        }
        Ok(clean)
    }
}

#[inline]
fn is_clean(text: &[u8], bytes_max: usize) -> bool {
    text.len() <= bytes_max && is_utf8(text)
}

/// True for valid UTF-8; quicker than the standard library on short ASCII, which nearly all keys and values are.
#[inline]
pub(super) fn is_utf8(text: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = text.as_chunks::<8>();
    let mut seen = words.iter().fold(0, |seen, word| seen | u64::from_ne_bytes(*word));
    seen |= tail.iter().fold(0, |seen, byte| seen | u64::from(*byte));
    seen & HIGH_BITS == 0 || std::str::from_utf8(text).is_ok()
}
