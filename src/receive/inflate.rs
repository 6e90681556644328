//! Decompression that stops at its limits.
//!
//! Output is made in pieces, and each piece is admitted before the next is made: a gigabyte packed into a few
//! kilobytes never costs more than one request at its limit. A body that unpacks to many times its length is measured
//! before more of it is kept: what is refused in the end took no more memory than what that length makes credible.

use std::io;
use std::io::Read;

use bytes::Buf;
use bytes::Bytes;
use bytes::buf::Reader;
use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::get_frame_content_size;

use crate::admit;
use crate::admit::Permit;

use super::Error;

/// Bytes of output made between two looks at the limits.
const PIECE_BYTES: usize = 128 << 10;

/// Largest zstd window, as a power of two: 8 MiB, which the format asks every decoder to support (RFC 8878).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How many times its packed length a body may announce, and unpack to, before it is measured: telemetry packs 5 to 15
/// times.
const CREDIBLE_RATIO: usize = 16;

/// Plain bytes that are not worth measuring for; more than is made where a body is received.
const CREDIBLE_BYTES: usize = 1 << 20;

/// How many times the bytes made so far are set aside when room runs out.
const GROWTH: usize = 7;

/// Bytes that count as made when room is set aside for the first ones.
const GROWTH_BYTES_MIN: usize = 1024;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    Identity,
    /// RFC 1952; several members are one body.
    Gzip,
    /// RFC 8878; several frames are one body.
    Zstd,
}

impl Compression {
    /// The compression of that name; none for one the server does not know.
    pub(super) fn named(name: &str) -> Option<Self> {
        let known: [(&str, Self); 5] = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        let named = known.into_iter().find(|(known, _)| name.trim().eq_ignore_ascii_case(known));
        named.map(|(_, compression)| compression)
    }
}

/// One body on its way to plain bytes.
pub(super) struct Inflate {
    source: Source,
    packed_bytes: usize,
    /// The whole body as it came, until it was measured.
    unmeasured: Option<(Compression, Bytes)>,
    /// Plain bytes at which it is measured.
    credible: usize,
    plain: Vec<u8>,
    permit: Permit,
}

enum Source {
    Identity(Bytes),
    Gzip { decoder: Box<MultiGzDecoder<Reader<Bytes>>>, _packed: Permit },
    Zstd { decoder: zstd::stream::read::Decoder<'static, Reader<Bytes>>, _packed: Permit },
    End,
}

impl Inflate {
    /// Begins with `packed`, which `packed_permit` covers; what comes out is taken from `plain_permit`.
    ///
    /// # Errors
    /// [`admit::Error::TooLarge`] when the body itself announces more than the limit.
    pub(super) fn new(
        compression: Compression,
        packed: Bytes,
        packed_permit: Permit,
        plain_permit: Permit,
    ) -> Result<Self, Error> {
        let bytes_max = plain_permit.request_bytes_max();
        let packed_bytes = packed.len();
        let (source, announced) = match compression {
            Compression::Identity => {
                return Ok(Self {
                    source: Source::Identity(packed),
                    packed_bytes,
                    unmeasured: None,
                    credible: 0,
                    plain: Vec::new(),
                    permit: packed_permit,
                });
            }
            Compression::Gzip => {
                let announced = gzip_length(&packed);
                let decoder = gzip(packed.clone());
                (Source::Gzip { decoder, _packed: packed_permit }, announced)
            }
            Compression::Zstd => {
                let announced = get_frame_content_size(&packed).ok().flatten().unwrap_or(0);
                if (bytes_max as u64) < announced {
                    return Err(admit::Error::TooLarge { bytes_max }.into());
                }
                let decoder = zstd(packed.clone())?;
                (Source::Zstd { decoder, _packed: packed_permit }, announced)
            }
        };
        // The announced length may lie: one beyond belief has the body measured soon, and none sets much aside.
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let by_ratio = packed_bytes.saturating_mul(CREDIBLE_RATIO).min(bytes_max);
        let (room, credible) = match announced <= by_ratio {
            true => (announced, by_ratio.max(CREDIBLE_BYTES)),
            false => (by_ratio.min(CREDIBLE_BYTES), CREDIBLE_BYTES),
        };
        let plain = Vec::with_capacity(room);
        // Where the limit comes first there is nothing to be saved.
        let unmeasured = (credible < bytes_max).then_some((compression, packed));
        Ok(Self { source, packed_bytes, unmeasured, credible, plain, permit: plain_permit })
    }

