//! Runs of bytes, each compressed by itself where that makes it smaller.

use std::cell::RefCell;

use super::UNREADABLE;
use super::take_length;
use crate::model::packed::write::put_varint;
use crate::store::error::Error;

/// Level 1 compresses columns within a few percent of level 3 and takes two thirds of its time.
const LEVEL: i32 = 1;
/// Shorter runs are stored as they are.
const COMPRESSED_MIN: usize = 48;
/// No block comes out larger than this, whatever its header claims. A single row can be as large as a request.
pub(super) const DECODED_BYTES_MAX: usize = 256 << 20;

/// Compresses one run after the other.
pub(super) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Result<Self, Error> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(lacking)?;
        Ok(Self { zstd, buffer: Vec::new() })
    }

    /// Appends `raw` to `body` and its two lengths to `directory`.
    pub(super) fn put(
        &mut self,
        raw: &[u8],
        directory: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) -> Result<(), Error> {
        put_varint(raw.len() as u64, directory);
        let mut stored = raw;
        if raw.len() >= COMPRESSED_MIN {
            self.buffer.resize(zstd::zstd_safe::compress_bound(raw.len()), 0);
            let written = self.zstd.compress_to_buffer(raw, self.buffer.as_mut_slice()).map_err(lacking)?;
            if written < raw.len() {
                stored = &self.buffer[..written];
            }
        }
        put_varint(stored.len() as u64, directory);
        body.extend_from_slice(stored);
        Ok(())
    }
}

fn lacking(error: std::io::Error) -> Error {
    Error::Disk(sqlx::Error::Io(error))
}

thread_local! {
    /// Making one takes longer than most runs.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Where a run is in the body of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: usize,
    stored: usize,
    raw: usize,
}

impl Place {
    /// Reads the lengths that [`Compressor::put`] wrote; `at` is where the run begins, and moves behind it.
    pub(super) fn read(directory: &mut &[u8], at: &mut usize) -> Result<Self, Error> {
        let mut length = || take_length(directory).ok_or(UNREADABLE);
        let (raw, stored) = (length()?, length()?);
        let place = Self { at: *at, stored, raw };
        *at = at.checked_add(stored).ok_or(UNREADABLE)?;
        Ok(place)
    }

    /// The run itself.
    pub(super) fn load(self, body: &[u8]) -> Result<Vec<u8>, Error> {
        let stored = body.get(self.at..).and_then(|rest| rest.get(..self.stored)).ok_or(UNREADABLE)?;
        if self.stored == self.raw {
            return Ok(stored.to_vec());
        }
        if self.raw > DECODED_BYTES_MAX {
            return Err(UNREADABLE);
        }
        let raw = DECOMPRESSOR.with_borrow_mut(|decompressor| {
            if decompressor.is_none() {
                *decompressor = Some(zstd::bulk::Decompressor::new().map_err(lacking)?);
            }
            let decompressor = decompressor.as_mut().ok_or(UNREADABLE)?;
            decompressor.decompress(stored, self.raw).map_err(|_| UNREADABLE)
        })?;
        if raw.len() == self.raw { Ok(raw) } else { Err(UNREADABLE) }
    }
}
