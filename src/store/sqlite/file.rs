//! Where the database is, how much memory it may use, and how a connection to it is set up.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use crate::store::error::Error;

/// Bytes of a database page. Larger than SQLite's usual 4 KiB: half the cost of indexed inserts.
const PAGE_BYTES: u32 = 16_384;
/// Pages that may gather in the write-ahead log before a commit copies them into the database: 64 MiB.
const CHECKPOINT_PAGES: u32 = 4_096;
/// The same while commits are small: 16 MiB. Whatever a checkpoint writes goes to the device at once, and every flush of the
/// journal waits behind it.
const CHECKPOINT_PAGES_QUIET: u32 = 1_024;
/// Rows of a commit from which on throughput counts for more than the wait.
const BUSY_ROWS: usize = 10_000;
/// Rows that a reader may be ahead of who takes them: each time one waits for the other, threads change.
const ROWS_AHEAD: usize = 1_024;
/// How long a connection waits for another process that holds a lock.
pub(in crate::store) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The first release in which a reset of the write-ahead log cannot lose a checkpointed page.
const LIBRARY: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);

/// How the writer is told how many pages may gather, before a commit of so many rows.
pub(in crate::store) fn checkpoint(rows: usize) -> String {
    let pages = if rows < BUSY_ROWS { CHECKPOINT_PAGES_QUIET } else { CHECKPOINT_PAGES };
    format!("PRAGMA wal_autocheckpoint = {pages}")
}

/// Bytes of the write-ahead log from which on a commit has it begun anew: while questions follow each other without a gap
/// somebody always reads it, and no checkpoint comes to its end. Each page is looked for in all of it.
pub(in crate::store) const LOG_BYTES_MAX: u64 = 4 * CHECKPOINT_PAGES as u64 * PAGE_BYTES as u64;
/// How often that is tried.
pub(in crate::store) const SHORTEN_AFTER: Duration = Duration::from_secs(2);
/// How long the writer then waits for those who read the log.
const SHORTEN_WAIT: Duration = Duration::from_millis(200);

/// The statements that begin the log anew, where nobody reads it any longer than that. New readers wait for nothing meanwhile.
pub(in crate::store) fn shorten() -> [String; 3] {
    let wait = |time: Duration| format!("PRAGMA busy_timeout = {}", time.as_millis());
    [wait(SHORTEN_WAIT), "PRAGMA wal_checkpoint(RESTART)".to_owned(), wait(LOCK_WAIT)]
}

/// A database file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The file; it and its parent directories are created where missing.
    pub path: PathBuf,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
    /// Bytes of the file that each connection may map into memory; 0 maps none. For a page of a map that is not in memory
    /// the system reads as much as it reads ahead, megabytes on many disks, where a read of its own takes 16 KiB.
    pub mmap_bytes: u64,
}

/// The database's file, open for flushing. To be dropped after all connections.
#[derive(Debug, Default)]
pub(in crate::store) struct Held(Mutex<Option<std::fs::File>>);

impl File {
    /// The file at `path`, with the defaults of the product.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cache_kib: 65_536, mmap_bytes: 0 }
    }

    /// Opens a connection that writes; creates the file where it is missing.
    pub(in crate::store) async fn writer(&self) -> Result<SqliteConnection, Error> {
        if let Some(directory) = self.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        }
        let options = self
            .connection()
            .create_if_missing(true)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
            // After a burst the log file shrinks back to what usual checkpoints need.
            .pragma("journal_size_limit", (u64::from(CHECKPOINT_PAGES) * u64::from(PAGE_BYTES)).to_string());
        let mut connection = options.connect().await.map_err(self.opening())?;
        check_library(&mut connection).await?;
        Ok(connection)
    }

    /// Opens a connection that reads.
    pub(in crate::store) async fn reader(&self) -> Result<SqliteConnection, Error> {
        self.reading().connect().await.map_err(self.opening())
    }

    /// Opens a connection to a file that is there, as it is: one that could write, where that is allowed, and has changed nothing.
    /// It only reads where there is a write-ahead log: whoever closes a database last writes the log that a crash has left into
    /// it and removes it, if he may write. A transaction that writes then begins all the same, as one that reads.
    pub(in crate::store) async fn looking(&self) -> Result<SqliteConnection, Error> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(self.log().exists())
            .foreign_keys(false)
            .busy_timeout(LOCK_WAIT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(self.opening())?;
        check_library(&mut connection).await?;
        Ok(connection)
    }

    /// Readers open the file for writing, as the write-ahead log asks, and are kept from doing so.
    pub(in crate::store) fn reading(&self) -> SqliteConnectOptions {
        self.connection()
            .pragma("wal_autocheckpoint", "0")
            .pragma("query_only", "true")
            .row_buffer_size(ROWS_AHEAD)
    }

    fn opening(&self) -> impl Fn(sqlx::Error) -> Error {
        |source| Error::Open { path: self.path.clone(), source }
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

    /// Makes everything that was committed survive a power cut: flushes the write-ahead log, the file and its
    /// directory. Waits for no commit.
    ///
    /// The file itself is opened once, and stays open in `held`: with any descriptor that a process closes the system takes
    /// the locks from all others of it ("How To Corrupt An SQLite Database File", 2.2). Who opens the database beside the
    /// server would then take himself for the only one, and remove the log that it writes.
    pub(in crate::store) fn sync(&self, held: &Held) -> Result<(), Error> {
        let open =
            |path: &Path| std::fs::File::open(path).map_err(|error| Error::Disk(sqlx::Error::Io(error)));
        let flush = |file: &std::fs::File| {
            file.sync_all().map_err(|error| {
                tracing::error!(%error, path = %self.path.display(), "the disk did not keep what was written");
                Error::NotFlushed
            })
        };
        let log = self.log();
        // Without a log everything is in the database.
        if log.exists() {
            flush(&open(&log)?)?;
        }
        let mut held = held.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(file) => flush(file)?,
            None => flush(held.insert(open(&self.path)?))?,
        }
        drop(held);
        match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(directory) => flush(&open(directory)?),
            None => Ok(()),
        }
    }

    /// Bytes of the write-ahead log; 0 where there is none.
    pub(in crate::store) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    /// Bytes that the database takes on disk, its write-ahead log included.
    pub(in crate::store) fn bytes(&self) -> std::io::Result<u64> {
        let mut bytes: u64 = 0;
        for file in [self.path.clone(), self.log()] {
            match std::fs::metadata(file) {
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// The file of the write-ahead log, which is there while somebody works on the database, and after a crash.
    fn log(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push("-wal");
        name.into()
    }
}

async fn check_library(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await?;
    let numbers: Vec<u32> = found.split('.').map(|number| number.parse().unwrap_or(0)).collect();
    if numbers.as_slice() < LIBRARY.1.as_slice() {
        return Err(Error::Library { found, wanted: LIBRARY.0 });
    }
    Ok(())
}
