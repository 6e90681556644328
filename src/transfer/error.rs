//! What can go wrong while data is moved.

use std::io;
use std::path::{Path, PathBuf};

use crate::fault::Kind;
use crate::journal;
use crate::store;

/// A failure of a backup, restore, move, export or import.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
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
    /// There is no database to copy.
    #[error("there is no database at {}: check DATA_DIR and DB_DSN", path.display())]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory for a backup holds something.
    #[error("{} is not empty: name a new directory for each backup", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The place to restore to holds data.
    #[error(
        "{} holds data: restore to another DATA_DIR, or give --force to have it moved aside", path.display()
    )]
    Occupied {
        /// What is in the way.
        path: PathBuf,
    },
    /// The disk is too small.
    #[error("{} has {free} bytes free and about {wanted} are needed", path.display())]
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        wanted: u64,
    },
    /// A server works on the data.
    #[error("a server runs on {}: stop it first", path.display())]
    Running {
        /// The data directory.
        path: PathBuf,
        /// What tells so.
        #[source]
        source: journal::Error,
    },
    /// The backup was never finished, or is none.
    #[error("{} has no manifest.json: it is no backup, or one that was not finished", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The backup was made by a later program.
    #[error("the backup has format {found} and this release reads format {known}: use a newer release")]
    Newer {
        /// Its format.
        found: u64,
        /// The format this program knows.
        known: u64,
    },
    /// A file of the backup is not what was written.
    #[error("the backup is damaged: {} {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Records between the snapshot and the mark are missing.
    #[error("the journal lacks record {missing} of those after {applied} up to {mark}")]
    Hole {
        /// The first that is missing.
        missing: u64,
        /// The position of the snapshot.
        applied: u64,
        /// The mark.
        mark: u64,
    },
    /// A restore into this directory was killed.
    #[error(
        "a restore into {} was not finished: run `otelcontext restore` again before anything else", path.display()
    )]
    HalfRestored {
        /// The data directory.
        path: PathBuf,
    },
    /// More rows of one instant than can be told apart.
    #[error(
        "more than {max} {what} of one operation at {at_ns} ns since 1970: they cannot be exported in parts"
    )]
    Crowded {
        /// Rows of what.
        what: &'static str,
        /// When.
        at_ns: i64,
        /// How many one question answers.
        max: usize,
    },
    /// Rows name what the dictionaries do not have.
    #[error("a stored {what} refers to an unknown name")]
    Nameless {
        /// What it is.
        what: &'static str,
    },
    /// The tenant has no data.
    #[error("the store has no tenant {tenant}; it has {known}")]
    NoTenant {
        /// The tenant asked for.
        tenant: String,
        /// Those there are, at most twenty.
        known: String,
    },
    /// The state file belongs to another import.
    #[error("{} is not the state of an import of these files: remove it to begin anew", path.display())]
    State {
        /// The state file.
        path: PathBuf,
    },
    /// A bad line in a strict import.
    #[error("line {line} of {} is bad: {reason}", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// The server did not take a request.
    #[error("the import stopped: {reason}")]
    Undelivered {
        /// What the server, or the way there, said last.
        reason: String,
    },
    /// The data cannot be moved to another database.
    #[error(transparent)]
    Relocate(store::error::Error),
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Journal(#[from] journal::Error),
    /// The database cannot be read.
    #[error("cannot read the database")]
    Store(#[from] store::error::Error),
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } | Self::Space { .. } | Self::Running { .. } | Self::Undelivered { .. } => {
                Kind::Unavailable
            }
            Self::NoDatabase { .. } | Self::NoTenant { .. } => Kind::NotFound,
            Self::NotEmpty { .. }
            | Self::Occupied { .. }
            | Self::Unfinished { .. }
            | Self::Newer { .. }
            | Self::HalfRestored { .. }
            | Self::State { .. }
            | Self::BadLine { .. } => Kind::Invalid,
            Self::Crowded { .. } => Kind::TooLarge,
            Self::Damaged { .. } | Self::Hole { .. } | Self::Nameless { .. } => Kind::Internal,
            Self::Journal(error) => error.kind(),
            Self::Relocate(error) | Self::Store(error) => error.kind(),
        }
    }

    /// Names the operation and the path of a failed file operation; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
