//! Packing values: the inverse of [`super::wire`], for the doors whose input is not protobuf.

use bytes::{BufMut, Bytes, BytesMut};

/// Writes protobuf fields in the order of the calls.
#[derive(Debug, Default)]
pub struct Packer {
    out: BytesMut,
}

impl Packer {
    /// The packed bytes.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Appends fields that are packed already.
    pub fn raw(&mut self, packed: &[u8]) {
        self.out.put_slice(packed);
    }

    /// Writes a varint field (`uint32`, `uint64`, `bool`, enums).
    pub fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.put_varint(value);
    }

    /// Writes an `int64` field.
    pub fn int(&mut self, number: u32, value: i64) {
        self.varint(number, value as u64);
    }

    /// Writes a `sint32` or `sint64` field.
    pub fn zigzag(&mut self, number: u32, value: i64) {
        self.varint(number, (value << 1 ^ value >> 63) as u64);
    }

    /// Writes a `fixed64` field.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.out.put_u64_le(value);
    }

    /// Writes a `fixed32` field.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.out.put_u32_le(value);
    }

    /// Writes a `double` field.
    pub fn double(&mut self, number: u32, value: f64) {
        self.fixed64(number, value.to_bits());
    }

    /// Writes a `bytes` field, or a message that is packed already.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.put_varint(value.len() as u64);
        self.out.put_slice(value);
    }

    /// Writes a `string` field.
    pub fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    /// Writes a message field whose content `fill` writes.
    pub fn message(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(number, &inner.out);
    }

    /// Writes a packed repeated `fixed64` or `double` field; nothing when there are no values.
    pub fn fixed64s(&mut self, number: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() == 0 {
            return;
        }
        self.tag(number, 2);
        self.put_varint(8 * values.len() as u64);
        values.for_each(|value| self.out.put_u64_le(value));
    }

    /// Writes a packed repeated varint field; nothing when there are no values.
    pub fn varints(&mut self, number: u32, values: &[u64]) {
        if values.is_empty() {
            return;
        }
        let mut inner = Self::default();
        values.iter().for_each(|value| inner.put_varint(*value));
        self.bytes(number, &inner.out);
    }

    /// Writes a `KeyValue` field with a text value.
    pub fn attribute_text(&mut self, number: u32, key: &str, value: &str) {
        self.attribute(number, key, |any| any.text(1, value));
    }

    /// Writes a `KeyValue` field with a truth value.
    pub fn attribute_bool(&mut self, number: u32, key: &str, value: bool) {
        self.attribute(number, key, |any| any.varint(2, u64::from(value)));
    }

    /// Writes a `KeyValue` field with an integer.
    pub fn attribute_int(&mut self, number: u32, key: &str, value: i64) {
        self.attribute(number, key, |any| any.int(3, value));
    }

    /// Writes a `KeyValue` field with a double.
    pub fn attribute_double(&mut self, number: u32, key: &str, value: f64) {
        self.attribute(number, key, |any| any.double(4, value));
    }

    /// Writes a `KeyValue` field whose `AnyValue` content `fill` writes.
    pub fn attribute(&mut self, number: u32, key: &str, fill: impl FnOnce(&mut Self)) {
        self.message(number, |entry| {
            entry.text(1, key);
            entry.message(2, fill);
        });
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.put_varint(u64::from(number << 3 | wire_type));
    }

    fn put_varint(&mut self, value: u64) {
        put_varint(value, &mut self.out);
    }
}

/// Appends `value` as a varint: seven bits a byte, the lowest first.
pub fn put_varint(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
