//! Opening: the file, the schema, the dictionaries, the connections.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use super::commit::{Slot, Writer};
use super::dictionaries;
use super::error::Error;
use super::names::Names;
use super::options::Options;
use super::schema::MIGRATIONS;
use super::{Inner, Store};

/// The first release in which a reset of the write-ahead log cannot lose a checkpointed page.
const LIBRARY: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);

impl Store {
    /// Opens the database, creates it where missing, brings its schema up to date and reads the dictionaries.
    ///
    /// Errs when the file cannot be created or opened, was written by a newer release, or is of an older one
    /// while [`Options::automigrate`] is off.
    pub async fn open(options: Options) -> Result<Self, Error> {
        if let Some(directory) = options.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        }
        let opening = |source| Error::Open { path: options.path.clone(), source };
        let mut connection = options.writing().connect().await.map_err(opening)?;
        check_library(&mut connection).await?;
        migrate(&mut connection, options.automigrate).await?;
        let names = Names::default();
        names.load(dictionaries::read(&mut connection).await?);
        let applied = applied(&mut connection).await?;
        let writer = Writer::start(connection).await?;
        let pool = |connections: u32| {
            SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options.reading())
        };
        let inner = Inner {
            readers: pool(options.readers.max(1)),
            recaller: pool(1),
            names,
            applied: AtomicU64::new(applied),
            writer: Arc::new(Mutex::new(Slot::Ready(Box::new(writer)))),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes all connections after the questions and the commit under way are done; everything after it
    /// answers [`Error::Stopped`].
    pub async fn stop(&self) {
        self.readers().close().await;
        self.inner.recaller.close().await;
        let slot = std::mem::replace(&mut *self.inner.writer.lock().await, Slot::Stopped);
        if let Slot::Ready(writer) = slot {
            close(writer.into_connection()).await;
        }
    }

    /// Makes the commits so far survive a power cut, and answers the position that is safe: journal up to it is
    /// no longer needed. Costs one flush of the write-ahead log; waits for no commit.
    pub async fn sync(&self) -> Result<u64, Error> {
        // What was applied is in the log file, or a checkpoint flushed it into the database on its way out.
        let applied = self.inner.applied.load(Ordering::Acquire);
        let path = self.inner.options.path.clone();
        tokio::task::spawn_blocking(move || sync_files(&path))
            .await
            .map_err(Error::Lost)?
            .map_err(|error| Error::Disk(sqlx::Error::Io(error)))?;
        Ok(applied)
    }
}

/// Best effort: what is not copied into the database now is read from the log at the next start.
async fn close(mut connection: SqliteConnection) {
    for statement in ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        if let Err(error) = sqlx::query(statement).execute(&mut connection).await {
            tracing::warn!(%error, statement, "closing the database");
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

/// Opens another writing connection in place of one that failed.
pub(super) async fn reconnect(options: &Options) -> Result<SqliteConnection, Error> {
    options.writing().connect().await.map_err(|source| Error::Open { path: options.path.clone(), source })
}

/// The position that the database holds.
pub(super) async fn applied(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let lsn: i64 = sqlx::query_scalar("SELECT lsn FROM applied WHERE one = 1").fetch_one(connection).await?;
    u64::try_from(lsn).map_err(|_| Error::Unreadable { what: "journal position" })
}

fn sync_files(path: &Path) -> std::io::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::File::open(&log) {
        Ok(log) => log.sync_data()?,
        // Without a log everything is in the database.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::File::open(path)?.sync_data()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
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

async fn migrate(connection: &mut SqliteConnection, automigrate: bool) -> Result<(), Error> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let kept: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let found: i64 = if kept == 0 {
        0
    } else {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await?
    };
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found < known && !automigrate {
        return Err(Error::Older { found, known });
    }
    MIGRATIONS.run_direct(None, connection, false).await.map_err(Error::Migrate)
}
