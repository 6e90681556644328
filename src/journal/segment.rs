//! Segment files on disk: their names, and reading one with all that may have happened to it.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Lsn;
use super::disk::{Content, Disk};
use super::error::Error;
use super::format::{
    BadHeader, Frame, HEADER_BYTES, Header, PEEK_BYTES, RECORD_BYTES_MIN, SegmentId, VERSION,
};

const EXTENSION: &str = "journal";
/// Bytes that are read from a file at a time.
const READ_BYTES: usize = 1024 * 1024;
/// Checksums that are tried in search of the next record after damage. A body can be made to look like many
/// records; past this number the rest of the segment is given up rather than read again and again.
const RESYNC_TRIES_MAX: u32 = 1024;

/// The file name of a segment. It repeats the header, so that a damaged header costs no records.
pub(super) fn file_name(header: &Header) -> String {
    let id = u128::from_be_bytes(header.id);
    format!("{:012}-{:020}-{id:032x}.{EXTENSION}", header.sequence, header.base.0)
}

/// Reads a name that [`file_name`] made; none for any other file.
pub(super) fn parse_name(path: &Path) -> Option<Header> {
    if path.extension() != Some(OsStr::new(EXTENSION)) {
        return None;
    }
    let mut parts = path.file_stem()?.to_str()?.splitn(3, '-');
    let sequence = parts.next()?.parse().ok()?;
    let base = Lsn(parts.next()?.parse().ok()?);
    let id = u128::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
    Some(Header { id, sequence, base })
}

/// The segments in `directory` in the order of their creation; other files are left out.
pub(super) fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<(Header, PathBuf)>, Error> {
    let paths = disk.list(directory).map_err(Error::io("list", directory))?;
    let mut found: Vec<_> =
        paths.into_iter().filter_map(|path| parse_name(&path).map(|header| (header, path))).collect();
    found.sort_by_key(|(header, _)| header.sequence);
    Ok(found)
}

/// A new segment id: 128 bits hashed from time, process and sequence under std's randomly keyed hasher.
///
/// The keys come from the operating system once a thread, which makes ids unpredictable to senders and
/// distinct between processes; they are not meant to be secret.
pub(super) fn new_id(sequence: u64) -> SegmentId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let half = |salt: u8| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u8(salt);
        hasher.write_u128(now);
        hasher.write_u32(std::process::id());
        hasher.write_u64(sequence);
        hasher.finish()
    };
    (u128::from(half(0)) << 64 | u128::from(half(1))).to_be_bytes()
}

/// What lies next in a segment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    /// An intact record.
    Record { offset: u64, frame: Frame },
    /// Bytes that are no record, with an intact record behind them.
    Damaged { offset: u64, bytes: u64 },
    /// Bytes that are no record, up to the end of the file.
    Tail { offset: u64, bytes: u64 },
}

/// Walks one segment from its header to its end, past damage, in memory bounded by the largest record.
pub(super) struct Scanner {
    file: Window,
    header: Header,
    /// The header cannot be read; the name of the file stands in for it.
    pub(super) header_damaged: bool,
    offset: u64,
    previous: Option<Lsn>,
}

impl Scanner {
    /// Opens the segment at `path`, whose name says `named`.
    ///
    /// [`Error::Version`] for an intact header of another version; a damaged header is noted, not an error.
    pub(super) fn open(disk: &dyn Disk, named: &Header, path: &Path) -> Result<Self, Error> {
        let content = disk.open(path).map_err(Error::io("open", path))?;
        let mut file = Window { length: content.length(), content, buffer: Vec::new(), start: 0 };
        let first = file.array::<HEADER_BYTES>(0).map_err(Error::io("read", path))?;
        let (header, header_damaged) = match first.as_ref().map(Header::decode) {
            Some(Ok(header)) => (header, false),
            Some(Err(BadHeader::Version(found))) => {
                return Err(Error::Version { path: path.to_owned(), found, known: VERSION });
            }
            Some(Err(BadHeader::Damaged)) | None => (*named, true),
        };
        let offset = (HEADER_BYTES as u64).min(file.length);
        Ok(Self { file, header, header_damaged, offset, previous: None })
    }

    /// Bytes of the file.
    pub(super) const fn length(&self) -> u64 {
        self.file.length
    }

