//! Blocks: the packed details of neighbouring rows, in columns, with a filter over their attributes.
//!
//! Attributes are four fifths of the bytes of telemetry and are rarely read; neighbours say the same things. A block
//! puts what is alike together: all values of one attribute are a column. There they shrink about nine times, and who
//! looks for one attribute reads its column alone.
//!
//! The columns stand in the order of their lengths, and a block is stored in two parts: those that fit into [`FRONT_BYTES`],
//! and the rest. Of most attributes a question reads the front alone: what is long are ids and messages.
//!
//! The format, version 3. Numbers are LEB128 varints. A *run* is bytes that are stored as they are, or as one zstd
//! frame where that is shorter; where it is described stand its length before and after.
//!
//! - a byte 3; the description of the directory's run; the directory; the other runs, in the order of their
//!   descriptions.
//! - The directory: how many rows; how many *shapes*, each with the number and the list of its columns in the order of
//!   the row's fields, shape 0 being that of rows that are kept whole; the shape of each row, as a column of numbers;
//!   how many columns, each with its kind, field number, key and values.
//! - Numbers: the least; how many bytes the largest distance from it takes; a run for each of these bytes, the lowest
//!   first.
//! - Texts: 0 (as they are) or 1 (hexadecimal digits, two in a byte), what all of them begin with, their lengths as
//!   numbers, a run of what follows; or 2: how many different ones there are, these, and which of them each row has, as
//!   numbers.
//!
//! Files in reading order: `fields` (a row taken apart), `encode`, `decode`, `texts`, `numbers`, `section` (runs),
//! `filter`, `slices` (the filters of many blocks), `longest` (the longest spans in them).

mod decode;
mod encode;
mod fields;
mod filter;
pub mod longest;
mod numbers;
mod section;
mod slices;
#[cfg(test)]
mod tests;
mod texts;

pub use decode::Block;
pub use encode::{Encoded, Encoder};
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use filter::may_hold_of;
pub use filter::{parts, probes, service_probes, telling, untold_probes};
pub use slices::{LONGEST, SLICED, SLICES_MAX, Spot, slice};

use super::error::Error;
use crate::model::packed::wire::take_varint;

/// Most rows in a block.
pub const ROWS_MAX: usize = 2_048;
/// Most bytes of rows in a block, unless a single row is larger.
pub const RAW_BYTES_MAX: usize = 4 << 20;

/// Bytes of the front of a block, unless the description of its columns alone is longer: about two pages.
const FRONT_BYTES: usize = 30 << 10;
const VERSION: u8 = 3;
/// Columns of a block, at most: rows with further ones stay whole.
const COLUMNS_MAX: usize = 1_024;
/// The column of rows that stay whole, and their shape.
const WHOLE: u32 = 0;
const UNREADABLE: Error = Error::Unreadable { what: "block" };

/// Takes a length from the front of `bytes`; none beyond 56 bits, which no block holds.
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let length = take_varint(bytes).filter(|length| length >> 56 == 0)?;
    usize::try_from(length).ok()
}
