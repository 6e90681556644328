//! The records that were not applied before the last stop, streamed from disk.

use std::io;
use std::sync::Arc;
use std::vec::IntoIter;

use super::disk::Disk;
use super::error::Error;
use super::format;
use super::recovery::{Found, Piece, Recovery};
use super::segment::{Item, Scanner};
use super::state::Shared;
use super::{Lsn, Record};

/// Yields every intact record after the applied position in the order of LSNs; holds one record at a time.
///
/// Damage was reported when the journal was opened and is passed over here. An error of the file system is
/// yielded once and ends the iteration: what follows would have a hole. A record that cannot be unpacked is
/// yielded as an error and the next call goes on behind it.
pub struct Replay {
    disk: Arc<dyn Disk>,
    pieces: IntoIter<(Piece, Found)>,
    current: Option<(Piece, Found, Scanner)>,
    applied: Lsn,
    report: Recovery,
    shared: Arc<Shared>,
}

impl Replay {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        (segments, pieces): (&[Found], &[Piece]),
        (applied, report): (Lsn, Recovery),
        shared: Arc<Shared>,
    ) -> Self {
        let pieces: Vec<_> = pieces.iter().map(|piece| (*piece, segments[piece.segment].clone())).collect();
        Self { disk, pieces: pieces.into_iter(), current: None, applied, report, shared }
    }

    /// What opening the journal found.
    pub const fn report(&self) -> &Recovery {
        &self.report
    }

    /// Opens the next segment that holds something to replay; false when there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        for (piece, found) in self.pieces.by_ref() {
            if piece.to <= self.applied {
                continue;
            }
            match Scanner::open(&*self.disk, &found.named, &found.path) {
                Ok(scanner) => {
                    self.current = Some((piece, found, scanner));
                    return Ok(true);
                }
                // Released, so applied, since the journal was opened.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && piece.to <= self.shared.released() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn step(&mut self) -> Result<Option<Record>, Error> {
        loop {
            let Some((piece, found, scanner)) = &mut self.current else {
                if self.advance()? {
                    continue;
                }
                return Ok(None);
            };
            let item = scanner.next().map_err(Error::io("read", &found.path))?;
            let Some(item) = item else {
                self.current = None;
                continue;
            };
            let Item::Record { offset, frame } = item else { continue };
            if frame.lsn <= self.applied || frame.lsn < piece.from || piece.to < frame.lsn {
                continue;
            }
            let bytes = scanner.bytes(offset, &frame).map_err(Error::io("read", &found.path))?;
            return match format::decode(bytes) {
                Ok(entry) => Ok(Some(Record { lsn: frame.lsn, entry })),
                Err(source) => Err(Error::Unreadable { lsn: frame.lsn, path: found.path.clone(), source }),
            };
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if let Err(error) = &step
            && !matches!(error, Error::Unreadable { .. })
        {
            self.pieces = Vec::new().into_iter();
            self.current = None;
        }
        step.transpose()
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("applied", &self.applied)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
