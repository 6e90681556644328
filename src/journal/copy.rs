//! Copying the segments of a journal that another process may be writing, and telling what a copy holds.
//!
//! Nothing here writes to the journal's own directory or takes its lock, so a running server does not notice. A copy
//! ends with the last whole record that the file had when it was opened.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Lsn;
use super::error::Error;
use super::format::Header;
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
    for (header, path) in segment::list(directory)? {
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
    let mut scanner = match Scanner::open(&named, &found.path) {
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

/// What the segments in `directory` hold after `applied`. Reads those that are not applied whole.
///
/// Numbers that were refused and never written leave a hole only where a segment begins, and that segment says so in
/// its header; every other hole is a loss.
pub fn holding(directory: &Path, applied: Lsn) -> Result<Holding, Error> {
    let listed = if directory.is_dir() { segment::list(directory)? } else { Vec::new() };
    let mut holding = Holding { last: Lsn(0), missing: None };
    // The next record that has to be there.
    let mut next = Lsn(applied.0.saturating_add(1));
    for (at, (named, path)) in listed.iter().enumerate() {
        let before = Lsn(named.base.0.saturating_sub(1));
        holding.last = holding.last.max(before);
        let limit = listed[at + 1..].iter().map(|(header, _)| header.base).min().unwrap_or(Lsn(u64::MAX));
        if limit <= next {
            continue;
        }
        if next < named.base {
            miss(&mut holding, next);
        }
        let last = scan(named, path, (next, limit), &mut holding)?;
        holding.last = holding.last.max(last);
        next = next.max(Lsn(last.0.saturating_add(1)));
    }
    Ok(holding)
}

/// Reads one segment for the records from `wanted.0` on and before `wanted.1`; answers the last record in it.
fn scan(named: &Header, path: &Path, wanted: (Lsn, Lsn), holding: &mut Holding) -> Result<Lsn, Error> {
    let (first, limit) = wanted;
    let mut scanner = Scanner::open(named, path)?;
    let mut last = Lsn(named.base.0.saturating_sub(1));
    let mut is_damaged = scanner.header_damaged;
    let mut has_records = false;
    while let Some(item) = scanner.next().map_err(Error::io("read", path))? {
        match item {
            Item::Record { frame, .. } if limit <= frame.lsn => break,
            Item::Record { frame, .. } => {
                let expected = Lsn(last.0.saturating_add(1));
                // The first record may come later than the base: what lies between was refused.
                if expected < frame.lsn && first < frame.lsn && (is_damaged || has_records) {
                    miss(holding, first.max(expected));
                }
                (last, is_damaged, has_records) = (frame.lsn, false, true);
            }
            Item::Damaged { .. } | Item::Tail { .. } => is_damaged = true,
        }
    }
    // The next segment begins where the intact records of this one ended.
    if limit != Lsn(u64::MAX) && last.0.saturating_add(1) < limit.0 && first < limit {
        miss(holding, first.max(Lsn(last.0.saturating_add(1))));
    }
    if is_damaged && limit == Lsn(u64::MAX) {
        miss(holding, first.max(Lsn(last.0.saturating_add(1))));
    }
    Ok(last)
}

fn miss(holding: &mut Holding, lsn: Lsn) {
    holding.missing.get_or_insert(lsn);
}
