//! Blocks: the packed details of neighbouring rows, compressed together, with a filter over their attributes.
//!
//! Attributes are four fifths of the bytes of telemetry and are rarely read; neighbours say the same things, so
//! together they shrink about seven times. The format, version 1: a byte 1, then one zstd frame that holds the
//! number of rows, the length of each row (both as LEB128 varints) and the rows one after the other.
//!
//! The filter is a Bloom filter over tokens `key=value`: [`PROBES`] bits a token out of XXH3-64, a power of two
//! of bytes with about [`TOKEN_BITS`] bits for each distinct token, [`FILTER_BYTES_MAX`] at most. An empty
//! filter says nothing. It answers "no" only when no row of the block has the attribute.

use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::error::Error;
use crate::model::packed::AttributeIter;
use crate::model::packed::value::Value;
use crate::model::packed::wire::take_varint;
use crate::model::packed::write::put_varint;

/// Most rows in a block.
pub const ROWS_MAX: usize = 2_048;
/// Most bytes of rows in a block, unless a single row is larger.
pub const RAW_BYTES_MAX: usize = 4 << 20;
/// Largest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 8 << 10;
/// Bits that one token sets.
pub const PROBES: u32 = 4;
/// Bits of filter for each distinct token, at least.
pub const TOKEN_BITS: usize = 10;

const VERSION: u8 = 1;
/// Level 1 compresses details within a few percent of level 3 and takes two thirds of its time.
const LEVEL: i32 = 1;
/// No block comes out larger than this, whatever its header claims. A single row can be as large as a request.
const DECODED_BYTES_MAX: usize = 256 << 20;
const UNREADABLE: Error = Error::Unreadable { what: "block" };

/// Packs and compresses `rows`. Errs only when the compressor lacks memory.
pub fn encode(rows: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let bytes: usize = rows.iter().map(|row| row.len()).sum();
    let mut raw = Vec::with_capacity(bytes + 3 * rows.len() + 10);
    put_varint(rows.len() as u64, &mut raw);
    rows.iter().for_each(|row| put_varint(row.len() as u64, &mut raw));
    rows.iter().for_each(|row| raw.extend_from_slice(row));
    let mut out = vec![0; 1 + zstd::zstd_safe::compress_bound(raw.len())];
    out[0] = VERSION;
    let written = zstd::bulk::compress_to_buffer(&raw, &mut out[1..], LEVEL)
        .map_err(|error| Error::Disk(sqlx::Error::Io(error)))?;
    out.truncate(1 + written);
    Ok(out)
}

/// The rows of a block, sharing one buffer. Errs on anything that [`encode`] did not write, and takes no more
/// memory than the frame's own header admits to, 256 MiB at most.
pub fn decode(block: &[u8]) -> Result<Vec<Bytes>, Error> {
    let Some((&VERSION, frame)) = block.split_first() else { return Err(UNREADABLE) };
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten().ok_or(UNREADABLE)?;
    let size = usize::try_from(size).ok().filter(|size| *size <= DECODED_BYTES_MAX).ok_or(UNREADABLE)?;
    let raw = Bytes::from(zstd::bulk::decompress(frame, size).map_err(|_| UNREADABLE)?);
    let mut rest = &raw[..];
    let rows = take_length(&mut rest).filter(|rows| *rows <= raw.len()).ok_or(UNREADABLE)?;
    let lengths: Vec<usize> =
        (0..rows).map(|_| take_length(&mut rest)).collect::<Option<_>>().ok_or(UNREADABLE)?;
    let mut at = raw.len() - rest.len();
    let mut out = Vec::with_capacity(rows);
    for length in lengths {
        let end = at.checked_add(length).filter(|end| *end <= raw.len()).ok_or(UNREADABLE)?;
        out.push(raw.slice(at..end));
        at = end;
    }
    if at == raw.len() { Ok(out) } else { Err(UNREADABLE) }
}

/// Collects the tokens of a block's rows.
#[derive(Debug, Default)]
pub struct FilterBuilder {
    tokens: HashSet<u64, BuildHasherDefault<AsItIs>>,
    text: String,
}

