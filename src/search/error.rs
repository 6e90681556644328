//! What can go wrong in the search index.

use std::io;
use std::path::{Path, PathBuf};

use tantivy::TantivyError;

use crate::fault::Kind;

/// A failure of the search index; [`Error::kind`] says what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options cannot work.
    #[error("search options: {reason}")]
    Options {
        /// Which rule they break.
        reason: &'static str,
    },
    /// A row names a day that no index can have.
    #[error("a log record of day {day}, which lies outside of the years 1970 to 9999")]
    Day {
        /// The day, counted from 1970.
        day: i32,
    },
    /// Another process writes this directory.
    #[error("the search index in {} belongs to a running instance", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
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
    /// The query text cannot be understood.
    #[error("query, character {position}: {problem}; {remedy}")]
    Query {
        /// Where, in characters from 1.
        position: usize,
        /// What is wrong there.
        problem: &'static str,
        /// How to mend it.
        remedy: &'static str,
    },
    /// The index could not be written or read. What was added since the last commit is gone from it: add
    /// again from [`super::Index::position_of`].
    #[error("the search index failed")]
    Index {
        /// Why.
        #[source]
        source: TantivyError,
    },
    /// The indexing thread took nothing for half a minute. As [`Error::Index`] for what was added.
    #[error("the indexing thread makes no progress")]
    Stalled,
    /// Files of a day are damaged; the next start rebuilds it.
    #[error("the search index of a day is damaged and will be rebuilt at the next start")]
    Damaged,
    /// The index's own code failed on this query.
    #[error("the search index failed on this query")]
    Panicked,
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Options { .. } | Self::Query { .. } | Self::Day { .. } => Kind::Invalid,
            Self::Locked { .. } | Self::Io { .. } | Self::Index { .. } | Self::Stalled => Kind::Unavailable,
            Self::Damaged | Self::Panicked => Kind::Internal,
        }
    }

    /// Names the operation and the path of a failed file operation; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<TantivyError> for Error {
    fn from(source: TantivyError) -> Self {
        match source {
            TantivyError::DataCorruption(_) => Self::Damaged,
            source => Self::Index { source },
        }
    }
}
