//! OTLP/JSON to OTLP protobuf, by the tables of [`super::schema`].
//!
//! Each object becomes one packed message with its fields in order of number and without those that equal their
//! default, which is what protobuf libraries write. Reading then goes on as for protobuf, so that both encodings
//! obey the same rules. Unknown names are passed over, `null` is the same as absent, a name that comes twice in
//! one object refuses the request.
//!
//! Files: [`lexer`] reads tokens, [`number`] numbers, [`scalar`] packs single values.

mod lexer;
mod number;
mod scalar;

use std::ops::Range;

use bytes::Bytes;

use self::lexer::Lexer;
use super::error::Error;
use super::limits::Limits;
use super::notes::{Change, Notes};
use super::schema::{self, Field, Kind, Message, Presence, Weight};
use crate::model::batch::Signal;

/// Packs one export request of `signal` as protobuf, with what is to be told about it.
pub(super) fn pack(signal: Signal, body: &[u8], limits: &Limits) -> Result<(Bytes, Notes), Error> {
    let mut reader = Reader {
        lexer: Lexer::new(body),
        limits,
        out: Vec::new(),
        fields: Vec::new(),
        sorted: Vec::new(),
        counted: [0; 3],
        unknown: 0,
    };
    reader.object(schema::request(signal), 0)?;
    reader.lexer.end()?;
    let mut notes = Notes::default();
    if reader.counted[Weight::Item as usize] == 0 {
        notes.changes(Change::Unknown, reader.unknown);
    }
    Ok((Bytes::from(reader.out), notes))
}

/// Reads one request.
struct Reader<'a> {
    lexer: Lexer<'a>,
    limits: &'a Limits,
    /// The packed request so far.
    out: Vec<u8>,
    /// Number and place of each field of the objects that are open, the innermost last.
    fields: Vec<(u32, Range<usize>)>,
    /// The fields of an object in order, on their way back into `out`.
    sorted: Vec<u8>,
    /// Messages so far, by weight.
    counted: [usize; 3],
    /// Unknown names around items.
    unknown: u64,
}

impl Reader<'_> {
    /// Packs one object as the fields of `message`. `depth` counts the attribute values it lies in.
    fn object(&mut self, message: &'static Message, depth: usize) -> Result<(), Error> {
        let (base, first) = (self.out.len(), self.fields.len());
        let mut seen = 0_u32;
        let mut is_first = true;
        self.lexer.expect(b'{')?;
        while self.lexer.more(b'}', is_first)? {
            is_first = false;
            let name = self.lexer.name()?;
            let Some((index, field)) = message.by_name(&name) else {
                self.unknown += u64::from(message.weight == Weight::Envelope);
                self.lexer.skip()?;
                continue;
            };
            if seen >> index & 1 == 1 {
                return Err(self.lexer.malformed("a name that comes twice in one object"));
            }
            seen |= 1 << index;
            if !self.lexer.null()? {
                let start = self.out.len();
                self.field(field, depth)?;
                self.fields.push((field.number, start..self.out.len()));
            }
        }
        self.sort(base, first);
        Ok(())
    }

    /// Packs the value of one field.
    fn field(&mut self, field: &Field, depth: usize) -> Result<(), Error> {
        if !matches!(field.presence, Presence::Repeated | Presence::Capped(..)) {
            return match field.kind {
                Kind::Message(_) | Kind::Body => self.message(field, depth),
                _ => scalar::pack(&mut self.lexer, field, &mut self.out),
            };
        }
        self.lexer.expect(b'[')?;
        let start = self.out.len();
        let mut is_first = true;
        while self.lexer.more(b']', is_first)? {
            is_first = false;
            if let Kind::Message(message) = field.kind {
                self.count(message.weight)?;
                self.message(field, depth)?;
            } else {
                self.count(Weight::Part)?;
                scalar::pack_element(&mut self.lexer, field, &mut self.out)?;
            }
        }
        // Repeated numbers share one tag.
        if !matches!(field.kind, Kind::Message(_)) && self.out.len() > start {
            scalar::close(&mut self.out, start, field.number);
        }
        Ok(())
    }

    /// Packs a nested message; null as an empty one.
    fn message(&mut self, field: &Field, depth: usize) -> Result<(), Error> {
        let message = match field.kind {
            Kind::Message(message) => message,
            _ => &schema::ANY_VALUE,
        };
        let depth = depth + usize::from(std::ptr::eq(message, &raw const schema::ANY_VALUE));
        if depth > self.limits.depth() {
            return Err(Error::TooDeep { depth_max: self.limits.depth(), offset: self.lexer.offset() });
        }
        let start = self.out.len();
        if !self.lexer.null()? {
            self.object(message, depth)?;
        }
        scalar::close(&mut self.out, start, field.number);
        Ok(())
    }

    /// Counts one element of a list against the limits.
    fn count(&mut self, weight: Weight) -> Result<(), Error> {
        let (what, max) = match weight {
            Weight::Envelope => ("resource, scope and metric messages", self.limits.items_max),
            Weight::Item => ("items", self.limits.items_max),
            Weight::Part => ("attributes, array elements and numbers", self.limits.attributes_max),
        };
        let counted = &mut self.counted[weight as usize];
        *counted += 1;
        if *counted > max { Err(Error::TooManyItems { what, max }) } else { Ok(()) }
    }

    /// Puts the fields packed since `base`, which are `fields` from `first` on, into the order of their numbers, and
    /// forgets where they are.
    fn sort(&mut self, base: usize, first: usize) {
        let fields = &mut self.fields[first..];
        if !fields.is_sorted_by_key(|(number, _)| *number) {
            fields.sort_by_key(|(number, _)| *number);
            self.sorted.clear();
            fields.iter().for_each(|(_, place)| self.sorted.extend_from_slice(&self.out[place.clone()]));
            self.out[base..].copy_from_slice(&self.sorted);
        }
        self.fields.truncate(first);
    }
}

/// True when `text` is one JSON value of any kind.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn accepts(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text);
    lexer.skip().and_then(|()| lexer.end()).is_ok()
}
