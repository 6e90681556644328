//! Copying the segments of a journal that another process may be writing, and telling what a copy holds.
//!
//! Nothing here writes to the journal's own directory or takes its lock, so a running server does not notice. A copy
//! ends with the last whole record that the file had when it was opened.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Lsn;
use super::disk::FileSystem;
use super::error::Error;
use super::format::Header;
use super::recovery;
use super::segment::{self, Item, Scanner};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// One segment as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Its file name, which a copy must keep.
    pub name: String,
    /// Bytes of the file when it was listed.
    pub bytes: u64,
}

/// What the segments of a directory hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The last record, or the last one that is known to have been given a number; zero where there is none.
    pub last: Lsn,
    /// The first record after the asked position that is missing or damaged; none where all are there.
    pub missing: Option<Lsn>,
}

/// The segments in `directory`, oldest first. One that vanishes meanwhile is left out: it was released.
///
/// Errs when the directory cannot be read; one that does not exist has no segments.
pub fn segments(directory: &Path) -> Result<Vec<Segment>, Error> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (header, path) in segment::list(&FileSystem, directory)? {
        match path.metadata() {
            Ok(metadata) => {
                found.push(Segment { path, name: segment::file_name(&header), bytes: metadata.len() });
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        }
    }
    Ok(found)
}

