//! A packed row, taken apart into fields that are alike from row to row.
//!
//! Only what is written in the one usual way is taken apart, so that [`put`] writes the same bytes again. Everything
//! else is kept as it came: a field as one piece, or the whole row.

use crate::model::packed::write::put_varint;

/// Fields of a row that is taken apart, at most.
pub(super) const FIELDS_MAX: usize = 256;

/// What a column holds of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The text of an attribute.
    Text = 0,
    /// The integer of an attribute.
    Int = 1,
    /// The truth value of an attribute.
    Bool = 2,
    /// The double of an attribute.
    Double = 3,
    /// The content of a length-delimited field: events, links, attributes of other kinds.
    Bytes = 4,
    /// A varint field.
    Varint = 5,
    /// A field of eight bytes.
    Fixed64 = 6,
    /// A field of four bytes.
    Fixed32 = 7,
    /// A row that cannot be taken apart.
    Row = 8,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) kind: Kind,
    /// Its number in the message.
    pub(super) number: u32,
    /// Of an attribute.
    pub(super) key: &'a [u8],
    pub(super) value: Value<'a>,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Text,
        Self::Int,
        Self::Bool,
        Self::Double,
        Self::Bytes,
        Self::Varint,
        Self::Fixed64,
        Self::Fixed32,
        Self::Row,
    ];

    pub(super) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u64 == number)
    }

    pub(super) const fn is_attribute(self) -> bool {
        matches!(self, Self::Text | Self::Int | Self::Bool | Self::Double)
    }

    /// Whether values are bytes; they are numbers otherwise.
    pub(super) const fn is_bytes(self) -> bool {
        matches!(self, Self::Text | Self::Bytes | Self::Row)
    }
}

/// Replaces `fields` by those of `row`.
pub(super) fn split<'a>(row: &'a [u8], fields: &mut Vec<Field<'a>>) {
    fields.clear();
    if read_all(row, fields).is_none() {
        fields.clear();
        fields.push(Field { kind: Kind::Row, number: 0, key: &[], value: Value::Bytes(row) });
    }
}

fn read_all<'a>(row: &'a [u8], fields: &mut Vec<Field<'a>>) -> Option<()> {
    let mut rest = row;
    while !rest.is_empty() {
        if fields.len() == FIELDS_MAX {
            return None;
        }
        let tag = take_shortest(&mut rest)?;
        let number = u32::try_from(tag >> 3).ok()?;
        let whole = |kind, value| Field { kind, number, key: &[], value };
        fields.push(match tag & 7 {
            0 => whole(Kind::Varint, Value::Number(take_shortest(&mut rest)?)),
            1 => whole(Kind::Fixed64, Value::Number(u64::from_le_bytes(take_array(&mut rest)?))),
            2 => {
                let content = take_delimited(&mut rest)?;
                match attribute(content) {
                    Some((key, kind, value)) => Field { kind, number, key, value },
                    None => whole(Kind::Bytes, Value::Bytes(content)),
                }
            }
            5 => whole(Kind::Fixed32, Value::Number(u32::from_le_bytes(take_array(&mut rest)?).into())),
            _ => return None,
        });
    }
    Some(())
}

