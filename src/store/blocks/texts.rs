//! Columns of bytes: what all values begin with is kept once; values that repeat are kept once and named by number;
//! hexadecimal digits are kept as the bytes they spell.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use xxhash_rust::xxh3::xxh3_64;

use super::section::{Compressor, Place};
use super::{UNREADABLE, numbers, take_length};
use crate::model::packed::write::put_varint;
use crate::store::error::Error;

/// Values that are looked at before it is decided that too few of them repeat.
const TRIED: usize = 128;
/// Hexadecimal digits of a value on average, at least, to be kept as bytes.
const HEX_MIN: usize = 8;

const PLAIN: u64 = 0;
const HEX: u64 = 1;
const NAMED: u64 = 2;

/// The different values of a column and which of them each row has.
pub(super) struct Named<'a> {
    pub(super) values: Vec<&'a [u8]>,
    pub(super) numbers: Vec<u64>,
}

/// Finds the values that repeat; none where more than half of all are there only once.
pub(super) fn name<'a>(values: &[&'a [u8]]) -> Option<Named<'a>> {
    let mut known: HashMap<u64, u32, RandomState> = HashMap::default();
    let mut named = Named { values: Vec::new(), numbers: Vec::with_capacity(values.len()) };
    for (index, value) in values.iter().enumerate() {
        let next = named.values.len() as u32;
        let number = *known.entry(xxh3_64(value)).or_insert(next);
        if number == next {
            named.values.push(value);
        } else if named.values[number as usize] != *value {
            // Two values with one hash.
            return None;
        }
        named.numbers.push(number.into());
        let seen = index + 1;
        if seen >= TRIED && named.values.len() * 2 > seen {
            return None;
        }
    }
    (named.values.len() * 2 <= values.len()).then_some(named)
}

/// Appends values that repeat.
pub(super) fn put_named(
    named: &Named<'_>,
    compressor: &mut Compressor,
    directory: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<(), Error> {
    put_varint(NAMED, directory);
    put_varint(named.values.len() as u64, directory);
    put(&named.values, compressor, directory, body)?;
    numbers::put(&named.numbers, compressor, directory, body)
}

/// Appends values one by one.
pub(super) fn put(
    values: &[&[u8]],
    compressor: &mut Compressor,
    directory: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<(), Error> {
    let prefix = common(values);
    let rests = values.iter().map(|value| &value[prefix.len()..]);
    let mut run = Vec::with_capacity(rests.clone().map(<[u8]>::len).sum());
    let is_hex = is_hex(rests.clone());
    put_varint(if is_hex { HEX } else { PLAIN }, directory);
    put_varint(prefix.len() as u64, directory);
    directory.extend_from_slice(prefix);
    if is_hex {
        for rest in rests.clone() {
            run.extend(rest.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        }
    } else {
        rests.clone().for_each(|rest| run.extend_from_slice(rest));
    }
    let unit = if is_hex { 2 } else { 1 };
    let lengths: Vec<u64> = rests.map(|rest| (rest.len() / unit) as u64).collect();
    numbers::put(&lengths, compressor, directory, body)?;
    compressor.put(&run, directory, body)
}

/// What all of `values` begin with.
fn common<'a>(values: &[&'a [u8]]) -> &'a [u8] {
    let Some((first, rest)) = values.split_first() else { return &[] };
    rest.iter().fold(first, |prefix, value| {
        let same = prefix.iter().zip(*value).take_while(|(a, b)| a == b).count();
        &prefix[..same]
    })
}

/// Whether all are pairs of lower-case hexadecimal digits, long enough that it pays.
fn is_hex<'a>(rests: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut count, mut bytes) = (0, 0);
    for rest in rests {
        if rest.len() % 2 != 0 || !rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return false;
        }
        count += 1;
        bytes += rest.len();
    }
    bytes >= count * HEX_MIN && count > 0
}

const fn digit(byte: u8) -> u8 {
    if byte < b'a' { byte - b'0' } else { byte - b'a' + 10 }
}

/// Where the values of a column are.
#[derive(Debug)]
pub(super) enum Places {
    Each { hex: bool, prefix: Vec<u8>, lengths: numbers::Places, run: Place },
    Named { count: usize, values: Box<Places>, numbers: numbers::Places },
}