/// Copies the whole records of a segment to `target`; answers the bytes, or none where the segment vanished before it
/// could be opened, which only released segments do.
///
/// Holds one record in memory. Damage between records is copied as it is; only a tail that is no record is left out.
pub fn copy(found: &Segment, target: &mut impl Write) -> Result<Option<u64>, Error> {
    let reading = || Error::io("read", &found.path);
    let Some(named) = segment::parse_name(&found.path) else {
        return Ok(None);
    };
    // Opened once more for the bytes, before it is scanned: the file stays whole although its name may go.
    let mut file = match File::open(&found.path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(reading()(source)),
    };
    let mut scanner = match Scanner::open(&FileSystem, &named, &found.path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut length = scanner.length();
    while let Some(item) = scanner.next().map_err(reading())? {
        if let Item::Tail { offset, .. } = item {
            length = offset;
        }
    }
    let mut left = length;
    let mut buffer = vec![0; COPY_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        file.read_exact(&mut buffer[..wanted]).map_err(reading())?;
        target.write_all(&buffer[..wanted]).map_err(Error::io("write a copy of", &found.path))?;
        left -= wanted as u64;
    }
    Ok(Some(length))
}

/// What the segments in `directory` hold after `applied`. Reads them whole.
///
/// Numbers that were refused and never written leave a hole only where a segment begins, and that segment says so in
/// its header; every other hole is a loss.
pub fn holding(directory: &Path, applied: Lsn) -> Result<Holding, Error> {
    let listed = if directory.is_dir() { segment::list(&FileSystem, directory)? } else { Vec::new() };
    let (mut pieces, mut held) = (Vec::new(), Vec::new());
    let mut last = Lsn(0);
    for (at, (named, path)) in listed.iter().enumerate() {
        let found = scan(named, path)?;
        recovery::lay(&mut pieces, (at, named.base), &found.runs);
        let reaches = found.runs.last().map_or(Lsn(named.base.0.saturating_sub(1)), |(_, last)| *last);
        last = last.max(reaches);
        held.push(found);
    }
    let mut walk = Walk { next: applied.0.saturating_add(1), missing: None };
    for piece in &pieces {
        let found = &held[piece.segment];
        // The numbers before its first record were refused where the segment begins whole.
        if piece.from == listed[piece.segment].0.base && !found.begins_damaged {
            walk.reach(piece.from);
            walk.next = walk.next.max(found.runs.first().map_or(0, |(first, _)| first.0));
        }
        for (first, last) in &found.runs {
            let (first, last) = (*first.max(&piece.from), *last.min(&piece.to));
            if first <= last && walk.next <= last.0 {
                walk.reach(first);
                walk.next = last.0.saturating_add(1);
            }
        }
    }
    walk.reach(Lsn(last.0.saturating_add(1)));
    if held.last().is_some_and(|found| found.ends_damaged) {
        walk.reach(Lsn(u64::MAX));
    }
    Ok(Holding { last, missing: walk.missing })
}

/// A walk over records in order.
struct Walk {
    /// The number that has to be there next.
    next: u64,
    /// The first that was not.
    missing: Option<Lsn>,
}

impl Walk {
    /// Notes what is missing before `lsn`.
    fn reach(&mut self, lsn: Lsn) {
        if self.next < lsn.0 {
            self.missing.get_or_insert(Lsn(self.next));
        }
    }
}

/// What one segment holds.
struct Scanned {
    /// The numbers of its intact records, in runs.
    runs: Vec<(Lsn, Lsn)>,
    /// Bytes before its first record, or behind its last, are none.
    begins_damaged: bool,
    ends_damaged: bool,
}

fn scan(named: &Header, path: &Path) -> Result<Scanned, Error> {
    let mut scanner = Scanner::open(&FileSystem, named, path)?;
    let is_damaged = scanner.header_damaged;
    let mut found = Scanned { runs: Vec::new(), begins_damaged: is_damaged, ends_damaged: is_damaged };
    while let Some(item) = scanner.next().map_err(Error::io("read", path))? {
        match item {
            Item::Record { frame, .. } => {
                recovery::add(&mut found.runs, frame.lsn);
                found.ends_damaged = false;
            }
            Item::Damaged { .. } | Item::Tail { .. } => {
                found.begins_damaged |= found.runs.is_empty();
                found.ends_damaged = true;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::{Entry, Prepared};
    use crate::model::batch::Signal;
    use crate::model::tenant::TenantId;
    use crate::model::time::UnixNanos;

    /// Writes a segment with these records.
    fn segment(directory: &Path, sequence: u64, base: u64, records: &[u64]) -> PathBuf {
        let header = Header { id: [sequence as u8; 16], sequence, base: Lsn(base) };
        let mut bytes = header.encode().to_vec();
        let entry = Entry {
            tenant: TenantId::try_from("team").unwrap(),
            signal: Signal::Traces,
            encoding: 0,
            received: UnixNanos(1),
            body: b"body".as_slice().into(),
        };
        for lsn in records {
            Prepared::new(&entry).unwrap().encode(&header.id, Lsn(*lsn), &mut bytes);
        }
        let path = directory.join(segment::file_name(&header));
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The last record and the first missing one after `applied`, of segments given as base and records.
    fn held(applied: u64, segments: &[(u64, &[u64])]) -> (u64, Option<u64>) {
        let directory = tempfile::tempdir().unwrap();
        for ((base, records), sequence) in segments.iter().zip(1..) {
            segment(directory.path(), sequence, *base, records);
        }
        let found = holding(directory.path(), Lsn(applied)).unwrap();
        (found.last.0, found.missing.map(|lsn| lsn.0))
    }

    #[test]
    fn only_losses_are_missing() {
        assert_eq!(held(0, &[(1, &[1, 2, 3]), (4, &[4])]), (4, None));
        assert_eq!(held(9, &[]), (0, None));
        // Numbers 4 and 5 were refused and given out to nobody else.
        assert_eq!(held(0, &[(1, &[1, 2, 3]), (4, &[6, 7])]), (7, None));
        // What was written again to the next segment counts there.
        assert_eq!(held(0, &[(1, &[1, 2, 3, 4]), (3, &[3, 4, 5])]), (5, None));
        // The position of an empty segment is known.
        assert_eq!(held(0, &[(1, &[1, 2]), (3, &[])]), (2, None));
        assert_eq!(held(0, &[(1, &[1, 3])]), (3, Some(2)));
        assert_eq!(held(0, &[(1, &[1, 2]), (4, &[4])]), (4, Some(3)));
        assert_eq!(held(3, &[(1, &[1, 2]), (4, &[4])]), (4, None), "applied before");
        assert_eq!(held(1, &[(4, &[4])]), (4, Some(2)));
        assert_eq!(held(1, &[(1, &[1, 3]), (4, &[])]), (3, Some(2)));
        assert_eq!(
            held(0, &[(1, &[1]), (4, &[])]),
            (3, Some(2)),
            "the position is known, its records are not"
        );
        // A segment that was left half written took over only what is in it.
        assert_eq!(held(0, &[(1, &[1, 2, 3, 4]), (3, &[3])]), (4, None));
        assert_eq!(held(3, &[(1, &[1, 2, 3, 4]), (3, &[3]), (5, &[5])]), (5, None));
        assert_eq!(held(0, &[(1, &[1, 2, 4]), (3, &[])]), (4, Some(3)));
    }

    #[test]
    fn damage_is_missing_where_nothing_else_holds_its_records() {
        let directory = tempfile::tempdir().unwrap();
        let first = segment(directory.path(), 1, 1, &[1, 2, 3]);
        let missing = || holding(directory.path(), Lsn(0)).unwrap().missing;
        let whole = fs::read(&first).unwrap();
        let record = (whole.len() - crate::journal::format::HEADER_BYTES) / 3;
        let flip = |number: usize| {
            let mut bytes = whole.clone();
            bytes[crate::journal::format::HEADER_BYTES + number * record + record / 2] ^= 1;
            fs::write(&first, bytes).unwrap();
        };
        for (number, lsn) in [(0, 1), (1, 2), (2, 3)] {
            flip(number);
            assert_eq!(missing(), Some(Lsn(lsn)));
        }
        segment(directory.path(), 2, 3, &[3, 4]);
        assert_eq!(missing(), None, "written again");
    }

    #[test]
    fn a_copy_ends_with_the_last_whole_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = segment(directory.path(), 1, 1, &[1, 2, 3]);
        let whole = fs::read(&path).unwrap();
        let record = (whole.len() - crate::journal::format::HEADER_BYTES) / 3;
        for cut in 0..record {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let listed = segments(directory.path()).unwrap();
            let mut out = Vec::new();
            let copied = copy(&listed[0], &mut out).unwrap();
            let kept = whole.len() - if cut == 0 { 0 } else { record };
            assert_eq!((copied, out.as_slice()), (Some(kept as u64), &whole[..kept]), "{cut} bytes cut");
        }
        let listed = segments(directory.path()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(copy(&listed[0], &mut Vec::new()).unwrap(), None, "it vanished");
    }
}
