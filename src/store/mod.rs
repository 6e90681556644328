//! Ground truth on SQLite: everything that was applied from the journal, readable with plain SQL.
//!
//! Promises: a commit is one transaction, and after it failed nothing changed and the same commit can be tried
//! again; trace summaries and roll-ups are folds that come out the same in any order and any split of commits;
//! [`Store::applied`] never runs ahead of what was written. A commit is on disk for good once [`Store::sync`]
//! answered a position at or after it; until then a power cut (not a crash of the process) may undo it, and the
//! journal replays it.
//!
//! Never: it decides nothing about telemetry (names, keys, dependencies and templates are settled by the caller),
//! it never reads the clock, it never deletes, and a question never writes. sqlx is spelled only here.
//!
//! Files in reading order: [`options`] and `open` (one writing connection, several for reading, migrations),
//! [`rows`] (what a commit carries), [`names`] and `dictionaries` (names in memory and on disk), `commit` (the transaction), `insert`
//! (many rows a statement), `packing` (which block a row goes to), `traces`, `series`, `rollups` (the folds), [`blocks`] (packed details compressed
//! together, with a filter), [`recall`] (traces that were begun in earlier commits), [`error`].
//!
//! Its one handle is [`Store`].

pub mod blocks;
mod commit;
mod dictionaries;
pub mod error;
mod insert;
pub mod names;
mod open;
pub mod options;
mod packing;
pub mod predecessor;
pub mod read;
pub mod recall;
mod rollups;
pub mod rows;
pub mod schema;
mod series;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::SqlitePool;
use tokio::sync::Mutex;

use self::commit::Slot;
use self::names::Names;
use self::options::Options;

/// The store; clones share one database.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What the clones share. Readers use `readers` and `names`; only `commit` takes the writer.
#[derive(Debug)]
struct Inner {
    options: Options,
    writer: Arc<Mutex<Slot>>,
    readers: SqlitePool,
    /// One connection that no question can keep the pipeline from.
    recaller: SqlitePool,
    names: Names,
    applied: AtomicU64,
}

impl Store {
    /// Everything in the journal up to and including this position was committed.
    pub fn applied(&self) -> u64 {
        self.inner.applied.load(Ordering::Acquire)
    }

    /// The dictionaries.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// Connections that read what was committed.
    fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }
}
