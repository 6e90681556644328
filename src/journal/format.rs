//! The bytes of a segment: one header, then records. All numbers are little-endian.
//!
//! Header, 48 bytes: magic `OTCJ`, version `u16`, two zero bytes, segment id (16 bytes), sequence `u64`,
//! base LSN `u64`, four zero bytes, CRC-32C of the 44 bytes before it.
//!
//! Record: length `u32` (of what follows the checksum), checksum `u32`, LSN `u64`, then the tail: received
//! `i64`, signal `u8`, encoding `u8`, flags `u8` (bit 0: payload is zstd), tenant length `u8`, raw length
//! `u32`, tenant, payload. The checksum is CRC-32C over segment id, length, LSN and tail. The id is random
//! for each segment, so bytes of another segment that happen to lie in a file never pass as its records.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use zstd::bulk::{Compressor, decompress};

use super::error::Error;
use super::{Entry, Lsn};
use crate::model::batch::Signal;
use crate::model::tenant::{TENANT_BYTES_MAX, TenantId};
use crate::model::time::UnixNanos;

/// Version of the format this program writes, and the only one it reads.
pub(super) const VERSION: u16 = 1;
/// Bytes of a segment header.
pub(super) const HEADER_BYTES: usize = 48;
/// Largest body of an entry in bytes, before compression.
pub const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"OTCJ";
/// Length and checksum, which `length` does not count.
const FRAME_BYTES: usize = 8;
const LSN_BYTES: usize = 8;
/// The part of the tail before the tenant.
const FIXED_BYTES: usize = 16;
/// Smallest record on disk: a tenant of one byte and no payload.
pub(super) const RECORD_BYTES_MIN: usize = FRAME_BYTES + LSN_BYTES + FIXED_BYTES + 1;
const RECORD_BYTES_MAX: usize = FRAME_BYTES + LSN_BYTES + FIXED_BYTES + TENANT_BYTES_MAX + BODY_BYTES_MAX;
/// Start of every record that [`Frame::peek`] reads to tell whether it may be one.
pub(super) const PEEK_BYTES: usize = RECORD_BYTES_MIN;
/// Bodies up to this size are kept as they are: zstd's frame eats what it would save.
const PLAIN_BYTES_MAX: usize = 256;
const FLAG_ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 1;

const _: () = assert!(RECORD_BYTES_MAX <= u32::MAX as usize && TENANT_BYTES_MAX <= u8::MAX as usize);

/// The random name of one segment.
pub(super) type SegmentId = [u8; 16];

/// What the first bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The segment's random name.
    pub(super) id: SegmentId,
    /// Position of the segment in the order of creation.
    pub(super) sequence: u64,
    /// Records with this LSN and later are in this segment or in later ones, never in earlier ones.
    pub(super) base: Lsn,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not the bytes that were written.
    Damaged,
    /// Intact, of another version.
    Version(u16),
}

impl Header {
    /// The header as bytes.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.id);
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; fails when a byte of it changed or its version is not [`VERSION`].
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..44]) != number_u32(bytes, 44) {
            return Err(BadHeader::Damaged);
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let mut id = SegmentId::default();
        id.copy_from_slice(&bytes[8..24]);
        Ok(Self { id, sequence: number_u64(bytes, 24), base: Lsn(number_u64(bytes, 32)) })
    }
}

/// An entry made ready outside the lock: compressed, packed and checksummed but for segment and LSN.
#[derive(Debug, Clone)]
pub struct Prepared {
    tail: Vec<u8>,
    checksum: u32,
}

impl Prepared {
    /// Packs `entry`; bodies over 256 bytes are compressed with zstd level 1 where that makes them smaller.
    ///
    /// Takes about half a millisecond per MiB, so it belongs outside locks. [`Error::TooLarge`] for bodies
    /// over [`BODY_BYTES_MAX`].
    pub fn new(entry: &Entry) -> Result<Self, Error> {
        let raw = entry.body.len();
        if BODY_BYTES_MAX < raw {
            return Err(Error::TooLarge { bytes: raw as u64, bytes_max: BODY_BYTES_MAX as u64 });
        }
        let compressed = if PLAIN_BYTES_MAX < raw { compress(&entry.body) } else { None };
        let (flags, payload) = match &compressed {
            Some(smaller) => (FLAG_ZSTD, smaller.as_slice()),
            None => (0, entry.body.as_ref()),
        };
        let tenant = entry.tenant.as_str().as_bytes();
        let mut tail = Vec::with_capacity(FIXED_BYTES + tenant.len() + payload.len());
        tail.extend_from_slice(&entry.received.0.to_le_bytes());
        // A tenant has at most 128 bytes and a body at most 256 MiB, so neither cast cuts anything off.
        tail.extend_from_slice(&[signal_code(entry.signal), entry.encoding, flags, tenant.len() as u8]);
        tail.extend_from_slice(&(raw as u32).to_le_bytes());
        tail.extend_from_slice(tenant);
        tail.extend_from_slice(payload);
        let checksum = crc32c::crc32c(&tail);
        Ok(Self { tail, checksum })
    }