/// The values of a column.
#[derive(Debug)]
pub(super) struct Texts {
    run: Vec<u8>,
    /// Where each value ends in the run.
    ends: Vec<usize>,
    /// Which value each row has, where they are named.
    numbers: Option<Vec<u64>>,
}

impl Places {
    pub(super) fn read(directory: &mut &[u8], at: &mut usize) -> Result<Self, Error> {
        match take_length(directory).ok_or(UNREADABLE)? as u64 {
            NAMED => {
                let count = take_length(directory).ok_or(UNREADABLE)?;
                let values = Box::new(Self::read_each(directory, at)?);
                Ok(Self::Named { count, values, numbers: numbers::Places::read(directory, at)? })
            }
            form => Self::read_form(form, directory, at),
        }
    }

    fn read_each(directory: &mut &[u8], at: &mut usize) -> Result<Self, Error> {
        let form = take_length(directory).ok_or(UNREADABLE)? as u64;
        Self::read_form(form, directory, at)
    }

    fn read_form(form: u64, directory: &mut &[u8], at: &mut usize) -> Result<Self, Error> {
        if form != PLAIN && form != HEX {
            return Err(UNREADABLE);
        }
        let length = take_length(directory).ok_or(UNREADABLE)?;
        let (prefix, rest) = directory.split_at_checked(length).ok_or(UNREADABLE)?;
        *directory = rest;
        let lengths = numbers::Places::read(directory, at)?;
        let run = Place::read(directory, at)?;
        Ok(Self::Each { hex: form == HEX, prefix: prefix.to_vec(), lengths, run })
    }

    /// All `count` of them; `most` is how many bytes they may have together.
    pub(super) fn load(&self, count: usize, body: &[u8], most: usize) -> Result<Texts, Error> {
        match self {
            Self::Each { hex, prefix, lengths, run } => {
                let lengths = lengths.load(count, body)?;
                let stored = run.load(body)?;
                let unit = if *hex { 2 } else { 1 };
                let whole = stored.len().checked_mul(unit).ok_or(UNREADABLE)?;
                let bytes = prefix.len().checked_mul(count).and_then(|bytes| bytes.checked_add(whole));
                let bytes = bytes.filter(|bytes| *bytes <= most).ok_or(UNREADABLE)?;
                let mut texts = Texts { run: Vec::with_capacity(bytes), ends: Vec::new(), numbers: None };
                let mut rest = &stored[..];
                for length in lengths {
                    let length = usize::try_from(length).map_err(|_| UNREADABLE)?;
                    let Some((value, after)) = rest.split_at_checked(length) else { return Err(UNREADABLE) };
                    rest = after;
                    texts.run.extend_from_slice(prefix);
                    match hex {
                        true => value.iter().for_each(|byte| texts.run.extend(spelled(*byte))),
                        false => texts.run.extend_from_slice(value),
                    }
                    texts.ends.push(texts.run.len());
                }
                if rest.is_empty() { Ok(texts) } else { Err(UNREADABLE) }
            }
            Self::Named { count: different, values, numbers } => {
                let different = Some(*different).filter(|different| *different <= count).ok_or(UNREADABLE)?;
                let mut texts = values.load(different, body, most)?;
                let numbers = numbers.load(count, body)?;
                if numbers.iter().any(|number| *number >= different as u64) {
                    return Err(UNREADABLE);
                }
                texts.numbers = Some(numbers);
                Ok(texts)
            }
        }
    }
}

const fn spelled(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

impl Texts {
    /// How many bytes the different ones have.
    pub(super) const fn bytes(&self) -> usize {
        self.run.len()
    }

    /// The value of the row that has the `index`th of them.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let index = match &self.numbers {
            Some(numbers) => usize::try_from(*numbers.get(index)?).ok()?,
            None => index,
        };
        self.different(index)
    }

    /// For each of the rows, whether its value is `wanted`.
    pub(super) fn equal(&self, wanted: &[u8]) -> Vec<bool> {
        let same: Vec<bool> =
            (0..self.ends.len()).map(|index| self.different(index) == Some(wanted)).collect();
        match &self.numbers {
            Some(numbers) => numbers.iter().map(|number| same[*number as usize]).collect(),
            None => same,
        }
    }

    fn different(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.run.get(start..end)
    }
}
