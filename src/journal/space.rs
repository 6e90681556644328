//! The room that is left on the volume, and when there is too little of it to take more.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::disk::{Disk, FileSystem};

/// How often the volume is looked at while there is something to write or too little room.
const LOOK: Duration = Duration::from_secs(1);
/// The share of the volume that is kept free at most, so that a small one is of use as well.
const SHARE_MAX: u64 = 10;

/// Room on a volume, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// What this process may still write.
    pub(super) free: u64,
    /// The whole volume.
    pub(super) whole: u64,
}

impl Room {
    /// The least that has to stay free where `free_min` bytes are asked for.
    fn least(self, free_min: u64) -> u64 {
        free_min.min(self.whole / SHARE_MAX)
    }
}

/// What is left on a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// What this process may still write.
    pub free: u64,
    /// The least that has to stay free: below it a journal there takes nothing new.
    pub least: u64,
}

impl Left {
    /// Looks at the volume of `directory`, where a journal is to leave `free_min` bytes free.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn on(directory: &Path, free_min: u64) -> io::Result<Self> {
        let room = FileSystem.room(directory)?;
        Ok(Self { free: room.free, least: room.least(free_min) })
    }
}

/// Watches that enough room is left for what else the server has to write: a full disk would stop the database that has to
/// take the journal's records, and nothing could be freed any more.
#[derive(Debug)]
pub(super) struct Watch {
    free_min: u64,
    looked: Option<Instant>,
    is_short: bool,
}

impl Watch {
    /// A watch over `free_min` bytes; none where that is zero.
    pub(super) const fn new(free_min: u64) -> Self {
        Self { free_min, looked: None, is_short: false }
    }

    /// When to look again although there is nothing to write.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.looked.filter(|_| self.is_short).map(|looked| looked + LOOK)
    }

    /// Looks, if it is time to; answers whether there is too little room where that has changed. It is enough again once a
    /// quarter more than the least is free, so that the answer does not change with every write.
    ///
    /// A volume that does not tell leaves it as it was.
    pub(super) fn look(&mut self, disk: &dyn Disk, directory: &Path, now: Instant) -> Option<bool> {
        let is_due = self.looked.is_none_or(|looked| looked + LOOK <= now);
        if self.free_min == 0 || !is_due {
            return None;
        }
        self.looked = Some(now);
        let room = disk.room(directory).ok()?;
        let (free, least) = (room.free, room.least(self.free_min));
        let enough = if self.is_short { least + least / 4 } else { least };
        let is_short = free < enough;
        let has_changed = is_short != self.is_short;
        self.is_short = is_short;
        if has_changed && is_short {
            warn!(free, least, "the volume of the journal is nearly full: nothing more is taken");
        } else if has_changed {
            info!(free, least, "the volume of the journal has room again");
        }
        has_changed.then_some(is_short)
    }
}