impl FilterBuilder {
    /// Adds the attributes of one row.
    pub fn add(&mut self, attributes: AttributeIter<'_>) {
        for (key, value) in attributes {
            self.text.clear();
            self.text.push_str(key);
            self.text.push('=');
            match value {
                Value::Text(text) => self.text.push_str(text),
                // Writing to a string cannot fail.
                Value::Int(number) => drop(write!(self.text, "{number}")),
                other => self.text.push_str(&other.render()),
            }
            self.tokens.insert(xxh3_64(self.text.as_bytes()));
        }
    }

    /// The filter; empty where no row had an attribute.
    pub fn finish(self) -> Vec<u8> {
        if self.tokens.is_empty() {
            return Vec::new();
        }
        let bytes = (self.tokens.len() * TOKEN_BITS).div_ceil(8).next_power_of_two();
        let mut filter = vec![0; bytes.min(FILTER_BYTES_MAX)];
        for token in self.tokens {
            for bit in bits(token, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

/// Whether a row of the block may have attribute `key` with a value that [renders](Value::render) as `value`.
///
/// An empty filter, or one of a length that is never written, says "maybe" to everything.
pub fn may_hold(filter: &[u8], key: &str, value: &str) -> bool {
    if !filter.len().is_power_of_two() {
        return true;
    }
    bits(xxh3_64(format!("{key}={value}").as_bytes()), filter.len())
        .all(|bit| filter[bit / 8] & 1 << (bit % 8) != 0)
}

/// Takes a token, which is a hash, for its own hash.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, token: u64) {
        self.0 = token;
    }
}

/// Double hashing (Kirsch and Mitzenmacher 2006) over a power of two of bits.
fn bits(token: u64, filter_bytes: usize) -> impl Iterator<Item = usize> {
    let mask = filter_bytes * 8 - 1;
    let (first, step) = (token as usize, (token >> 32) as usize | 1);
    (0..PROBES as usize).map(move |probe| first.wrapping_add(step.wrapping_mul(probe)) & mask)
}

/// Takes a length from the front of `bytes`; none beyond 56 bits, which no block holds.
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let length = take_varint(bytes).filter(|length| length >> 56 == 0)?;
    usize::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::model::packed::Attributes;
    use crate::model::packed::write::Packer;

    proptest! {
        #[test]
        fn rows_come_back(rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
            let slices: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            let block = encode(&slices).unwrap();
            prop_assert_eq!(decode(&block).unwrap(), rows);
        }

        #[test]
        fn strange_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>()) {
            if versioned {
                bytes.insert(0, VERSION);
            }
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_damaged_block_never_panics(at in 0_usize..400, flip in 1_u8..) {
            let mut block = encode(&[b"one", &[7; 1_000], b""]).unwrap();
            let at = at % block.len();
            block[at] ^= flip;
            let _ = decode(&block);
        }

        #[test]
        fn what_is_there_may_be_there(values in proptest::collection::vec("[a-z]{0,12}", 1..600)) {
            let mut builder = FilterBuilder::default();
            for value in &values {
                builder.add(packed(value, 7).iter());
            }
            let filter = builder.finish();
            prop_assert!(filter.len() <= FILTER_BYTES_MAX);
            for value in &values {
                prop_assert!(may_hold(&filter, "name", value));
            }
            prop_assert!(may_hold(&filter, "number", "7"));
        }
    }

    fn packed(name: &str, number: i64) -> Attributes {
        let mut packer = Packer::default();
        packer.attribute_text(9, "name", name);
        packer.attribute_int(9, "number", number);
        Attributes::from_checked(packer.finish())
    }

    #[test]
    fn a_bomb_is_refused() {
        let frame = zstd::bulk::compress(&vec![0; DECODED_BYTES_MAX + 1], 1).unwrap();
        let bomb = [&[VERSION][..], &frame].concat();
        assert!(matches!(decode(&bomb), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn most_absent_values_are_known_to_be_absent() {
        let mut builder = FilterBuilder::default();
        for number in 0..2_000 {
            builder.add(packed("same", number).iter());
        }
        let filter = builder.finish();
        let wrong = (2_000..12_000).filter(|number| may_hold(&filter, "number", &number.to_string())).count();
        assert!(wrong < 300, "{wrong} of 10,000 were not told apart");
        assert!(!may_hold(&filter, "name", "other"));
        assert!(may_hold(&[], "name", "other"));
    }
}
