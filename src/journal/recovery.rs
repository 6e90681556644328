//! What is found when a directory is opened again: which records hold, what is torn and what is damaged.

use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::Lsn;
use super::disk::Disk;
use super::error::Error;
use super::format::{HEADER_BYTES, Header};
use super::segment::{self, Item, Scanner};

/// Damage that is listed one by one; beyond it only the sum grows.
pub const QUARANTINED_MAX: usize = 1000;
/// Copies of damaged segments that are kept beside the journal until someone removes them.
pub const COPIES_MAX: usize = 16;

/// What opening a journal found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Intact records after the applied position: what the replay will yield.
    pub records: u64,
    /// Bytes cut off the end of the last segment: a write that the last stop interrupted, so never
    /// acknowledged unless the device lost what it had confirmed.
    pub torn_tail_bytes: u64,
    /// Damaged places elsewhere, at most [`QUARANTINED_MAX`]. Acknowledged records may have been lost there.
    pub quarantined: Vec<Quarantined>,
    /// Bytes of all damaged places, listed or not.
    pub quarantined_bytes: u64,
    /// Records between the applied position and the first that the journal still has: the store is older than the journal
    /// remembers, so what was acknowledged then is in neither.
    pub missing: u64,
    /// The last LSN that was found or is known to have been given out.
    pub last: Lsn,
}

/// One damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The segment.
    pub path: PathBuf,
    /// The untouched copy of the segment; none when [`COPIES_MAX`] exist or the copy failed.
    pub copy: Option<PathBuf>,
    /// Where the damage starts in the segment.
    pub offset: u64,
    /// How many bytes are no record.
    pub bytes: u64,
    /// The last intact record before it; zero when there is none in this segment.
    pub after: Lsn,
}

/// A segment that holds records.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What its name says.
    pub(super) named: Header,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Its last record, or a later one where only that is known.
    pub(super) last: Lsn,
}

/// Records that are taken from one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which of the segments.
    pub(super) segment: usize,
    /// The first one, and the last.
    pub(super) from: Lsn,
    pub(super) to: Lsn,
}

/// A directory made ready for replay and for a new segment.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) segments: Vec<Found>,
    /// Which records to take from which segment, in order.
    pub(super) pieces: Vec<Piece>,
    /// Segments without a record, to be removed once the next segment carries the position on.
    pub(super) empty: Vec<PathBuf>,
    /// The sequence for the next segment.
    pub(super) sequence: u64,
    pub(super) report: Recovery,
}

/// Reads every segment, cuts the torn tail and copies what is damaged.
///
/// Changes nothing but the end of the last segment. Reads whole segments: about a second per GiB.
pub(super) fn recover(disk: &dyn Disk, directory: &Path, applied: Lsn) -> Result<Recovered, Error> {
    let mut listed = segment::list(disk, directory)?;
    let mut recovered = Recovered { sequence: 1, ..Recovered::default() };
    recovered.report.last = applied;
    let first = listed.iter().map(|(named, _)| named.base.0).min();
    recovered.report.missing = first.map_or(0, |first| first.saturating_sub(applied.0.saturating_add(1)));
    for (named, _) in &listed {
        recovered.sequence = recovered.sequence.max(named.sequence.saturating_add(1));
        recovered.report.last = recovered.report.last.max(Lsn(named.base.0.saturating_sub(1)));
    }
    while let Some((named, path)) = listed.last() {
        let Some(bytes) = recordless(disk, (named, path), recovered.empty.is_empty())? else { break };
        recovered.report.torn_tail_bytes += bytes.saturating_sub(HEADER_BYTES as u64);
        recovered.empty.push(path.clone());
        listed.pop();
    }
    let mut held: Vec<Vec<(Lsn, Lsn)>> = Vec::new();
    for (at, (named, path)) in listed.iter().enumerate() {
        let later = &listed[at + 1..];
        let limit = later.iter().map(|(header, _)| header.base).min().unwrap_or(Lsn(u64::MAX));
        let mut found =
            Found { named: *named, path: path.clone(), bytes: 0, last: Lsn(limit.0.saturating_sub(1)) };
        let runs = scan(disk, &mut found, (applied, limit, later.is_empty()), &mut recovered.report)?;
        recovered.report.last = recovered.report.last.max(found.last);
        lay(&mut recovered.pieces, (at, named.base), &runs);
        held.push(runs);
        recovered.segments.push(found);
    }
    for piece in &recovered.pieces {
        let wanted = |(first, last): &(Lsn, Lsn)| {
            let (first, last) =
                (first.0.max(piece.from.0).max(applied.0.saturating_add(1)), last.0.min(piece.to.0));
            (last + 1).saturating_sub(first)
        };
        recovered.report.records += held[piece.segment].iter().map(wanted).sum::<u64>();
    }
    log(&recovered.report);
    Ok(recovered)
}