    /// The next item; none at the end. Fails only when the file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        let offset = self.offset;
        if offset == self.file.length {
            return Ok(None);
        }
        if let Some(frame) = self.record_at(offset)? {
            self.offset = offset + frame.bytes as u64;
            self.previous = Some(frame.lsn);
            return Ok(Some(Item::Record { offset, frame }));
        }
        let found = self.resynchronise(offset)?;
        self.offset = found.unwrap_or(self.file.length);
        let bytes = self.offset - offset;
        Ok(Some(match found {
            Some(_) => Item::Damaged { offset, bytes },
            None => Item::Tail { offset, bytes },
        }))
    }

    /// The bytes of a record that [`Scanner::next`] just returned.
    pub(super) fn bytes(&mut self, offset: u64, frame: &Frame) -> io::Result<&[u8]> {
        self.file.view(offset, frame.bytes)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn peek(&mut self, offset: u64) -> io::Result<Option<Frame>> {
        let Some(start) = self.file.array::<PEEK_BYTES>(offset)? else { return Ok(None) };
        let follows = |lsn: Lsn| self.previous.map_or(self.header.base <= lsn, |previous| previous < lsn);
        Ok(Frame::peek(&start).filter(|frame| follows(frame.lsn)))
    }

    fn record_at(&mut self, offset: u64) -> io::Result<Option<Frame>> {
        let Some(frame) = self.peek(offset)? else { return Ok(None) };
        let id = self.header.id;
        let holds = self.file.view(offset, frame.bytes)?.is_some_and(|record| frame.holds(&id, record));
        Ok(holds.then_some(frame))
    }

    /// Where the next intact record starts after damage at `from`: by the damaged record's length, if that
    /// leads to one, else at the first byte where one starts.
    fn resynchronise(&mut self, from: u64) -> io::Result<Option<u64>> {
        if let Some(length) = self.file.array::<4>(from)? {
            let by_length = from + 8 + u64::from(u32::from_le_bytes(length));
            if self.record_at(by_length)?.is_some() {
                return Ok(Some(by_length));
            }
        }
        let mut tries = 0;
        for offset in from + 1..self.file.length.saturating_sub(RECORD_BYTES_MIN as u64 - 1) {
            let Some(frame) = self.peek(offset)? else { continue };
            // Records of a segment count up by one, so damage of this length hides only so many of them.
            let hidden = 1 + (offset - from) / RECORD_BYTES_MIN as u64;
            let near = self.previous.is_none_or(|previous| frame.lsn.0 - previous.0 <= hidden + 1);
            let inside = frame.bytes as u64 <= self.file.length - offset;
            if !near || !inside {
                continue;
            }
            if self.record_at(offset)?.is_some() {
                return Ok(Some(offset));
            }
            tries += 1;
            if tries == RESYNC_TRIES_MAX {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// A file read forward through a buffer.
struct Window {
    content: Box<dyn Content>,
    length: u64,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    start: u64,
}

impl Window {
    /// The `bytes` at `offset`; none where the file ends before.
    fn view(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        if self.length < offset.saturating_add(bytes as u64) {
            return Ok(None);
        }
        let held = self.start + self.buffer.len() as u64;
        if offset < self.start || held < offset + bytes as u64 {
            let ahead = (self.length - offset).min(READ_BYTES.max(bytes) as u64);
            // Nothing of the old buffer stays valid should the read fail half way.
            self.start = offset;
            self.buffer.clear();
            self.content.read(offset, ahead, &mut self.buffer)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(from..from + bytes))
    }

    fn array<const N: usize>(&mut self, offset: u64) -> io::Result<Option<[u8; N]>> {
        Ok(self.view(offset, N)?.and_then(|bytes| bytes.try_into().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_strangers_are_left_out() {
        let header = Header { id: new_id(7), sequence: 7, base: Lsn(9) };
        assert_eq!(parse_name(Path::new(&file_name(&header))), Some(header));
        assert_ne!(new_id(7), header.id);
        let names = ["journal.lock", "x.journal", "1-2-zz.journal", "1-2-3.journal.bad", "1-2.journal"];
        for name in names {
            assert_eq!(parse_name(Path::new(name)), None, "{name}");
        }
    }
}
