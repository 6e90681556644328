//! The meaning of a packed `AnyValue` (opentelemetry-proto, common.proto).

use std::borrow::Cow;

use super::AttributeIter;
use super::wire::{self, Field, Fields};

/// One attribute value. Views share the packed bytes.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A value without content, or of a kind this version does not know.
    Empty,
    /// Text.
    Text(&'a str),
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double; may be NaN or infinite.
    Double(f64),
    /// An `ArrayValue` message: fields 1 are values.
    Array(Items<'a>),
    /// A `KeyValueList` message: fields 1 are attributes.
    Map(Entries<'a>),
    /// Opaque bytes.
    Bytes(&'a [u8]),
}

/// The packed elements of an array value.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// The elements in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        wire::messages(self.0, 1).map(any_value)
    }
}

/// The packed entries of a map value.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// The entries in order.
    pub const fn iter(self) -> AttributeIter<'a> {
        AttributeIter::within(self.0, 1)
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, Self::Empty) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Array(a), Self::Array(b)) => a.iter().eq(b.iter()),
            (Self::Map(a), Self::Map(b)) => a.iter().eq(b.iter()),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Value<'a> {
    /// The value as an integer, where it is one or is text that spells one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Renders the value for people: text as it is, everything else as JSON.
    pub fn render(&self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            _ => Cow::Owned(self.to_json()),
        }
    }

    /// Renders the value as JSON. Bytes become base64 text; NaN and infinities become text.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        super::json::write_value(self, 0, &mut out);
        out
    }
}

/// Reads a packed `AnyValue` message.
pub fn any_value(message: &[u8]) -> Value<'_> {
    let mut value = Value::Empty;
    for (number, field) in Fields::new(message) {
        value = match (number, field) {
            (1, Field::Bytes(text)) => std::str::from_utf8(text).map_or(Value::Empty, Value::Text),
            (2, Field::Varint(flag)) => Value::Bool(flag != 0),
            (3, Field::Varint(number)) => Value::Int(number as i64),
            (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
            (5, Field::Bytes(list)) => Value::Array(Items(list)),
            (6, Field::Bytes(list)) => Value::Map(Entries(list)),
            (7, Field::Bytes(bytes)) => Value::Bytes(bytes),
            _ => value,
        };
    }
    value
}

/// Reads a packed `KeyValue` message.
pub fn key_value(message: &[u8]) -> (&str, Value<'_>) {
    let (key, value) = key_and_value(message);
    (std::str::from_utf8(key).unwrap_or_default(), any_value(value))
}

/// The key and the packed `AnyValue` of a packed `KeyValue` message; empty where there is none.
#[inline]
pub(super) fn key_and_value(message: &[u8]) -> (&[u8], &[u8]) {
    if let Some(usual) = wire::usual_key_value(message) {
        return usual;
    }
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for (number, field) in Fields::new(message) {
        match (number, field) {
            (1, Field::Bytes(text)) => key = text,
            (2, Field::Bytes(inner)) => value = inner,
            _ => {}
        }
    }
    (key, value)
}