/// The size of a segment without an intact record; none for all others.
///
/// Only the very last segment may have been torn before its first record was complete. Of those before it
/// only one that ends with its header counts: bytes behind the header were synced once, so they are damage.
fn recordless(
    disk: &dyn Disk,
    (named, path): (&Header, &Path),
    is_very_last: bool,
) -> Result<Option<u64>, Error> {
    let mut scanner = Scanner::open(disk, named, path)?;
    let bytes = scanner.length();
    let is_bare = bytes <= HEADER_BYTES as u64;
    let is_torn =
        is_very_last && matches!(scanner.next().map_err(Error::io("read", path))?, Some(Item::Tail { .. }));
    Ok((is_bare || is_torn).then_some(bytes))
}

/// Reads one segment, behind which the next begins at `limit`; cuts its tail if it is the last. Answers the numbers of its
/// intact records, in runs.
fn scan(
    disk: &dyn Disk,
    found: &mut Found,
    (applied, limit, is_last): (Lsn, Lsn, bool),
    report: &mut Recovery,
) -> Result<Vec<(Lsn, Lsn)>, Error> {
    let mut scanner = Scanner::open(disk, &found.named, &found.path)?;
    let mut runs: Vec<(Lsn, Lsn)> = Vec::new();
    found.bytes = scanner.length();
    let mut after = Lsn(0);
    let mut tail = None;
    let mut damaged = Vec::new();
    while let Some(item) = scanner.next().map_err(Error::io("read", &found.path))? {
        match item {
            Item::Record { frame, .. } => {
                // What lies before a record that was applied was applied too.
                let next = applied.0.saturating_add(1);
                damaged.retain(|(_, _, before): &(u64, u64, Lsn)| *before != after || frame.lsn.0 > next);
                after = frame.lsn;
                add(&mut runs, frame.lsn);
            }
            Item::Damaged { offset, bytes } => damaged.push((offset, bytes, after)),
            Item::Tail { offset, bytes } => tail = Some((offset, bytes)),
        }
    }
    let is_empty = after == Lsn(0);
    // The next segment starts where the intact records of this one end: its tail was written again there.
    let next = if is_empty { found.named.base } else { Lsn(after.0.saturating_add(1)) };
    // Its content was written again, or applied.
    let is_superseded = limit <= next || !is_last && limit.0 <= applied.0.saturating_add(1);
    match tail {
        Some((offset, bytes)) if is_last => {
            disk.truncate(&found.path, offset).map_err(Error::io("truncate", &found.path))?;
            found.bytes = offset;
            report.torn_tail_bytes += bytes;
        }
        Some((offset, bytes)) if !is_superseded => damaged.push((offset, bytes, after)),
        _ => {}
    }
    if scanner.header_damaged && !is_superseded {
        damaged.insert(0, (0, found.bytes.min(HEADER_BYTES as u64), Lsn(0)));
    }
    quarantine(disk, &found.path, &damaged, report);
    if is_last || !is_empty {
        found.last = after;
    }
    Ok(runs)
}

/// Adds a record to the runs of its segment.
pub(super) fn add(runs: &mut Vec<(Lsn, Lsn)>, lsn: Lsn) {
    match runs.last_mut() {
        Some((_, last)) if last.0 + 1 == lsn.0 => *last = lsn,
        _ => runs.push((lsn, lsn)),
    }
}

