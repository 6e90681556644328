//! Ground truth, on SQLite or Postgres: everything that was applied from the journal, readable with plain SQL.
//!
//! Promises: a commit is one transaction, and after it failed nothing changed and the same commit can be tried
//! again; trace summaries and roll-ups are folds that come out the same in any order and any split of commits;
//! [`Store::applied`] never runs ahead of what was written. A commit is on disk for good once [`Store::sync`]
//! answered a position at or after it; until then a power cut (not a crash of the process) may undo it, and the
//! journal replays it. What is old is given up by the day, as a whole. Both databases have the same tables and
//! columns, and pass the same tests.
//!
//! Never: it decides nothing about telemetry (names, keys, dependencies and templates are settled by the caller),
//! it never reads the clock, and a question never writes. sqlx is spelled only here.
//!
//! Files in reading order: [`options`] (which database) and `open`; [`rows`] (what a commit carries), [`day`] and
//! [`partition`] (where it goes), [`names`] and `dictionaries` (names in memory and on disk), `commit` (one writer), `ahead`
//! (its threads) and `write` (the transaction), `table` (the columns), `packing` (which block a row goes to), `traces`, `series`,
//! `templates` (of log records), `rollups` (the folds), `hours` and [`series_hours`] (roll-ups that are kept longest), [`anomalies`], [`investigations`], [`blocks`] (packed details
//! compressed together, with a filter), [`read`] (questions), [`recall`] (traces that were begun in earlier commits),
//! [`retire`] (giving up what is old), [`forget`] (names that nothing has any more), [`aging`] (log templates that nothing has),
//! [`snapshot`] (a copy of the file),
//! [`relocate`] (a move to another database), `catalog` and [`schema`] (what the database says about itself), [`examine`]
//! (whether a server could work there), `connection`, `pool`, `sql`, `row` and `values` (either database as one), `sqlite`
//! and `postgres` (what only one of them has), [`error`].
//!
//! Its one handle is [`Store`].

pub mod aging;
mod ahead;
pub mod anomalies;
pub mod blocks;
mod catalog;
mod commit;
mod connection;
pub mod day;
mod dictionaries;
pub mod error;
pub mod examine;
mod filters;
pub mod forget;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hours;
pub mod investigations;
pub mod names;
mod open;
pub mod options;
mod packing;
pub mod partition;
mod pool;
pub mod postgres;
pub mod predecessor;
pub mod read;
pub mod recall;
pub mod relocate;
pub mod retire;
mod rollups;
mod row;
pub mod rows;
pub mod schema;
mod series;
pub mod series_hours;
pub mod snapshot;
mod sql;
mod sqlite;
mod table;
mod templates;
#[cfg(test)]
mod tests;
mod traces;
mod values;
mod write;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use self::commit::Slot;
use self::names::{Key, Names};
use self::options::Options;
use self::pool::Pool;
use crate::model::id::TenantNumber;

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
    readers: Pool,
    /// One connection that no question can keep the pipeline from.
    recaller: Pool,
    names: Names,
    /// Names that memory forgot and that no call told yet.
    untold: std::sync::Mutex<Vec<(TenantNumber, Key)>>,
    /// Templates whose service is forgotten.
    orphans: std::sync::Mutex<forget::Orphans>,
    /// Which templates rest, and which are to be forgotten.
    aging: std::sync::Mutex<aging::Aging>,
    /// The commit whose turn comes next, as far as that is known, and its shape.
    next: std::sync::Mutex<Option<commit::Next>>,
    applied: AtomicU64,
    /// Whether the disk failed to keep what was written: see [`Error::NotFlushed`](error::Error::NotFlushed).
    not_flushed: AtomicBool,
    /// How far other journals were applied when this server began to lead.
    others: Vec<(String, i64)>,
    /// The last, for it is dropped after what works on the database.
    held: sqlite::file::Held,
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
    fn readers(&self) -> &Pool {
        &self.inner.readers
    }
}