    /// Bytes the record takes on disk, and about what it takes in memory until then.
    pub fn bytes(&self) -> usize {
        FRAME_BYTES + LSN_BYTES + self.tail.len()
    }

    /// Appends the finished record to `out`.
    pub(super) fn encode(&self, segment: &SegmentId, lsn: Lsn, out: &mut Vec<u8>) {
        let length = ((LSN_BYTES + self.tail.len()) as u32).to_le_bytes();
        let lsn = lsn.0.to_le_bytes();
        let head = head_checksum(segment, length, lsn);
        let checksum = crc32c::crc32c_combine(head, self.checksum, self.tail.len());
        out.extend_from_slice(&length);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&lsn);
        out.extend_from_slice(&self.tail);
    }
}

/// The start of a record, believed only after [`Frame::holds`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Bytes of the whole record.
    pub(super) bytes: usize,
    /// Its LSN.
    pub(super) lsn: Lsn,
    checksum: u32,
}

impl Frame {
    /// Reads the start of a record; none where the bytes cannot be one.
    pub(super) fn peek(start: &[u8; PEEK_BYTES]) -> Option<Self> {
        let bytes = FRAME_BYTES + number_u32(start, 0) as usize;
        let (signal, flags, tenant, raw) = (start[24], start[26], start[27] as usize, number_u32(start, 28));
        let lsn = number_u64(start, 8);
        // Zero is "none yet", and behind the last there is no next.
        let plausible = (1..u64::MAX).contains(&lsn)
            && (RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&bytes)
            && usize::from(signal) < Signal::ALL.len()
            && flags & !FLAG_ZSTD == 0
            && (1..=TENANT_BYTES_MAX).contains(&tenant)
            && FRAME_BYTES + LSN_BYTES + FIXED_BYTES + tenant <= bytes
            && raw as usize <= BODY_BYTES_MAX;
        plausible.then(|| Self { bytes, lsn: Lsn(lsn), checksum: number_u32(start, 4) })
    }

    /// True when `record`, all `bytes` of it, is what was written into `segment`.
    pub(super) fn holds(&self, segment: &SegmentId, record: &[u8]) -> bool {
        let Some((frame, tail)) = record.split_at_checked(FRAME_BYTES + LSN_BYTES) else { return false };
        let mut length = [0; 4];
        length.copy_from_slice(&frame[..4]);
        let head = head_checksum(segment, length, self.lsn.0.to_le_bytes());
        crc32c::crc32c_append(head, tail) == self.checksum && tenant_of(record).is_some()
    }
}

/// Unpacks a record that [`Frame::holds`]; fails when its payload is not what its head says.
pub(super) fn decode(record: &[u8]) -> io::Result<Entry> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let tenant = tenant_of(record).ok_or_else(broken)?;
    let payload = record.get(32 + tenant.as_str().len()..).ok_or_else(broken)?;
    let raw = number_u32(record, 28) as usize;
    if BODY_BYTES_MAX < raw {
        return Err(broken());
    }
    let body = if record[26] & FLAG_ZSTD == 0 { payload.to_vec() } else { decompress(payload, raw)? };
    if body.len() != raw {
        return Err(broken());
    }
    let signal = *Signal::ALL.get(usize::from(record[24])).ok_or_else(broken)?;
    let received = UnixNanos(number_u64(record, 16).cast_signed());
    Ok(Entry { tenant, signal, encoding: record[25], received, body: Bytes::from(body) })
}

/// The tenant of a record of at least [`RECORD_BYTES_MIN`] bytes.
fn tenant_of(record: &[u8]) -> Option<TenantId> {
    let length = usize::from(*record.get(27)?);
    let name = std::str::from_utf8(record.get(32..32 + length)?).ok()?;
    TenantId::try_from(name).ok()
}

