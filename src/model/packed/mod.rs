//! Attributes and other rarely read parts of telemetry, kept packed: the bytes that arrived, once checked.
//!
//! Four fifths of a span are attributes that nobody looks at until something breaks. They stay as one shared
//! slice in the protobuf wire format (<https://protobuf.dev/programming-guides/encoding/>) from the socket to
//! the disk, and are read through views that allocate nothing. `decode` checks the bytes at the door (lengths,
//! UTF-8, nesting of at most [`DEPTH_MAX`]); after that every view is total: bytes that were never checked
//! yield fewer fields, never a panic.
//!
//! Files: [`wire`] reads fields, [`value`] and [`Attributes`] give them meaning, [`write`] packs them,
//! `json` renders values for people.

pub mod json;
pub mod value;
pub mod wire;
pub mod write;

use std::borrow::Cow;

use bytes::Bytes;

use self::value::Value;
use self::wire::{Field, Fields};

/// Deepest nesting of arrays and maps in an attribute value, the value itself included.
pub const DEPTH_MAX: usize = 32;

/// A list of attributes: a run of protobuf fields, each one `KeyValue` message whatever its field number.
///
/// The order of arrival is kept. Where a key comes twice, [`Attributes::get`] answers the last.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Bytes);

impl Attributes {
    /// Takes bytes that were checked to be a run of `KeyValue` fields.
    pub const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The same in memory of their own, for what is kept: they hold nothing of the request that they came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The packed bytes, for storage.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// What attributes are told apart by: they are a set with unique keys, in whatever order a sender puts them (common
    /// specification, "Attribute Collections"). By key, and of a key that comes twice the last.
    pub fn identity(&self) -> Cow<'_, [u8]> {
        if self.entries().map(|(key, _)| key).is_sorted_by(|a, b| a < b) {
            return Cow::Borrowed(&self.0);
        }
        let mut entries: Vec<(&[u8], &[u8])> = self.entries().collect();
        // Sorting keeps the order of those with one key, of which the last stays.
        entries.sort_by_key(|(key, _)| *key);
        let last = entries.chunk_by(|(a, _), (b, _)| a == b).filter_map(|same| same.last());
        Cow::Owned(last.flat_map(|(_, whole)| whole.iter().copied()).collect())
    }

    /// The key of each attribute, and the bytes of all of it.
    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (mut fields, mut from) = (Fields::new(&self.0), 0);
        std::iter::from_fn(move || {
            let (_, field) = fields.next()?;
            let to = self.0.len() - fields.remaining();
            let key = if let Field::Bytes(entry) = field { unread(entry).0 } else { &[] };
            let whole = self.0.get(from..to)?;
            from = to;
            Some((key, whole))
        })
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes in order of arrival.
    pub fn iter(&self) -> AttributeIter<'_> {
        AttributeIter { fields: Fields::new(&self.0), number: None }
    }

    /// The value of `key`; the last one where it comes twice.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.iter().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// The text of `key`, if it is text and not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Walks packed attributes; see [`Attributes::iter`].
#[derive(Debug, Clone)]
pub struct AttributeIter<'a> {
    fields: Fields<'a>,
    number: Option<u32>,
}

impl<'a> AttributeIter<'a> {
    /// The attributes among the fields of a larger message: those with field number `number`.
    pub const fn within(message: &'a [u8], number: u32) -> Self {
        Self { fields: Fields::new(message), number: Some(number) }
    }
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, field) = self.fields.next()?;
            if self.number.is_none_or(|wanted| wanted == number)
                && let Field::Bytes(entry) = field
            {
                return Some(value::key_value(entry));
            }
        }
    }
}

/// A value that was not read yet: who wants a few of many reads no others.
#[derive(Debug, Clone, Copy)]
pub struct UnreadValue<'a>(&'a [u8]);

/// The bytes of the key of a `KeyValue` message, and its value.
#[inline]
pub fn unread(entry: &[u8]) -> (&[u8], UnreadValue<'_>) {
    let (key, value) = value::key_and_value(entry);
    (key, UnreadValue(value))
}

impl<'a> UnreadValue<'a> {
    /// Reads it.
    pub fn read(self) -> Value<'a> {
        value::any_value(self.0)
    }

    /// Its text; empty where it is none.
    pub fn text(self) -> &'a str {
        match self.read() {
            Value::Text(text) => text,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::write::Packer;
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_packed() {
        let mut packer = Packer::default();
        packer.attribute_text(9, "http.route", "/pay");
        packer.attribute_int(9, "retries", -3);
        packer.attribute_text(9, "http.route", "/paid");
        packer.attribute_bool(9, "ok", true);
        packer.attribute_double(9, "ratio", 0.5);
        let attributes = Attributes::from_checked(packer.finish());
        assert_eq!(attributes.iter().count(), 5);
        assert_eq!(attributes.text("http.route"), Some("/paid"));
        assert_eq!(attributes.get("retries"), Some(Value::Int(-3)));
        assert_eq!(attributes.get("ok"), Some(Value::Bool(true)));
        assert_eq!(attributes.get("ratio"), Some(Value::Double(0.5)));
        assert_eq!(attributes.get("none"), None);
    }

    #[test]
    fn order_is_no_part_of_the_identity() {
        let packed = |entries: &[(&str, &str)]| {
            let mut packer = Packer::default();
            entries.iter().for_each(|(key, value)| packer.attribute_text(9, key, value));
            Attributes::from_checked(packer.finish())
        };
        let sorted = packed(&[("a", "1"), ("aa", "2"), ("b", "3")]);
        assert_eq!(*sorted.identity(), sorted.as_bytes()[..]);
        for other in [[("b", "3"), ("a", "1"), ("aa", "2")], [("aa", "2"), ("b", "3"), ("a", "1")]] {
            assert_eq!(packed(&other).identity(), sorted.identity());
        }
        let twice = packed(&[("b", "3"), ("a", "0"), ("aa", "2"), ("a", "1")]);
        assert_eq!(twice.identity(), sorted.identity(), "the last of one key counts");
        assert_ne!(packed(&[("a", "2"), ("aa", "1"), ("b", "3")]).identity(), sorted.identity());
        assert!(packed(&[]).identity().is_empty());
    }

    #[test]
    fn unchecked_bytes_never_panic() {
        let mut packer = Packer::default();
        packer.attribute_text(9, "key", "value");
        let good = packer.finish();
        for cut in 0..good.len() {
            let attributes = Attributes::from_checked(good.slice(..cut));
            assert_eq!(attributes.iter().count(), 0, "cut at {cut}");
        }
    }
}