    /// Bytes of the body as it came.
    pub(super) const fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// Makes plain bytes until there are more than `bytes` or all are there; tells whether all are there and no
    /// more than `bytes`.
    ///
    /// # Errors
    /// When the body is damaged, or more comes out than is admitted.
    pub(super) fn run(&mut self, bytes: usize) -> Result<bool, Error> {
        while self.plain.len() <= bytes {
            if self.credible <= self.plain.len() {
                self.measure()?;
            }
            let most =
                if self.unmeasured.is_some() { self.credible } else { self.permit.request_bytes_max() };
            let left = most.saturating_sub(self.plain.len());
            let plain = &mut self.plain;
            let made = match &mut self.source {
                Source::Identity(body) => return Ok(body.len() <= bytes),
                Source::Gzip { decoder, .. } => make_piece(decoder, plain, left).map_err(damaged_gzip)?,
                Source::Zstd { decoder, .. } => make_piece(decoder, plain, left).map_err(damaged_zstd)?,
                Source::End => return Ok(true),
            };
            self.permit.grow(made)?;
            if made == 0 {
                self.source = Source::End; // Gives the packed bytes back.
                self.unmeasured = None;
            }
        }
        Ok(false)
    }

    /// Unpacks the body once without keeping it, unless that was done, and makes room for exactly what comes out.
    fn measure(&mut self) -> Result<(), Error> {
        let Some((compression, packed)) = self.unmeasured.take() else { return Ok(()) };
        let bytes_max = self.permit.request_bytes_max();
        // One byte more tells whether there is more.
        let most = bytes_max as u64 + 1;
        let bytes = match compression {
            Compression::Gzip => length(gzip(packed).take(most)).map_err(damaged_gzip)?,
            Compression::Zstd => length(zstd(packed)?.take(most)).map_err(damaged_zstd)?,
            Compression::Identity => return Ok(()),
        };
        if bytes_max < bytes {
            return Err(admit::Error::TooLarge { bytes_max }.into());
        }
        self.plain.reserve_exact(bytes.saturating_sub(self.plain.len()));
        Ok(())
    }

    /// All plain bytes, with the permit that covers them.
    ///
    /// # Errors
    /// As [`Inflate::run`].
    pub(super) fn finish(mut self) -> Result<(Bytes, Permit), Error> {
        self.run(usize::MAX)?;
        let plain = match self.source {
            Source::Identity(body) => body,
            _ => Bytes::from(self.plain),
        };
        Ok((plain, self.permit))
    }
}

/// Appends the next piece to `plain`, which may have `left` bytes more; zero at the end, and one byte past the limit.
///
/// Room is made only once it is known that more comes, and never past the limit: otherwise a body that is refused
/// there would take the memory of two. It grows in few large steps, because the allocator keeps for a while what the
/// bytes have outgrown; what is not used of a step costs addresses alone.
fn make_piece(decoder: &mut impl Read, plain: &mut Vec<u8>, left: usize) -> io::Result<usize> {
    let room = (plain.capacity() - plain.len()).min(left).min(PIECE_BYTES);
    if 0 < room {
        return decoder.take(room as u64).read_to_end(plain);
    }
    let mut byte = [0];
    let made = decoder.read(&mut byte)?;
    if 0 < made.min(left) {
        plain.reserve_exact(left.min(plain.len().max(GROWTH_BYTES_MIN) * GROWTH));
        plain.extend_from_slice(&byte[..made]);
    }
    Ok(made)
}

fn gzip(packed: Bytes) -> Box<MultiGzDecoder<Reader<Bytes>>> {
    Box::new(MultiGzDecoder::new(packed.reader()))
}

fn zstd(packed: Bytes) -> Result<zstd::stream::read::Decoder<'static, Reader<Bytes>>, Error> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed.reader()).map_err(damaged_zstd)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged_zstd)?;
    Ok(decoder)
}

/// Reads to the end and keeps nothing.
fn length(mut plain: impl Read) -> io::Result<usize> {
    let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0);
    loop {
        match plain.read(&mut piece)? {
            0 => return Ok(bytes),
            read => bytes += read,
        }
    }
}

/// What the end of the last member says about its length.
fn gzip_length(packed: &Bytes) -> u64 {
    packed.last_chunk::<4>().map_or(0, |tail| u32::from_le_bytes(*tail).into())
}

fn damaged_gzip(source: io::Error) -> Error {
    Error::Damaged { format: "gzip", source }
}

fn damaged_zstd(source: io::Error) -> Error {
    // The library tells this case apart by its text alone; a test holds it to that.
    if source.to_string().contains("requires too much memory") {
        return Error::WindowTooLarge { bytes_max: 1 << ZSTD_WINDOW_LOG_MAX };
    }
    Error::Damaged { format: "zstd", source }
}

#[cfg(test)]
pub(super) mod tests;
