//! A copy of the database file while it is written, the check of such a copy, and a store that only reads.
//!
//! Everything here opens the database read-only, so it changes neither the data of a running server nor that of a
//! stopped one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection as _};
use tokio::sync::Mutex;

use super::aging::Aging;
use super::commit::Slot;
use super::connection::Connection;
use super::error::Error;
use super::names::Names;
use super::options::{Database, ONLY_JOURNAL, Options};
use super::partition::Partitions;
use super::pool::Pool;
use super::sqlite::file::{Held, LOCK_WAIT};
use super::{Inner, Store, catalog, dictionaries, schema};

/// Page cache of the connection that copies: 32 MiB for each of the two files.
const CACHE_KIB: u32 = 32 * 1024;

/// What a copy of the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The journal position that is in it.
    pub applied: u64,
    /// Its schema.
    pub schema: i64,
}

/// How large a database is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the database file.
    pub database: u64,
    /// Bytes of its write-ahead log.
    pub log: u64,
}

impl Store {
    /// Copies the database at `path` as it is now to `target`, which must not exist; commits go on meanwhile.
    ///
    /// Holds one state of the database for as long as it takes, so the write-ahead log cannot be reset until then and
    /// grows by what is committed meanwhile; memory is bounded by two page caches of 32 MiB. The copy is not synced.
    ///
    /// # Errors
    /// When there is no database at `path`, it cannot be read, or the copy cannot be written.
    pub async fn snapshot(path: &Path, target: &Path) -> Result<Snapshot, Error> {
        let mut connection = read_only(path, false).await?;
        let copied = sqlx::query("VACUUM INTO ?").bind(text(target)?).execute(&mut connection).await;
        connection.close().await?;
        copied?;
        let mut copy = Connection::from(read_only(target, true).await?);
        let snapshot = inspect(&mut copy).await?;
        copy.close().await?;
        Ok(snapshot)
    }

    /// Checks a copy that [`Store::snapshot`] made: its pages, its schema and its position. Reads it whole.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not a sound database, [`Error::Newer`] when a newer release made it.
    pub async fn verify_snapshot(path: &Path) -> Result<Snapshot, Error> {
        let mut copy = Connection::from(read_only(path, true).await?);
        let check = copy.sql("PRAGMA quick_check(1)");
        let found = copy.rows(check, |row| row.get::<String>(0)).await?;
        let snapshot = if found == ["ok"] {
            inspect(&mut copy).await
        } else {
            Err(Error::Damaged(sqlx::Error::Protocol(found.join("; "))))
        };
        copy.close().await?;
        snapshot
    }

    /// Opens an existing database for questions alone, beside a server that runs on it or without one: what was
    /// committed is seen, names that come up later are not. Commits are refused with [`Error::Stopped`].
    ///
    /// # Errors
    /// When there is no database, it cannot be read, or its schema is not the one of this release.
    pub async fn open_read_only(options: Options) -> Result<Self, Error> {
        let mut connection = match &options.database {
            Database::Sqlite(file) => read_only(&file.path, false).await?.into(),
            Database::Postgres(_) => options.database.reader().await?,
        };
        let found = schema::highest(&mut connection).await?;
        let known = schema::known(connection.dialect());
        if found > known {
            return Err(Error::Newer { found, known });
        }
        if found < known {
            return Err(Error::Older { found, known });
        }
        let names = Names::default();
        names.load(dictionaries::read(&mut connection).await?);
        let applied = catalog::applied(&mut connection, &options.journal).await?;
        connection.close().await?;
        let inner = Inner {
            readers: reading(&options, options.readers.max(1)).await?,
            recaller: reading(&options, 1).await?,
            names,
            untold: std::sync::Mutex::default(),
            orphans: std::sync::Mutex::default(),
            aging: std::sync::Mutex::new(Aging::of(&Partitions::default())),
            next: std::sync::Mutex::default(),
            applied: AtomicU64::new(applied),
            not_flushed: AtomicBool::new(false),
            held: Held::default(),
            others: Vec::new(),
            writer: Arc::new(Mutex::new(Slot::Stopped)),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Another store like one from [`Store::open_read_only`], with the names that came up meanwhile.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub async fn reopened(&self) -> Result<Self, Error> {
        Self::open_read_only(self.inner.options.clone()).await
    }

    /// The bytes that the database at `path` takes; zeros where there is none.
    pub fn size(path: &Path) -> Size {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let bytes = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        Size { database: bytes(path.to_owned()), log: bytes(log.into()) }
    }
}

/// Opens a database that exists. A database that nobody can be writing is read without any lock, also from a medium
/// that cannot be written.
pub(super) async fn read_only(path: &Path, is_still: bool) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(is_still)
        .busy_timeout(LOCK_WAIT)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .disable_statement_logging();
    options.connect().await.map_err(|source| Error::Open { path: path.to_owned(), source })
}

async fn reading(options: &Options, connections: u32) -> Result<Pool, Error> {
    match &options.database {
        Database::Sqlite(file) => {
            let reading = file.reading().read_only(true);
            let pool = SqlitePoolOptions::new().max_connections(connections);
            Ok(Pool::Sqlite(pool.connect_lazy_with(reading)))
        }
        Database::Postgres(_) => Pool::new(options, connections).await,
    }
}

/// What a copy holds; refuses one of a newer release.
async fn inspect(copy: &mut Connection) -> Result<Snapshot, Error> {
    let schema = schema::highest(copy).await?;
    let known = schema::known(copy.dialect());
    if known < schema {
        return Err(Error::Newer { found: schema, known });
    }
    Ok(Snapshot { applied: catalog::applied(copy, ONLY_JOURNAL).await?, schema })
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::Open {
        path: path.to_owned(),
        source: sqlx::Error::Protocol("a path that is not UTF-8".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;
    use crate::store::rows::Commit;
    use crate::store::sql::Dialect;

    #[tokio::test]
    async fn a_snapshot_holds_what_was_committed_when_it_was_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("store.db"), directory.path().join("copy.db"));
        assert!(Store::snapshot(&path, &copy).await.is_err(), "nothing to copy");
        let store = Store::open(Options::at(&path)).await.unwrap();
        store.commit(Commit { lsn: 7, ..Commit::default() }).await.unwrap();
        let taken = Store::snapshot(&path, &copy).await.unwrap();
        store.commit(Commit { lsn: 8, ..Commit::default() }).await.unwrap();
        assert_eq!((taken.applied, taken.schema), (7, schema::known(Dialect::Sqlite)));
        let before = std::fs::read(&copy).unwrap();
        assert_eq!(Store::verify_snapshot(&copy).await.unwrap(), taken);
        assert!(Store::snapshot(&path, &copy).await.is_err(), "the target exists");
        let reading = Store::open_read_only(Options::at(&path)).await.unwrap();
        assert_eq!(reading.applied(), 8);
        let refused = reading.commit(Commit { lsn: 9, ..Commit::default() }).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable);
        assert_eq!(std::fs::read(&copy).unwrap(), before, "checking a copy changed it");

        let mut damaged = before;
        // The head of the second page.
        damaged[16_384..16_500].fill(0xaa);
        std::fs::write(&copy, damaged).unwrap();
        assert!(Store::verify_snapshot(&copy).await.is_err());
    }
}
