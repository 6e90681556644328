//! Dead letters: what was acknowledged and cannot be stored, kept until somebody looks.
//!
//! Promises: [`Letters::put`] answers once the letter is on disk under its name, so that whoever goes on without it loses
//! nothing; the same letter put twice, as after a crash in between, is there once, and [`Letters::take_back`] removes those of
//! a request that is stored after all; letters are bounded, and where there is
//! no room nothing is given up unless that was asked for. A letter that was damaged is told from others and stays.
//!
//! Never: a letter is stored, sent or removed by itself.
//!
//! Reading order: this file, `file` (one letter as bytes), `folder` (all of them).

mod file;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;

use crate::fault::Kind;
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

pub use self::folder::{Letters, Stats};

/// A request, or a part of one, that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it holds.
    pub signal: Signal,
    /// The number under which the journal keeps how `body` is written.
    pub encoding: u8,
    /// When the request was received.
    pub received: UnixNanos,
    /// Its number in the journal.
    pub lsn: u64,
    /// The place of its first item in the request.
    pub first: u64,
    /// How many items it holds; 0 where that is not known.
    pub items: u64,
    /// Why it cannot be stored.
    pub reason: String,
    /// The OTLP request.
    pub body: Bytes,
}

/// What may lie in the folder.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; it is made when the first letter comes.
    pub folder: PathBuf,
    /// Letters at most; 0 sets no bound.
    pub letters_max: u64,
    /// Bytes of all letters at most; 0 sets no bound.
    pub bytes_max: u64,
    /// Whether the oldest letters make room for a new one. Otherwise it is refused.
    pub drops_oldest: bool,
}

/// Why a letter cannot be kept, or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder holds as much as it may.
    #[error(
        "{letters} dead letters of {bytes} bytes are kept, as many as may: see `otelcontext dlq list`, or raise \
         DLQ_MAX_FILES or DLQ_MAX_DISK_MB"
    )]
    Full {
        /// Letters that are there.
        letters: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The folder or a file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged or no dead letter", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// There is no such letter.
    #[error("there is no dead letter {name:?}; `otelcontext dlq list` names those that there are")]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } | Self::File { .. } => Kind::Unavailable,
            Self::Damaged { .. } => Kind::Internal,
            Self::Unknown { .. } => Kind::Invalid,
        }
    }
}
