//! Where the database is, how much memory it may use, and how a connection to it is set up.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

/// Bytes of a database page. Larger than SQLite's usual 4 KiB: half the cost of indexed inserts.
pub const PAGE_BYTES: u32 = 16_384;
/// Pages that may gather in the write-ahead log before a commit copies them into the database: 64 MiB.
pub const CHECKPOINT_PAGES: u32 = 4_096;
/// How long a connection waits for another process that holds a lock.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How to open the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The database file; it and its parent directories are created where missing.
    pub path: PathBuf,
    /// Connections for reading: so many questions are answered at once, the next one waits. At least 1.
    pub readers: u32,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
    /// Bytes of the database file that each connection may map into memory; 0 maps none.
    pub mmap_bytes: u64,
    /// Whether an older schema is brought up to date on open; refused otherwise.
    pub automigrate: bool,
    /// Metric series of one tenant that are told apart; the points of further ones share one series.
    pub series_per_tenant_max: usize,
    /// The same over all tenants together.
    pub series_max: usize,
}

impl Options {
    /// Options for the database at `path`, with the defaults of the product.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            cache_kib: 65_536,
            mmap_bytes: 1 << 30,
            automigrate: true,
            series_per_tenant_max: 500_000,
            series_max: 2_000_000,
        }
    }

    pub(super) fn writing(&self) -> SqliteConnectOptions {
        self.connection()
            .create_if_missing(true)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
            // After a burst the log file shrinks back to what usual checkpoints need.
            .pragma("journal_size_limit", (u64::from(CHECKPOINT_PAGES) * u64::from(PAGE_BYTES)).to_string())
    }

    /// Readers open the file for writing, as the write-ahead log asks, and are kept from doing so.
    pub(super) fn reading(&self) -> SqliteConnectOptions {
        self.connection().pragma("wal_autocheckpoint", "0").pragma("query_only", "true")
    }

    fn connection(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(false)
            .busy_timeout(LOCK_WAIT)
            .pragma("cache_size", format!("-{}", self.cache_kib.max(1_024)))
            .pragma("mmap_size", self.mmap_bytes.to_string())
            .pragma("temp_store", "memory")
            .statement_cache_capacity(256)
            // Statements run to tens of kilobytes; failures are reported by whoever asked.
            .disable_statement_logging()
    }
}