/// Adds a segment to the pieces. What was written again to it is taken from it; should it end before an earlier one does, for
/// it was left half written, the rest is taken from there.
pub(super) fn lay(pieces: &mut Vec<Piece>, (segment, base): (usize, Lsn), runs: &[(Lsn, Lsn)]) {
    let Some((_, last)) = runs.last() else { return };
    let mut rest = Vec::new();
    for piece in std::mem::take(pieces) {
        if piece.from < base {
            pieces.push(Piece { to: piece.to.min(Lsn(base.0 - 1)), ..piece });
        }
        let from = piece.from.max(Lsn(last.0 + 1));
        if base <= piece.to && from <= piece.to {
            rest.push(Piece { from, ..piece });
        }
    }
    pieces.push(Piece { segment, from: base, to: *last });
    pieces.extend(rest);
}

fn quarantine(disk: &dyn Disk, path: &Path, damaged: &[(u64, u64, Lsn)], report: &mut Recovery) {
    if damaged.is_empty() {
        return;
    }
    let copy = copy_beside(disk, path);
    for (offset, bytes, after) in damaged {
        report.quarantined_bytes += bytes;
        if report.quarantined.len() < QUARANTINED_MAX {
            report.quarantined.push(Quarantined {
                path: path.to_owned(),
                copy: copy.clone(),
                offset: *offset,
                bytes: *bytes,
                after: *after,
            });
        }
    }
}

/// Copies a damaged segment to `<name>.bad`; a copy of an earlier start is kept as it is.
fn copy_beside(disk: &dyn Disk, path: &Path) -> Option<PathBuf> {
    let copy = path.with_extension("journal.bad");
    let listed = disk.list(path.parent()?).ok()?;
    if listed.contains(&copy) {
        return Some(copy);
    }
    let is_copy = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "bad");
    if COPIES_MAX <= listed.iter().filter(is_copy).count() {
        return None;
    }
    match disk.copy(path, &copy) {
        Ok(()) => Some(copy),
        Err(cause) => {
            warn!(path = %path.display(), %cause, "cannot keep a copy of a damaged segment");
            None
        }
    }
}

fn log(report: &Recovery) {
    if report.torn_tail_bytes != 0 {
        warn!(bytes = report.torn_tail_bytes, "the journal ends in a torn write, cut off");
    }
    for place in &report.quarantined {
        error!(
            path = %place.path.display(),
            offset = place.offset,
            bytes = place.bytes,
            after = place.after.0,
            "the journal is damaged; later records are kept"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken from which segment, as segment, first and last, of segments given as base and last record.
    fn laid(segments: &[(u64, u64)]) -> Vec<(usize, u64, u64)> {
        let mut pieces = Vec::new();
        for (at, (base, last)) in segments.iter().enumerate() {
            let runs = [(Lsn(*base), Lsn(*last))];
            lay(&mut pieces, (at, Lsn(*base)), if last < base { &[] } else { &runs });
        }
        pieces.iter().map(|piece| (piece.segment, piece.from.0, piece.to.0)).collect()
    }

    #[test]
    fn a_segment_is_taken_over_only_as_far_as_the_later_one_goes() {
        assert_eq!(laid(&[(1, 9), (10, 12)]), [(0, 1, 9), (1, 10, 12)]);
        assert_eq!(laid(&[(1, 9), (5, 12)]), [(0, 1, 4), (1, 5, 12)], "written again");
        assert_eq!(laid(&[(1, 9), (5, 6)]), [(0, 1, 4), (1, 5, 6), (0, 7, 9)], "left half written");
        assert_eq!(laid(&[(1, 9), (5, 4)]), [(0, 1, 9)], "left empty");
        let twice = [(0, 1, 4), (2, 5, 7), (0, 8, 9)];
        assert_eq!(laid(&[(1, 9), (5, 6), (5, 7)]), twice, "and once more");
        assert_eq!(laid(&[(1, 9), (5, 6), (10, 12)]), [(0, 1, 4), (1, 5, 6), (0, 7, 9), (2, 10, 12)]);
    }
}
