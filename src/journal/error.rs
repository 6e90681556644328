//! What can go wrong in the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lsn;
use crate::fault::Kind;

/// A failure of the journal; [`Error::kind`] says what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other.
    #[error("journal options: {reason}")]
    Options {
        /// Which rule they break.
        reason: &'static str,
    },
    /// Another process writes this directory.
    #[error("the journal in {} belongs to a running instance", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// A file operation failed while the journal was opened or replayed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A segment was written by a later version of the program.
    #[error("{} has journal format {found}, this program reads {known}", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// The version in its header.
        found: u16,
        /// The version this program knows.
        known: u16,
    },
    /// The entry can never be taken.
    #[error("an entry of {bytes} bytes where at most {bytes_max} fit")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The journal is at one of its bounds; the same entry will do later.
    #[error("the journal is full: {what} would pass {bytes_max} bytes")]
    Full {
        /// Which bound.
        what: Bound,
        /// The bound.
        bytes_max: u64,
    },
    /// The volume is nearly full; the same entry will do once it has room again.
    #[error(
        "the journal takes nothing more: less than {free_bytes_min} bytes, or a tenth of its volume, are free"
    )]
    Space {
        /// The least that has to stay free.
        free_bytes_min: u64,
    },
    /// Writing failed, also on a new segment: nothing is taken until the cause is mended.
    #[error("the journal takes no entries after a failure: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// This entry could not be made durable and must not be acknowledged.
    #[error("record {} could not be written: {reason}", lsn.0)]
    NotDurable {
        /// The record.
        lsn: Lsn,
        /// What failed.
        reason: Arc<str>,
    },
    /// The journal was stopped.
    #[error("the journal is stopped")]
    Stopped,
    /// A record whose checksum holds has content that cannot be read.
    #[error("record {} in {} cannot be unpacked", lsn.0, path.display())]
    Unreadable {
        /// The record.
        lsn: Lsn,
        /// Its segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The two bounds at which [`Error::Full`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Bytes of all segments on disk.
    Disk,
    /// Bytes that wait for the writer.
    Pending,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disk => "the segments on disk",
            Self::Pending => "the entries waiting for the writer",
        })
    }
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Options { .. } | Self::Version { .. } => Kind::Invalid,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Full { .. } | Self::Space { .. } => Kind::Overloaded,
            Self::Locked { .. }
            | Self::Io { .. }
            | Self::Poisoned { .. }
            | Self::NotDurable { .. }
            | Self::Stopped => Kind::Unavailable,
            Self::Unreadable { .. } => Kind::Internal,
        }
    }

    /// Names the operation and the path of a failed file operation; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