fn head_checksum(segment: &SegmentId, length: [u8; 4], lsn: [u8; 8]) -> u32 {
    let mut head = [0; 28];
    head[..16].copy_from_slice(segment);
    head[16..20].copy_from_slice(&length);
    head[20..].copy_from_slice(&lsn);
    crc32c::crc32c(&head)
}

const fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 0,
        Signal::Logs => 1,
        Signal::Metrics => 2,
    }
}

/// The compressed body, unless it would not be smaller. One compressor a thread: making one costs more than
/// compressing a small body.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(ZSTD_LEVEL).ok();
        }
        let compressed = slot.as_mut()?.compress(body).ok()?;
        (compressed.len() < body.len()).then_some(compressed)
    })
}

/// The `u32` at `at`; zero past the end.
fn number_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The `u64` at `at`; zero past the end.
fn number_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn entry(tenant: &str, body: Vec<u8>) -> Entry {
        Entry {
            tenant: TenantId::try_from(tenant).unwrap(),
            signal: Signal::Logs,
            encoding: 7,
            received: UnixNanos(-5),
            body: body.into(),
        }
    }

    fn encoded(entry: &Entry, segment: SegmentId, lsn: Lsn) -> Vec<u8> {
        let prepared = Prepared::new(entry).unwrap();
        let mut out = Vec::new();
        prepared.encode(&segment, lsn, &mut out);
        assert_eq!(out.len(), prepared.bytes());
        out
    }

    fn peek(record: &[u8]) -> Option<Frame> {
        Frame::peek(record.get(..PEEK_BYTES)?.try_into().unwrap())
    }

    #[test]
    fn headers_come_back_and_notice_each_flipped_bit() {
        let header = Header { id: [9; 16], sequence: 3, base: Lsn(77) };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(BadHeader::Damaged), "bit {bit}");
        }
        let mut later = header.encode();
        later[4] = 2;
        let checksum = crc32c::crc32c(&later[..44]);
        later[44..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::decode(&later), Err(BadHeader::Version(2)));
    }

    #[test]
    fn d5_records_hold_only_in_their_own_segment_and_unchanged() {
        let record = encoded(&entry("team", b"hello".to_vec()), [1; 16], Lsn(4));
        let frame = peek(&record).unwrap();
        assert_eq!((frame.bytes, frame.lsn), (record.len(), Lsn(4)));
        assert!(frame.holds(&[1; 16], &record));
        assert!(!frame.holds(&[2; 16], &record));
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let holds = peek(&changed)
                .is_some_and(|frame| frame.bytes == changed.len() && frame.holds(&[1; 16], &changed));
            assert!(!holds, "bit {bit}");
        }
    }

    #[test]
    fn numbers_that_are_never_given_out_begin_no_record() {
        for (lsn, is_one) in [(0, false), (1, true), (u64::MAX - 1, true), (u64::MAX, false)] {
            let record = encoded(&entry("team", b"hello".to_vec()), [1; 16], Lsn(lsn));
            assert_eq!(peek(&record).is_some(), is_one, "{lsn}");
        }
    }

    #[test]
    fn large_bodies_are_compressed_and_refused_past_the_bound() {
        let body = b"the same words again and again ".repeat(1000);
        assert!(Prepared::new(&entry("a", body.clone())).unwrap().bytes() < body.len() / 10);
        let over = Prepared::new(&entry("a", vec![0; BODY_BYTES_MAX + 1]));
        assert!(matches!(over, Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_payload_that_unpacks_to_another_length_is_an_error() {
        let mut record = encoded(&entry("a", vec![5; 1000]), [1; 16], Lsn(1));
        record[28] ^= 1;
        assert!(decode(&record).is_err());
    }

    proptest! {
        #[test]
        fn entries_come_back(body in prop::collection::vec(any::<u8>(), 0..2000), repeat in 1_usize..4) {
            let entry = entry(&"t".repeat(repeat * 40), body.repeat(repeat));
            let record = encoded(&entry, [3; 16], Lsn(u64::MAX - 1));
            let frame = peek(&record).unwrap();
            assert!(frame.holds(&[3; 16], &record));
            assert_eq!(decode(&record).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = peek(&bytes).map(|frame| frame.holds(&[0; 16], &bytes));
        }
    }
}