/// The key and the value of a `KeyValue` message whose value is of a simple kind.
fn attribute(content: &[u8]) -> Option<(&[u8], Kind, Value<'_>)> {
    let mut rest = content.strip_prefix(&[KEY])?;
    let key = take_delimited(&mut rest)?;
    let mut rest = rest.strip_prefix(&[VALUE])?;
    let mut value = take_delimited(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    let (tag, content) = value.split_first()?;
    value = content;
    let (kind, found) = match *tag {
        TEXT => (Kind::Text, Value::Bytes(take_delimited(&mut value)?)),
        INT => (Kind::Int, Value::Number(take_shortest(&mut value)?)),
        BOOL => (Kind::Bool, Value::Number(take_shortest(&mut value)?)),
        DOUBLE => (Kind::Double, Value::Number(u64::from_le_bytes(take_array(&mut value)?))),
        _ => return None,
    };
    value.is_empty().then_some((key, kind, found))
}

/// Tags of `KeyValue` and of `AnyValue` (opentelemetry-proto, common.proto).
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const TEXT: u8 = 1 << 3 | 2;
const BOOL: u8 = 2 << 3;
const INT: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | 1;

/// Appends a field as it came.
pub(super) fn put(field: Field<'_>, out: &mut Vec<u8>) {
    let tag = |wire: u64| u64::from(field.number) << 3 | wire;
    match (field.kind, field.value) {
        (Kind::Row, Value::Bytes(row)) => out.extend_from_slice(row),
        (Kind::Text, Value::Bytes(text)) => {
            put_attribute(field, TEXT, 1 + delimited(text.len()), out, |out| {
                put_delimited(text, out);
            })
        }
        (Kind::Int | Kind::Bool, Value::Number(number)) => {
            let tag = if field.kind == Kind::Int { INT } else { BOOL };
            put_attribute(field, tag, 1 + varint_bytes(number), out, |out| put_varint(number, out));
        }
        (Kind::Double, Value::Number(bits)) => {
            put_attribute(field, DOUBLE, 9, out, |out| out.extend_from_slice(&bits.to_le_bytes()));
        }
        (Kind::Varint, Value::Number(number)) => {
            put_varint(tag(0), out);
            put_varint(number, out);
        }
        (Kind::Fixed64, Value::Number(number)) => {
            put_varint(tag(1), out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        (Kind::Fixed32, Value::Number(number)) => {
            put_varint(tag(5), out);
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        (_, Value::Bytes(content)) => {
            put_varint(tag(2), out);
            put_delimited(content, out);
        }
        // Bytes are never columns of numbers.
        (Kind::Row | Kind::Text | Kind::Bytes, Value::Number(_)) => {}
    }
}

/// Appends an attribute whose `AnyValue` has `bytes` bytes: a tag and what `put` writes.
fn put_attribute(field: Field<'_>, tag: u8, bytes: usize, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    put_varint(u64::from(field.number) << 3 | 2, out);
    put_varint((1 + delimited(field.key.len()) + 1 + delimited(bytes)) as u64, out);
    out.push(KEY);
    put_delimited(field.key, out);
    out.push(VALUE);
    put_varint(bytes as u64, out);
    out.push(tag);
    put(out);
}

fn put_delimited(content: &[u8], out: &mut Vec<u8>) {
    put_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Bytes that content of `length` takes with its length before it.
const fn delimited(length: usize) -> usize {
    varint_bytes(length as u64) + length
}

const fn varint_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn take_delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_shortest(rest)?).ok()?;
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

/// Takes a varint that has no more bytes than it needs.
fn take_shortest(rest: &mut &[u8]) -> Option<u64> {
    if let [byte @ ..0x80, after @ ..] = *rest {
        *rest = after;
        return Some(u64::from(*byte));
    }
    let before = rest.len();
    let number = crate::model::packed::wire::take_varint(rest)?;
    (before - rest.len() == varint_bytes(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::model::packed::write::Packer;

    fn again(row: &[u8]) -> (Vec<Kind>, Vec<u8>) {
        let (mut fields, mut out) = (Vec::new(), Vec::new());
        split(row, &mut fields);
        fields.iter().for_each(|field| put(*field, &mut out));
        (fields.iter().map(|field| field.kind).collect(), out)
    }

    #[test]
    fn usual_rows_are_taken_apart() {
        let mut packer = Packer::default();
        packer.attribute_text(9, "http.route", "/pay");
        packer.attribute_text(9, "empty", "");
        packer.attribute_int(9, "count", -3);
        packer.attribute_bool(9, "ok", true);
        packer.attribute_double(9, "ratio", 0.5);
        packer.attribute(9, "list", |any| any.message(5, |list| list.text(1, "x")));
        packer.varint(10, 300);
        packer.fixed64(11, 7);
        packer.fixed32(16, 0x101);
        let row = packer.finish();
        let (kinds, out) = again(&row);
        use Kind::{Bool, Bytes, Double, Fixed32, Fixed64, Int, Text, Varint};
        assert_eq!(kinds, [Text, Text, Int, Bool, Double, Bytes, Varint, Fixed64, Fixed32]);
        assert_eq!(out, row);
    }

    #[test]
    fn unusual_rows_stay_whole() {
        let many = [0x08, 0x01].repeat(FIELDS_MAX + 1);
        // A varint with a byte too many, a cut field, a group.
        for row in [&[0x08, 0x80, 0x00][..], &[0x0a, 0x05, 1], &[0x0b], &many] {
            assert_eq!(again(row), (vec![Kind::Row], row.to_vec()));
        }
        // An attribute whose value comes before its key, and one with a value longer than it says.
        for entry in
            [&b"\x12\x03\x0a\x01v\x0a\x01k"[..], b"\x0a\x01k\x12\x04\x0a\x01vv", b"\x0a\x01k\x12\x00"]
        {
            let row = [&[0x4a, entry.len() as u8], entry].concat();
            assert_eq!(again(&row), (vec![Kind::Bytes], row));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(row in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(again(&row).1, row);
        }

        #[test]
        fn lengths_are_counted_as_they_are_written(number in any::<u64>()) {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            prop_assert_eq!(out.len(), varint_bytes(number));
        }
    }
}
