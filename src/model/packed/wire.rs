//! Reading protobuf fields without allocating (encoding guide, "Message Structure").

/// The payload of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1: eight bytes, little endian.
    Fixed64(u64),
    /// Wire type 2: text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5: four bytes, little endian.
    Fixed32(u32),
}

/// Iterates over the fields of one message. Stops at the first malformed byte; [`Fields::is_broken`] tells.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Fields<'a> {
    /// Reads `message` from its first byte.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message, broken: false }
    }

    /// Bytes that were not read yet. The offset of the next field is the message's length less this.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True when reading stopped at a malformed field.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    #[inline]
    fn read(&mut self) -> Option<(u32, Field<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0 && *number < 1 << 29)?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Groups (3 and 4) left the language before OTLP was born.
            _ => return None,
        };
        Some((number, field))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        take_varint(&mut self.rest)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.broken {
            return None;
        }
        let field = self.read();
        self.broken = field.is_none();
        field
    }
}

/// Takes a varint from the front of `bytes`; none, and nothing taken, where there is no whole one of 64 bits.
#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    match *bytes {
        [byte @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(*byte))
        }
        [low, high @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(low & 0x7f) | u64::from(*high) << 7)
        }
        _ => take_long_varint(bytes),
    }
}

/// Apart, so that the rest is small enough to be a part of its callers.
#[inline(never)]
fn take_long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte may carry only the 64th bit.
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// The last field `number` of `message`, as protobuf readers take it.
pub fn last<'a>(message: &'a [u8], number: u32) -> Option<Field<'a>> {
    Fields::new(message).filter(|(found, _)| *found == number).last().map(|(_, field)| field)
}

/// The last varint `number` of `message`; zero where absent.
pub fn varint(message: &[u8], number: u32) -> u64 {
    match last(message, number) {
        Some(Field::Varint(value)) => value,
        _ => 0,
    }
}

/// The last text `number` of `message`; empty where absent or not UTF-8.
pub fn text(message: &[u8], number: u32) -> &str {
    match last(message, number) {
        Some(Field::Bytes(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "",
    }
}

/// The key of a `KeyValue` message and its value, a packed `AnyValue`, where they are written in the usual way: a short key,
/// then the value. None says nothing about what there is.
#[inline]
pub(super) fn usual_key_value(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, length @ ..0x80, rest @ ..] = entry else { return None };
    let (key, [0x12, value @ ..]) = rest.split_at_checked(usize::from(*length))? else { return None };
    let mut value = value;
    (take_varint(&mut value)? == value.len() as u64).then_some((key, value))
}

/// The key of a `KeyValue` message, as [`text`] reads it, but unchecked and quick for a key and a value in this order.
#[inline]
pub fn key(entry: &[u8]) -> &[u8] {
    if let Some((key, _)) = usual_key_value(entry) {
        return key;
    }
    match last(entry, 1) {
        Some(Field::Bytes(key)) => key,
        _ => &[],
    }
}

/// Every length-delimited field `number` of `message`, in order.
pub fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).filter_map(move |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    })
}

/// All doubles of the repeated field `number`, packed or not.
pub fn doubles(message: &[u8], number: u32) -> Vec<f64> {
    fixed64s(message, number).into_iter().map(f64::from_bits).collect()
}

/// All 64-bit values of the repeated `fixed64` or `double` field `number`, packed or not.
pub fn fixed64s(message: &[u8], number: u32) -> Vec<u64> {
    let mut values = Vec::new();
    for (found, field) in Fields::new(message) {
        match field {
            Field::Fixed64(value) if found == number => values.push(value),
            Field::Bytes(packed) if found == number => {
                let (words, _) = packed.as_chunks::<8>();
                values.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
            }
            _ => {}
        }
    }
    values
}

/// All values of the repeated varint field `number`, packed or not.
pub fn varints(message: &[u8], number: u32) -> Vec<u64> {
    let mut values = Vec::new();
    for (found, field) in Fields::new(message) {
        match field {
            Field::Varint(value) if found == number => values.push(value),
            Field::Bytes(packed) if found == number => {
                let mut reader = Fields::new(packed);
                while !reader.rest.is_empty() {
                    let Some(value) = reader.varint() else { break };
                    values.push(value);
                }
            }
            _ => {}
        }
    }
    values
}

/// Undoes the zigzag of `sint32` and `sint64`.
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_fields_stop_the_walk() {
        for bytes in [&[0x08][..], &[0x0a, 0x05, 1], &[0x0b, 0x00], &[0x00, 0x01], &[0xff; 11], &[0x09, 1, 2]]
        {
            let mut fields = Fields::new(bytes);
            assert_eq!(fields.next(), None, "{bytes:?}");
            assert!(fields.is_broken(), "{bytes:?}");
        }
    }

    #[test]
    fn keys_are_read_in_any_order() {
        for (entry, wanted) in [
            (&b"\x0a\x01k\x12\x03\x0a\x01v"[..], &b"k"[..]),
            (b"\x12\x03\x0a\x01v\x0a\x01k", b"k"),
            (b"\x0a\x01a\x12\x00\x0a\x01k", b"k"),
            (b"\x0a\x01k", b"k"),
            (b"\x12\x00", b""),
            (b"\x0a\x05k", b""),
            (b"", b""),
        ] {
            assert_eq!(key(entry), wanted, "{entry:?}");
            assert_eq!(text(entry, 1).as_bytes(), wanted, "{entry:?}");
        }
    }

    #[test]
    fn varints_are_read_to_the_last_bit() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        bytes.push(0x01);
        assert_eq!(Fields::new(&bytes).next(), Some((1, Field::Varint(u64::MAX))));
        assert_eq!(unzigzag(u64::MAX), i64::MIN);
        assert_eq!(unzigzag(3), -2);
    }
}
