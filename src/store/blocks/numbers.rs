//! Columns of numbers: the least of them, and how far each is above it, one run for each byte of the distance.

use super::section::{Compressor, Place};
use super::{UNREADABLE, take_length};
use crate::model::packed::wire::take_varint;
use crate::model::packed::write::put_varint;
use crate::store::error::Error;

/// Where the numbers of a column are.
#[derive(Debug)]
pub(super) struct Places {
    least: u64,
    bytes: Vec<Place>,
}

/// Appends `numbers`.
pub(super) fn put(
    numbers: &[u64],
    compressor: &mut Compressor,
    directory: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<(), Error> {
    let least = numbers.iter().copied().min().unwrap_or(0);
    let most = numbers.iter().copied().max().unwrap_or(0);
    let width = (64 - (most - least).leading_zeros() as usize).div_ceil(8);
    put_varint(least, directory);
    put_varint(width as u64, directory);
    let mut run = Vec::with_capacity(numbers.len());
    for byte in 0..width {
        run.clear();
        run.extend(numbers.iter().map(|number| ((number - least) >> (8 * byte)) as u8));
        compressor.put(&run, directory, body)?;
    }
    Ok(())
}

impl Places {
    pub(super) fn read(directory: &mut &[u8], at: &mut usize) -> Result<Self, Error> {
        let least = take_varint(directory).ok_or(UNREADABLE)?;
        let width = take_length(directory).filter(|width| *width <= 8).ok_or(UNREADABLE)?;
        let bytes = (0..width).map(|_| Place::read(directory, at)).collect::<Result<_, _>>()?;
        Ok(Self { least, bytes })
    }

    /// All `count` of them.
    pub(super) fn load(&self, count: usize, body: &[u8]) -> Result<Vec<u64>, Error> {
        let mut numbers = vec![self.least; count];
        for (byte, place) in self.bytes.iter().enumerate() {
            let run = place.load(body)?;
            if run.len() != count {
                return Err(UNREADABLE);
            }
            for (number, byte_of_it) in numbers.iter_mut().zip(run) {
                *number = number.wrapping_add(u64::from(byte_of_it) << (8 * byte));
            }
        }
        Ok(numbers)
    }
}
