//! Reading protobuf fields with their place in the request, so that they can be shared instead of copied
//! (<https://protobuf.dev/programming-guides/encoding/>, "Message Structure").

use std::ops::Range;

use crate::decode::Encoding;
use crate::decode::error::Error;

/// A message, text or run of bytes, and where in the request it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) end: usize,
}

impl<'a> Message<'a> {
    /// A whole request.
    pub(super) const fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, end: bytes.len() }
    }

    /// Where in the request it lies.
    pub(super) const fn range(&self) -> Range<usize> {
        self.end - self.bytes.len()..self.end
    }

    /// Its fields in order.
    pub(super) const fn fields(self) -> Fields<'a> {
        Fields { rest: self.bytes, end: self.end }
    }
}

/// The payload of one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(Message<'a>),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field and where in the request it lies, tag included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) value: Value<'a>,
}

/// The bytes are not protobuf from here on. Small, because it travels with every field; see [`Fields::next`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    offset: usize,
}

impl From<Broken> for Error {
    #[cold]
    fn from(broken: Broken) -> Self {
        malformed("a field that is cut off or of no known wire type", broken.offset)
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    end: usize,
}

impl<'a> Fields<'a> {
    /// The next field; none at the end; an error where the bytes are not protobuf.
    ///
    /// Inlined everywhere, because a field that goes through memory costs more than reading it.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at();
        match self.read() {
            Some((number, value)) => Ok(Some(Field { number, start, end: self.at(), value })),
            None => Err(Broken { offset: start }),
        }
    }

    /// The next bare varint of a packed run; none at the end.
    #[inline]
    pub(super) fn next_varint(&mut self) -> Result<Option<u64>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at();
        self.varint().map(Some).ok_or(Broken { offset: start })
    }

    const fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    #[inline(always)]
    fn read(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0 && *number < 1 << 29)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.take_array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Value::Bytes(Message { bytes, end: self.at() })
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.take_array()?)),
            // Groups (3 and 4) left the language before OTLP was born.
            _ => return None,
        };
        Some((number, value))
    }

    #[inline(always)]
    fn take_array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(array)
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Some(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Some(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte may carry only the 64th bit.
            if index == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Some(value);
            }
        }
        None
    }
}

pub(super) const fn malformed(what: &'static str, offset: usize) -> Error {
    Error::Malformed { encoding: Encoding::Protobuf, what, offset }
}
